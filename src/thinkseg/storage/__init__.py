"""Folders and files that survive an interruption, and masks kept in a temporary file."""
