"""The synthetic world "shapes": colored objects that move, occlude each other, grow and collide, with exact masks.

    sample = load("val", 0)
    sample.query        "what set the blue ball moving"
    sample.category     "cause"
    sample.video        frames, rendered on access, 224x224 by default
    sample.truth        exact masks of the visible parts of the targets

Every sample is a pure function of (split, index): nothing is downloaded, the number of samples is unlimited, and splits
never share a random stream. `zeroshot` uses wordings and object paths that occur in no other split.
"""

from __future__ import annotations

from thinkseg.data.shapes.episodes import SPLITS, Episode, episode, episode_masklets, load
from thinkseg.data.shapes.render import SHAPES_COMMENT, shows_shapes
from thinkseg.data.shapes.wordings import CATEGORIES

__all__ = ["CATEGORIES", "SHAPES_COMMENT", "SPLITS", "Episode", "episode", "episode_masklets", "load", "shows_shapes"]
