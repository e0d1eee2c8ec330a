"""Ablations: the file of one (`recipe`), the checks before it runs (`checks`), the runs and scores, and the table."""
