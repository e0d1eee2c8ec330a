"""Answers scored against the ground truth of a benchmark."""
