"""Results as files, film strips and HTML pages."""
