"""Files that go along with an export, as they are: they run where ThinkSeg is not installed, and import none of it."""
