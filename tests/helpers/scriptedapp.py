"""An app whose model is scripted: what it does is said in the query. Its processes import this module.

`python scriptedapp.py FOLDER` serves it, and prints its address.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.app.answering import ModelNames
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import from_stacks
from thinkseg.segmenter import Segmenter
from thinkseg.types import Dialogue, Frames, Masklets, ObjectPrompt, ProgressCallback, Reading, Turn

ANSWER = '<think>It moves.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[2, 2, 20, 20]]}</answer>'


def make(preset: str | None, device: str | None, chain: str, reading: Reading) -> Segmenter:
    """A `Segmenter` for queries such as "it", "it hangs", "it dies", "it takes long", and "nonsense"."""
    return Segmenter(ScriptedPolicy(_reply), Filler(), device, chain=chain, reading=reading)


NAMES = ModelNames(tracker="flow")


def _reply(dialogue: Dialogue) -> str:
    turn = dialogue[-1]
    assert isinstance(turn, Turn)
    query = " ".join(part for part in turn.content if isinstance(part, str))
    if "it hangs" in query:
        time.sleep(600)
    if "it dies" in query:
        os.kill(os.getpid(), signal.SIGKILL)
    Filler.seconds = 0.05 if "it takes long" in query else 0.0
    return "nonsense" if "nonsense" in query else ANSWER


class Filler:
    """Fills the boxes of objects in all frames. seconds: that each frame takes."""

    name, device = "filler", "cpu"
    seconds = 0.0

    def track(self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None) -> Any:
        return self.track_prompts(video, [ObjectPrompt(keyframe, obj, box) for obj, box in enumerate(boxes)], progress)

    def track_prompts(
        self, video: Frames, prompts: Sequence[ObjectPrompt], progress: ProgressCallback | None = None
    ) -> Masklets:
        width, height = video.size_wh
        masks = np.zeros((1 + max(one.obj for one in prompts), len(video), height, width), bool)
        for one in prompts:
            x1, y1, x2, y2 = (0, 0, 4, 4) if one.box is None else one.box.astype(int)
            masks[one.obj, :, y1:y2, x1:x2] = True
        for done in range(1, len(video) + 1):
            time.sleep(self.seconds)
            if progress:
                progress(done, len(video))
        return from_stacks(masks)


def main(folder: Path) -> None:
    """Serves it on a free port of this machine."""
    from thinkseg.app.limits import Limits
    from thinkseg.app.serve import create_app
    from thinkseg.app.service import Service
    from thinkseg.web.serve import bind, serve, url_of

    with bind("127.0.0.1", 0, None) as bound:
        app = create_app(Service(folder, NAMES, Limits(), make))
        bound.listen()
        print(f"the app is at {url_of(bound)}/", flush=True)
        serve(app, bound, stop_seconds=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
