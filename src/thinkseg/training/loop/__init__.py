"""One training loop for all methods, on one device or sharded over many."""
