from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from thinkseg.chains.frames import Shown, select_frames
from thinkseg.chains.parsing import parse_answer, write_answer
from thinkseg.data.shapes import Episode, episode, load
from thinkseg.data.shapes.questions import ShapesQuestion
from thinkseg.data.shapes.render import ShapesVideo, corners, label_map
from thinkseg.data.shapes.traces import (
    EVENT_KINDS,
    MIN_VISIBLE_SHARE,
    ORDERS,
    TEMPLATES,
    Criterion,
    Observation,
    best_frame,
    boxed_name,
    criterion_of,
    first_frame,
    list_frame,
    object_tracks,
    observe,
    trace,
)
from thinkseg.data.shapes.wordings import WORDINGS
from thinkseg.types import View

SIZE = (112, 84)
VIEW = View(6, SIZE)

OBSERVED = Observation(
    names=("red star", "blue bar", "green ball"),
    boxes=np.array(
        [
            [[10, 10, 30, 40], [50, 20, 90, 30], [0, 0, 0, 0]],
            [[20, 10, 40, 40], [50, 22, 91, 33], [0, 0, 9, 8]],
            [[0, 0, 0, 0], [50, 20, 90, 30], [4, 2, 30, 30]],
        ]
    ),
    areas=np.array([[400, 300, 0], [420, 301, 40], [0, 300, 500]]),
    order=(0, 1, 2),
    labels=("0.0", "0.5", "1.0"),
    changes=np.array([["", "", "away"], ["moves", "still", "new"], ["gone", "still", "grows"]]),
)

LISTS = [
    "at 0.0 s red star [10, 10, 30, 40]; blue bar [50, 20, 90, 30]",
    "at 0.5 s red star [20, 10, 40, 40]; blue bar [50, 22, 91, 33]; green ball [0, 0, 9, 8]",
    "at 1.0 s blue bar [50, 20, 90, 30]; green ball [4, 2, 30, 30]",
]
COURSES = (
    "at 0.0 s red star [10, 10, 30, 40]; blue bar [50, 20, 90, 30]; at 0.5 s green ball [0, 0, 9, 8] new; then "
    "at 0.0 s red star [10, 10, 30, 40]; at 0.5 s red star [20, 10, 40, 40] moves; at 1.0 s red star gone{star}; "
    "at 0.0 s blue bar [50, 20, 90, 30]; at 0.5 s blue bar [50, 22, 91, 33] still; "
    "at 1.0 s blue bar [50, 20, 90, 30] still{bar}; "
    "at 0.5 s green ball [0, 0, 9, 8] new; at 1.0 s green ball [4, 2, 30, 30] grows{ball}"
)


def ask(kind: str, *targets: int, **words: str) -> ShapesQuestion:
    return ShapesQuestion(kind, tuple(words.items()), targets)


def test_list_frame_manual_observation() -> None:
    assert boxed_name(OBSERVED, 2, 1) == "green ball [0, 0, 9, 8]"
    assert [list_frame(OBSERVED, shown) for shown in range(3)] == LISTS


def test_list_frame_without_visible_objects_is_nothing() -> None:
    bare = Observation(OBSERVED.names, OBSERVED.boxes, 0 * OBSERVED.areas, (), OBSERVED.labels, np.full((3, 3), "away"))
    assert list_frame(bare, 0) == "at 0.0 s nothing"
    assert list_frame(bare, 0, ORDERS["leftmost"]) == "at 0.0 s nothing"
    assert object_tracks(bare) == "nothing"


@pytest.mark.parametrize(
    ("kinds", "items"),
    [
        (("leftmost", "ends_left"), "from the left green ball [0, 0, 9, 8]; {star}; {bar}"),
        (("rightmost", "ends_right"), "from the right {bar}; {star}; green ball [0, 0, 9, 8]"),
        (("highest",), "from the top green ball [0, 0, 9, 8]; {star}; {bar}"),
        (("lowest",), "from the bottom {bar}; {star}; green ball [0, 0, 9, 8]"),
        (("largest",), "from the largest {star}; {bar}; green ball [0, 0, 9, 8]"),
        (("smallest",), "from the smallest green ball [0, 0, 9, 8]; {bar}; {star}"),
    ],
)
def test_list_frame_order_sorts_objects(kinds: tuple[str, ...], items: str) -> None:
    values = items.format(star="red star [20, 10, 40, 40]", bar="blue bar [50, 22, 91, 33]")
    for kind in kinds:
        assert list_frame(OBSERVED, 1, ORDERS[kind]) == f"at 0.5 s {values}"


def test_list_frame_order_skips_hidden_objects() -> None:
    listed = list_frame(OBSERVED, 2, ORDERS["highest"])
    assert listed == "at 1.0 s from the top green ball [4, 2, 30, 30]; blue bar [50, 20, 90, 30]"


def test_object_tracks_manual_observation() -> None:
    assert object_tracks(OBSERVED) == COURSES.format(star="", bar="", ball="")
    asked = {"star": ": still? no", "bar": ": still? it is blue bar", "ball": ": still? no"}
    assert object_tracks(OBSERVED, Criterion("still", (1,))) == COURSES.format(**asked)


def found(changes: Sequence[str]) -> str:
    """Derives the criterion that an object meets from the words for its changes."""
    words = [word for word in changes if word not in ("", "away")]
    for word in ("grows", "shrinks", "new", "gone"):
        if word in words:
            return word
    goes = [word != "still" for word in words]
    if not any(goes):
        return "still"
    if not goes[0]:
        return "hit"
    if not goes[-1]:
        return "pushed"
    return "darts" if "darts" in words else "moves"


def test_criterion_matches_changes_of_targets_only() -> None:
    """The criterion holds for the target, and for hardly any other object.

    Distances between frames depend on the number of frames: the words are for four, as in the recipes.
    """
    values, others = [], []
    for index in range(150):
        one = episode("train", index)
        (question,) = one.questions
        if question.kind not in EVENT_KINDS or not question.targets:
            continue
        asked = criterion_of(question)
        assert asked is not None
        shown = select_frames(ShapesVideo(one.clip, SIZE, one.id), replace(VIEW, num_frames=4))
        observed = observe(one.clip, shown.indices, shown.labels, SIZE)
        words = {obj: found(observed.changes[:, obj].tolist()) for obj in observed.order}
        values += [words.get(target) == asked.word for target in question.targets]
        others += [word == asked.word for obj, word in words.items() if obj not in question.targets]
    assert len(values) > 40
    assert np.mean(values) > 0.95
    assert np.mean(others) < 0.05


@pytest.mark.parametrize(
    ("question", "template", "thinking", "shown", "boxes"),
    [
        (
            ask("name", 0, color="red", shape="star"),
            0,
            "Sought: red star. I see at 0.5 s red star [20, 10, 40, 40]: red star? it is red star; "
            "blue bar [50, 22, 91, 33]: red star? no; green ball [0, 0, 9, 8]: red star? no. "
            "So it is red star. It shows best at 0.5 s: red star [20, 10, 40, 40].",
            1,
            [[20, 10, 40, 40]],
        ),
        (
            ask("largest", 2),
            1,
            "The frames show at 1.0 s from the largest green ball [4, 2, 30, 30]; "
            "blue bar [50, 20, 90, 30]. The question says it is green ball. "
            "The clearest view is at 1.0 s: green ball [4, 2, 30, 30].",
            2,
            [[4, 2, 30, 30]],
        ),
        (
            ask("leftmost", 0),
            2,
            "Let me look: at 0.5 s from the left green ball [0, 0, 9, 8]; red star [20, 10, 40, 40]; "
            "blue bar [50, 22, 91, 33]; "
            "then at 1.0 s from the left green ball [4, 2, 30, 30]; blue bar [50, 20, 90, 30]. "
            "That shows it is red star. Most of it is seen at 0.5 s: red star [20, 10, 40, 40].",
            1,
            [[20, 10, 40, 40]],
        ),
        (
            ask("ends_left", 0, 2),
            1,
            "Sought: left. The frames show at 0.5 s from the left green ball [0, 0, 9, 8]; red star [20, 10, 40, 40]; "
            "blue bar [50, 22, 91, 33]; then at 1.0 s from the left green ball [4, 2, 30, 30]: left? it is green ball; "
            "blue bar [50, 20, 90, 30]: left? no. The question says it is red star and green ball. "
            "The clearest view is at 0.5 s: red star [20, 10, 40, 40]; green ball [0, 0, 9, 8].",
            1,
            [[20, 10, 40, 40], [0, 0, 9, 8]],
        ),
        (
            ask("leaves_first"),
            3,
            "Sought: gone. I see "
            + COURSES.format(star=": gone? no", bar=": gone? no", ball=": gone? no")
            + ". Nothing here is what is asked for.",
            None,
            [],
        ),
        (
            ask("leaves_first", 0),
            3,
            "Sought: gone. I see "
            + COURSES.format(star=": gone? it is red star", bar=": gone? no", ball=": gone? no")
            + ". So it is red star. It shows best at 0.5 s: red star [20, 10, 40, 40].",
            1,
            [[20, 10, 40, 40]],
        ),
        (
            ask("name", color="red", shape="bar"),
            1,
            "Sought: red bar. The frames show at 0.5 s red star [20, 10, 40, 40]: red bar? no; "
            "blue bar [50, 22, 91, 33]: red bar? no; green ball [0, 0, 9, 8]: red bar? no. "
            "So nothing fits the question.",
            None,
            [],
        ),
        (
            ask("all_kind", 2, 0, shape="star"),
            0,
            "Sought: star. I see at 0.5 s red star [20, 10, 40, 40]: star? it is red star; "
            "blue bar [50, 22, 91, 33]: star? no; green ball [0, 0, 9, 8]: star? it is green ball. "
            "So it is red star and green ball. "
            "It shows best at 0.5 s: red star [20, 10, 40, 40]; green ball [0, 0, 9, 8].",
            1,
            [[20, 10, 40, 40], [0, 0, 9, 8]],
        ),
    ],
    ids=["name", "largest", "leftmost", "left half", "no object", "gone", "no such thing", "several"],
)
def test_trace_manual_observation(
    question: ShapesQuestion, template: int, thinking: str, shown: int | None, boxes: list[list[int]]
) -> None:
    thought = trace(OBSERVED, question, template)
    assert thought.thinking == thinking
    assert thought.position == shown
    assert thought.boxes.tolist() == boxes


def test_best_frame_prefers_all_targets_over_area() -> None:
    """Frame 2 shows a larger area of the ball than frame 1 of both, but not the star."""
    hidden = Observation(
        ("a",), np.zeros((2, 1, 4), int), np.zeros((2, 1)), (), ("0.0", "1.0"), np.full((2, 1), "away")
    )
    assert best_frame(OBSERVED, (0, 2)) == 1
    assert best_frame(OBSERVED, (2,)) == 2
    assert best_frame(hidden, (0,)) is None


def test_trace_first_uses_first_visible_frame() -> None:
    """The ball is first visible in frame 1, and best in frame 2."""
    ball = ask("name", 2, color="green", shape="ball")
    first = [trace(OBSERVED, ball, template, first=True) for template in range(len(TEMPLATES))]
    assert [thought.thinking.rsplit(". ", 1)[1] for thought in first] == [
        "It is first seen at 0.5 s: green ball [0, 0, 9, 8].",
        "The first view is at 0.5 s: green ball [0, 0, 9, 8].",
        "It comes into sight at 0.5 s: green ball [0, 0, 9, 8].",
    ]
    assert {thought.position for thought in first} == {1}
    assert first_frame(OBSERVED, (0, 2)) == 0
    assert first_frame(OBSERVED, ()) is best_frame(OBSERVED, ()) is None
    assert trace(OBSERVED, ask("leaves_first"), 0, first=True).position is None


def test_trace_hidden_target_has_no_keyframe() -> None:
    hidden = Observation(
        OBSERVED.names, OBSERVED.boxes, OBSERVED.areas * [[1, 1, 0]], (0, 1), OBSERVED.labels, OBSERVED.changes
    )
    thought = trace(hidden, ask("name", 2, color="green", shape="ball"), 0)
    assert (thought.position, len(thought.boxes)) == (None, 0)
    assert "green ball [" not in thought.thinking
    assert "it is" not in thought.thinking


def test_trace_every_kind_in_every_template() -> None:
    assert len(TEMPLATES) >= 3
    thoughts = {
        trace(OBSERVED, ask(kind, 0, color="red", shape="star"), template).thinking
        for kind in WORDINGS
        for template in range(len(TEMPLATES))
    }
    # Some kinds of questions have equal traces: six orders, two of them with halves, eight words for events, and name,
    # color and shape.
    assert len(thoughts) == (6 + 2 + 8 + 3) * len(TEMPLATES)


def observe_episode(one: Episode) -> tuple[Shown, Observation]:
    shown = select_frames(ShapesVideo(one.clip, SIZE, one.id), VIEW)
    return shown, observe(one.clip, shown.indices, shown.labels, SIZE)


def test_observe_matches_label_maps() -> None:
    for index in range(15):
        one = episode("train", index)
        shown, observed = observe_episode(one)
        outlines = corners(one.clip, SIZE)
        whole = [
            max((label_map([outline], frame, SIZE) > 0).sum() for frame in range(one.clip.num_frames))
            for outline in outlines
        ]
        for position, at in enumerate(shown.indices):
            labels = label_map(outlines, at, SIZE)
            for obj in range(one.clip.num_objects):
                area = (labels == obj + 1).sum()
                if observed.areas[position, obj]:
                    ys, xs = np.nonzero(labels == obj + 1)
                    assert observed.areas[position, obj] == area
                    assert observed.boxes[position, obj].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                else:
                    # `whole` includes the pixels of the outline; the share does not, hence the tolerance.
                    assert area < max(1.2 * MIN_VISIBLE_SHARE * whole[obj], 4)


def test_observe_order_is_appearance_then_left_to_right() -> None:
    for index in range(30):
        _, observed = observe_episode(episode("train", index))
        first = {obj: int((observed.areas[:, obj] > 0).argmax()) for obj in observed.order}
        keys = [(first[obj], observed.boxes[first[obj], obj, 0]) for obj in observed.order]
        assert keys == sorted(keys)
        assert set(observed.order) == set(np.flatnonzero(observed.areas.any(0)))


def test_observe_changes_match_boxes() -> None:
    """Only complete objects inside the frame are checked."""
    values = set()
    for index in range(60):
        one = episode("train", index)
        _, observed = observe_episode(one)
        outlines = corners(one.clip, SIZE)
        whole = np.stack(
            [[outline[at].max(0) - outline[at].min(0) for outline in outlines] for at in frame_indices(one)]
        )
        boxes = observed.boxes.astype(float)
        sides = boxes[..., 2:] - boxes[..., :2]
        middles = (boxes[..., 2:] + boxes[..., :2]) / 2 / SIZE
        clear = (np.abs(sides - whole / 16) < 2).all(-1)  # neither occluded nor clipped by the frame
        for at, obj in zip(*np.nonzero(clear[1:] & clear[:-1]), strict=True):
            word = str(observed.changes[at + 1, obj])
            values.add(word)
            gone = np.linalg.norm(middles[at + 1, obj] - middles[at, obj])
            before, after = one.clip.radius[obj, list(frame_indices(one)[at : at + 2])]
            grown = after / before
            assert word in ("still", "moves", "darts", "grows", "shrinks")
            assert (word == "grows") == (grown > 1.14)
            assert (word == "shrinks") == (grown < 1 / 1.14)
            # The box of a rotating triangle is not centered on the triangle, hence the tolerance.
            assert gone < 0.075 if word == "still" else True
            assert gone > 0.22 if word == "darts" else True
    assert values == {"still", "moves", "darts", "grows", "shrinks"}


def frame_indices(one: Episode) -> tuple[int, ...]:
    return select_frames(ShapesVideo(one.clip, SIZE, one.id), VIEW).indices


def test_observe_changes_match_visibility() -> None:
    for index in range(40):
        _, observed = observe_episode(episode("train", index))
        there = observed.areas > 0
        before = np.concatenate([np.zeros_like(there[:1]), there[:-1]])
        assert ((observed.changes == "away") == (~there & ~before)).all()
        assert ((observed.changes == "gone") == (~there & before)).all()
        assert ((observed.changes[1:] == "new") == (there & ~before)[1:]).all()
        assert (observed.changes[0][there[0]] == "").all()


def test_list_frame_order_puts_target_first() -> None:
    """In nearly all questions: the largest object of a clip is not always the largest in its best frame."""
    first = []
    for index in range(250):
        one = episode("train", index, 4)
        _, observed = observe_episode(one)
        for question in one.questions:
            if question.kind in ORDERS:
                listed = trace(observed, question, 0).thinking.partition(". So it is")[0].rpartition(" s from the ")[2]
                name = listed.partition(" ")[2].partition(" [")[0]
                first.append(name in {one.clip.name(obj) for obj in question.targets})
    assert len(first) > 150
    assert np.mean(first) > 0.96


def test_trace_answer_equals_ground_truth() -> None:
    """The parsed answer has the frame with the largest area of the targets, and their exact boxes."""
    found = 0
    for index in range(60):
        one = episode("val", index, 4)
        shown, observed = observe_episode(one)
        outlines = corners(one.clip, SIZE)
        maps = [label_map(outlines, frame, SIZE) for frame in shown.indices]
        for number, question in enumerate(one.questions):
            thought = trace(observed, question, number)
            keyframe = None if thought.position is None else shown.indices[thought.position]
            answer = parse_answer(write_answer(thought.thinking, keyframe, thought.boxes, shown), shown)
            assert answer.thinking == thought.thinking
            assert (answer.keyframe is None) == (not question.targets)
            if answer.keyframe is None:
                continue
            found += 1
            areas = np.array([[(m == obj + 1).sum() for obj in question.targets] for m in maps])
            together = np.flatnonzero((observed.areas[:, list(question.targets)] > 0).all(1))
            best = areas.sum(1)[together].max()
            assert areas[shown.indices.index(answer.keyframe)].sum() == best
            there = maps[shown.indices.index(answer.keyframe)]
            expected = set()
            for obj in question.targets:
                ys, xs = np.nonzero(there == obj + 1)
                expected.add((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            assert {tuple(box) for box in answer.boxes.tolist()} == expected
    assert found > 150


def test_trace_conclusion_names_targets_only() -> None:
    """The conclusion names the targets for every wording, and none for a no-target question."""
    for index in range(30):
        one = episode("zeroshot", index, 3)
        _, observed = observe_episode(one)
        for question in one.questions:
            thinking = trace(observed, question, 0).thinking
            conclusion = thinking.partition("So it is ")[2].partition(".")[0]
            named = set(conclusion.split(" and ")) if conclusion else set()
            assert named == {one.clip.name(obj) for obj in question.targets}


def test_trace_boxes_match_sample() -> None:
    sample, one = load("val", 4, SIZE), episode("val", 4)
    shown, observed = observe_episode(one)
    thought = trace(observed, one.questions[0], 0)
    assert sample.truth is not None
    if thought.position is not None:
        truth = sample.truth.boxes(shown.indices[thought.position])
        assert sorted(truth.tolist()) == sorted(thought.boxes.tolist())
