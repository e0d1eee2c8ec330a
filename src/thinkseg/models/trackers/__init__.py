"""Trackers: SAM 2, SAM 3 and EdgeTAM, and optical flow."""
