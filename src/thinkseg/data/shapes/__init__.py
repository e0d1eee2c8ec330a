"""The synthetic world "shapes": coloured things that move, hide, grow and collide, with exact masks and questions.

    sample = load("val", 0)
    sample.query        "what set the blue ball moving"
    sample.category     "cause"
    sample.video        frames drawn when asked for, 224x224 unless another size is asked for
    sample.truth        exact masks of the targets after occlusion

Every sample is a pure function of (split, index): nothing is downloaded, there is no end of samples, and splits never
share a random stream. `zeroshot` asks in words, and moves its objects along paths, that the others never show.
"""

from __future__ import annotations

from thinkseg.data.shapes.episodes import SPLITS, Episode, episode, episode_masklets, load
from thinkseg.data.shapes.wordings import CATEGORIES

__all__ = ["CATEGORIES", "SPLITS", "Episode", "episode", "episode_masklets", "load"]
