"""Files that are copied into an export. They run without ThinkSeg and import none of it."""
