import numpy as np

from thinkseg.chains.frames import select_frames
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.grounding import object_lists
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import Observation, observe
from thinkseg.types import View

OBSERVED = Observation(
    names=("red star", "blue bar", "green ball"),
    boxes=np.array(
        [
            [[10, 8, 30, 38], [50, 20, 90, 30], [0, 0, 0, 0]],
            [[20, 10, 40, 40], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        ]
    ),
    areas=np.array([[400, 300, 0], [420, 0, 0], [0, 0, 0]]),
    order=(1, 0),
    labels=("0.0", "0.5", "1.0"),
    changes=np.array([["", "", "away"], ["still", "gone", "away"], ["gone", "away", "away"]]),
)

BAR, STAR, LATER = "blue bar [50, 20, 90, 30]", "red star [10, 8, 30, 38]", "red star [20, 10, 40, 40]"
ENDS = ("largest", "smallest", "left", "right", "top", "bottom")
PLAIN = {"list 0.0 s": f"at 0.0 s {BAR}; {STAR}", "list 0.5 s": f"at 0.5 s {LATER}"}
COURSES = (
    "list what becomes of everything",
    f"at 0.0 s {BAR}; {STAR}; then "
    f"at 0.0 s {BAR}; at 0.5 s blue bar gone; "
    f"at 0.0 s {STAR}; at 0.5 s {LATER} still; at 1.0 s red star gone",
)
ORDERED = {
    **{f"list 0.0 s from the {end}": f"at 0.0 s from the {end} {STAR}; {BAR}" for end in ("left", "top", "largest")},
    **{f"list 0.0 s from the {end}": f"at 0.0 s from the {end} {BAR}; {STAR}" for end in ("right", "smallest")},
    "list 0.0 s from the bottom": f"at 0.0 s from the bottom {BAR}; {STAR}",
    **{f"list 0.5 s from the {end}": f"at 0.5 s from the {end} {LATER}" for end in ENDS},
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_object_lists_manual_observation() -> None:
    """The tracks come first; empty frames and hidden objects are not listed."""
    drawn = [object_lists(OBSERVED, rng(seed), 50) for seed in range(200)]
    assert all(len(some) == 3 and some[0] == COURSES for some in drawn)
    assert {lesson for some in drawn for lesson in some[1:]} == (PLAIN | ORDERED).items()


def test_object_lists_half_have_an_order() -> None:
    drawn = [request for seed in range(400) for request, _ in object_lists(OBSERVED, rng(seed), 3)[1:]]
    assert 0.4 < np.mean([request in ORDERED for request in drawn]) < 0.6


def test_object_lists_count_samples_frames() -> None:
    drawn = [object_lists(OBSERVED, rng(seed), 2) for seed in range(200)]
    assert all(len(some) == 2 for some in drawn)
    assert {request for some in drawn for request, _ in some[1:]} == (PLAIN | ORDERED).keys()
    assert object_lists(OBSERVED, rng(5), 2) == object_lists(OBSERVED, rng(5), 2)


def test_object_lists_single_frame_has_no_tracks() -> None:
    alone = Observation(
        OBSERVED.names,
        OBSERVED.boxes[:1],
        OBSERVED.areas[:1],
        OBSERVED.order,
        OBSERVED.labels[:1],
        OBSERVED.changes[:1],
    )
    assert len(object_lists(alone, rng(), 5)) == 1
    assert COURSES[0] not in dict(object_lists(alone, rng(), 5))


def test_object_lists_without_visible_objects_is_empty() -> None:
    empty = Observation(
        OBSERVED.names, OBSERVED.boxes[2:], OBSERVED.areas[2:], (), OBSERVED.labels[2:], OBSERVED.changes[2:]
    )
    assert object_lists(empty, rng(), 5) == []


def test_object_lists_clip_lists_each_frame_once() -> None:
    for index in range(10):
        one = episode("train", index)
        shown = select_frames(ShapesVideo(one.clip, (56, 56), one.id), View(4, (56, 56)))
        observed = observe(one.clip, shown.indices, shown.labels, (56, 56))
        requests = [request.partition(" from")[0] for request, _ in object_lists(observed, rng(index), 9)[1:]]
        assert sorted(requests) == sorted(f"list {label} s" for label in shown.labels)
