"""The command line: one file per command, `app` joins them."""
