"""The annotator that uses the rules of the shapes world."""

from collections import Counter

import pytest

from thinkseg.annotation.annotators import RuleAnnotator
from thinkseg.annotation.prompts import parse_steps
from thinkseg.annotation.source import AnnotationSource
from thinkseg.annotation.tasks import prepare
from thinkseg.annotation.verify import Truth, check_reply
from thinkseg.chains.frames import box_limits
from thinkseg.data import open_benchmark
from thinkseg.selection.draw import draw
from thinkseg.types import View


@pytest.fixture(scope="module")
def source():
    return AnnotationSource(open_benchmark("shapes", split="train", limit=48))


@pytest.mark.parametrize(
    "view", [View(4, (112, 112)), View(3, (84, 56), "normalized_1000")], ids=["pixels", "normalized_1000"]
)
def test_rule_annotator_replies_pass_verification(source, view):
    """Nearly all pass: the rules ignore a target that is barely visible at the keyframe."""
    annotator, found, moments = RuleAnnotator(view), Counter(), set()
    drawn = draw(source.candidates, 16, "balanced", 0, no_target=True)
    for seed, candidate in enumerate(drawn):
        task = prepare(candidate, *source.sample(candidate.id), view, seed)
        reply = annotator.submit(task, seed).result()
        steps, reasons = check_reply(reply, Truth(task.draft, task.num_objects, box_limits(view)))
        assert steps is not None
        found[candidate.targets] += not reasons
        if task.draft.keyframe is not None and not reasons:
            assert f"{task.keyframe_label} s" in steps.place
            moments.add(task.draft.indices.index(task.draft.keyframe))
    assert found.total() >= 14
    assert all(found[targets] for targets in ("single", "multiple", "none"))
    assert len(moments) > 1


def test_rule_annotator_any_of_the_largest_frames_is_named(source):
    """The keyframe is any of the five largest frames, several of which may be shown."""
    view = View(12, (112, 112))
    candidate = next(one for one in source.candidates if one.targets == "single")
    keyframes = set()
    for seed in range(12):
        task = prepare(candidate, *source.sample(candidate.id), view, seed)
        steps = parse_steps(RuleAnnotator(view).submit(task, 0).result().text)
        assert f"at {task.keyframe_label} s" in steps.place
        keyframes.add(task.draft.keyframe)
    assert len(keyframes) > 2
