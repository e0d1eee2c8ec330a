"""Segmentation of a user's own videos: `Segmenter` and `segment` in Python, and folders of many results."""

from thinkseg.segmenter.segmenter import Segmenter, segment

__all__ = ["Segmenter", "segment"]
