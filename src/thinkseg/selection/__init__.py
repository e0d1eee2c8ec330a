"""A part of a benchmark as a file: the stratified `draw`, the filter `trackable`, and the `files` of both."""
