"""Files and folders that are written atomically or can be resumed, and masks kept in a temporary file."""
