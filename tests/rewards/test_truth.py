"""The ground truth, written as a reply and parsed by a chain, scores 1 in every reward."""

import numpy as np
import pytest

from thinkseg.chains import CHAINS
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import Choice, write_answer, write_boxes, write_choice
from thinkseg.data import shapes
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import score_group
from thinkseg.types import View

# Frames are shown at their size or at twice that, so that rounding boxes loses nothing.
SIZE_WH = (56, 56)
VIEW = View(5, SIZE_WH)
VEASON = {"format": 1, "keyframe": 1, "boxes": 1, "consistency": 1}
REVSEG = {"format_graded": 1, "keyframe_soft": 1, "box_hit": 1}


class TrueTracker:
    """Returns the ground truth of the frames shown, and asserts that it is prompted with its boxes."""

    name = "true"

    def __init__(self, prompt):
        self.prompt = prompt

    def track(self, video, keyframe, boxes, progress=None):
        expected = self.prompt.boxes[self.prompt.frame_indices[keyframe]]
        np.testing.assert_array_equal(sorted(boxes.tolist()), sorted(expected.tolist()))
        return self.prompt.masklets


def best(prompt, value):
    """The frame shown with the best value, and the boxes on it; None and no boxes if no target is visible."""
    frame = max(prompt.frame_indices, key=value)
    return (frame, prompt.boxes[frame]) if prompt.areas[frame] else (None, np.zeros((0, 4), np.float32))


def true_veason(prompt, view):
    keyframe, boxes = best(prompt, prompt.areas.__getitem__)
    return [write_answer("because", keyframe, boxes, select_frames(prompt.sample.video, view))]


def true_revseg(prompt, view):
    keyframe, boxes = best(prompt, lambda frame: sum((b[2] - b[0]) * (b[3] - b[1]) for b in prompt.boxes[frame]))
    video = prompt.sample.video
    first = write_choice(Choice("because", keyframe, prompt.sample.query), select_frames(video, view.overview))
    return [first] if keyframe is None else [first, write_boxes(boxes, select_frames(video, view.closeup, [keyframe]))]


METHODS = [("veason", true_veason, VEASON), ("revseg", true_revseg, REVSEG)]


@pytest.mark.parametrize(("chain", "write", "weights"), METHODS)
def test_ground_truth_of_shapes_scores_1(chain, write, weights):
    seen = set()
    for index in range(60):
        sample = shapes.load("val", index, SIZE_WH)
        prompt = Prompt(sample, select_frames(sample.video, VIEW).indices)
        (outcome,) = run_chains([CHAINS[chain](sample, VIEW)], ScriptedPolicy(write(prompt, VIEW)))
        (scored,) = score_group(prompt, [outcome], weights, TrueTracker(prompt))
        applies = prompt.shows_target or sample.truth.num_objects == 0
        expected = {name: 1.0 if applies or name.startswith("format") else None for name in weights}
        assert scored.terms == pytest.approx(expected, abs=1e-6), sample.id
        assert scored.total == pytest.approx(sum(value or 0 for value in expected.values()), abs=1e-5)
        seen.add((sample.truth.num_objects, applies))
    # The samples have no target, one and several.
    assert {0, 1, 2} <= {objects for objects, _ in seen}


@pytest.mark.parametrize(("chain", "write", "weights"), METHODS)
@pytest.mark.parametrize("coordinates", ["pixels", "normalized_1000"])
def test_ground_truth_in_both_coordinates_scores_1(chain, write, weights, coordinates, two, absent):
    view = View(4, (8, 8), coordinates)
    for given in (two, absent):
        prompt = Prompt(given.sample, select_frames(given.sample.video, view).indices)
        (outcome,) = run_chains([CHAINS[chain](given.sample, view)], ScriptedPolicy(write(prompt, view)))
        (scored,) = score_group(prompt, [outcome], weights, TrueTracker(prompt))
        assert set(scored.terms.values()) == {1.0}
