"""Draws the film strip of the README: python docs/make_images.py [INDEX of a val clip] [POLICY].

POLICY: a bundled policy (default: shapes), a model folder, or "truth" for the ground-truth reply.
"""

import sys
from pathlib import Path

from PIL import Image

from thinkseg.chains.frames import select_frames
from thinkseg.chains.veason import veason
from thinkseg.data.shapes import episode, load
from thinkseg.demonstrations import true_reply
from thinkseg.models import load_policy, load_tracker
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import segment_sample
from thinkseg.report.film_strips import film_strip
from thinkseg.types import Policy, VideoSample, View

CLIP = 20
"""A val clip whose question needs several frames to answer."""

IMAGE = Path(__file__).parent / "images" / "filmstrip.png"


def truth_policy(index: int, sample: VideoSample) -> Policy:
    """Returns a policy that gives the ground-truth reply to the question of one val clip."""
    view = View(num_frames=4, frame_wh=(112, 112))
    reply = true_reply(episode("val", index), 0, select_frames(sample.video, view), template=0)
    return ScriptedPolicy([reply], view=view)


def main(index: int, name: str) -> None:
    sample = load("val", index)
    policy = truth_policy(index, sample) if name == "truth" else load_policy(name)
    result = segment_sample(sample, veason, policy, load_tracker("flow"))
    IMAGE.parent.mkdir(exist_ok=True)
    Image.fromarray(film_strip(result, policy.view, captions=True, width=1200)).save(IMAGE, optimize=True)
    print(f"{sample.query}: {IMAGE}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CLIP, sys.argv[2] if len(sys.argv) > 2 else "shapes")
