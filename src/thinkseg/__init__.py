"""ThinkSeg: video reasoning segmentation. A sentence in, masks out, with the reasoning that led there."""

__version__ = "0.1.0"
