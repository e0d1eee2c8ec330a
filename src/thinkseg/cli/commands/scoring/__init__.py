"""Commands that evaluate policies on benchmarks and score masks."""
