"""Pages about runs: evaluations alone or side by side, training runs, and results of questions about videos.

`write.write_report` writes any of them as a folder, which opens from disk: index.html, and pictures/ beside it.
"""
