import numpy as np

from thinkseg.chains.show import describe
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.grounding import lessons
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import Sight, look, sizes, way
from thinkseg.types import View

SIGHT = Sight(
    names=("red star", "blue bar", "green ball"),
    boxes=np.array(
        [
            [[10, 10, 30, 40], [50, 20, 90, 30], [0, 0, 0, 0]],
            [[20, 10, 40, 40], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        ]
    ),
    areas=np.array([[400, 300, 0], [420, 0, 0], [0, 0, 0]]),
    order=(1, 0),
    labels=("0.0", "0.5", "1.0"),
)

ALL = {
    "list 0.0 s": "blue bar [50, 20, 90, 30]; red star [10, 10, 30, 40]",
    "list 0.5 s": "red star [20, 10, 40, 40]",
    "follow the blue bar": way(SIGHT, 1),
    "follow the red star": way(SIGHT, 0),
    "measure the blue bar": sizes(SIGHT, 1),
    "measure the red star": sizes(SIGHT, 0),
    "who is there": "blue bar; red star",
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_all_lessons_by_hand() -> None:
    """Neither the frame that shows nothing nor the object that is never seen is asked for."""
    assert dict(lessons(SIGHT, rng(), 50)) == ALL
    assert len(lessons(SIGHT, rng(), 50)) == len(ALL)


def test_lists_alone_by_hand() -> None:
    lists = {request: reply for request, reply in ALL.items() if request.startswith("list")}
    assert dict(lessons(SIGHT, rng(), 50, lists_only=True)) == lists


def test_some_lessons_are_drawn_at_random_and_none_twice() -> None:
    drawn = [lessons(SIGHT, rng(seed), 3) for seed in range(40)]
    assert all(len(dict(some)) == 3 for some in drawn)
    assert {request for some in drawn for request, _ in some} == ALL.keys()
    assert lessons(SIGHT, rng(5), 3) == lessons(SIGHT, rng(5), 3)


def test_frames_alone_can_be_asked_for() -> None:
    assert dict(lessons(SIGHT, rng(), 50, lists_only=True)) == {k: v for k, v in ALL.items() if k.startswith("list")}


def test_one_frame_can_only_be_listed() -> None:
    one = Sight(SIGHT.names, SIGHT.boxes[:1], SIGHT.areas[:1], SIGHT.order, SIGHT.labels[:1])
    assert lessons(one, rng(), 5) == [("list 0.0 s", ALL["list 0.0 s"])]


def test_nothing_to_see_is_nothing_to_ask() -> None:
    empty = Sight(SIGHT.names, SIGHT.boxes[2:], SIGHT.areas[2:], (), SIGHT.labels[2:])
    assert lessons(empty, rng(), 5) == []


def test_lessons_of_real_clips_are_as_many_as_asked_for() -> None:
    for index in range(10):
        one = episode("train", index)
        shown = describe(ShapesVideo(one.clip, (56, 56), one.id), View(4, (56, 56)))
        sight = look(one.clip, shown.indices, shown.labels, (56, 56))
        assert len(lessons(sight, rng(index), 4)) == 4
