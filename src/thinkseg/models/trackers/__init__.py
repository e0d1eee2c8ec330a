"""Trackers: SAM 2 and its kin, and optical flow."""
