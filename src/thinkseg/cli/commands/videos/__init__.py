"""Commands about videos: their segmentation, and what is made of its results."""
