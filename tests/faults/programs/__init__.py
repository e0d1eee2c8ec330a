"""What runs in the processes that are struck."""
