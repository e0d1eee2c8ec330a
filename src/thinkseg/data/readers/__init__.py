"""Formats that benchmarks share: JSON trees, RLE indexes, mask images, cached frames, issues found."""
