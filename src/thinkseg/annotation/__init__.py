"""Chain-of-thought sets from a served model, checked against the ground truth."""
