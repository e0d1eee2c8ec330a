"""Objects that are marked by hand: options, and what they make of an earlier result."""

import json

import numpy as np
import pytest
from PIL import Image

from thinkseg.cli import app, parsers
from thinkseg.cli.prompt_options import PromptOptions
from thinkseg.errors import SettingsError, ThinkSegError
from thinkseg.ops.video import write_video

WIDTH, HEIGHT = 48, 32


def options(keyframe=None, **given):
    """The options with their values as a user types them."""
    parse = {"boxes": parsers.placed_box, "points": parsers.placed_point, "masks": parsers.placed_mask}
    return PromptOptions(keyframe=keyframe, **{name: [parse[name](text) for text in given[name]] for name in given})


def shown(prompts):
    return [
        (
            one.obj + 1,
            one.frame,
            None if one.box is None else one.box.tolist(),
            one.points.tolist(),
            one.labels.tolist(),
        )
        for one in prompts
    ]


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parsers.placed_box, "1,2,3,4.5", ((1, 2, 3, 4.5), None, None)),
        (parsers.placed_box, "1,2,3,4@2.4s#2", ((1, 2, 3, 4), 2.4, 2)),
        (parsers.placed_point, "5,6", ((5, 6, 1), None, None)),
        (parsers.placed_point, "5,6,-@57", ((5, 6, 0), 57, None)),
        (parsers.placed_point, "5,6,+#12", ((5, 6, 1), None, 12)),
    ],
)
def test_placed_values_have_a_moment_and_a_number(parse, text, expected):
    placed = parse(text)
    assert (placed.value, placed.moment, placed.number) == expected


def test_placed_mask_name_may_hold_the_signs():
    placed = parsers.placed_mask("a@b#c.png@3#1")
    assert (str(placed.value), placed.moment, placed.number) == ("a@b#c.png", 3, 1)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parsers.placed_box, "1,2,3@2.4s", "is not a box"),
        (parsers.placed_box, "1,2,3,4@soon", "is not a box"),
        (parsers.placed_box, "1,2,3,4@1.5", "'1.5' is not a moment"),
        (parsers.placed_box, "1,2,3,4#0", "'0' is not an integer >= 1"),
        (parsers.placed_point, "5", "is not a point; give x,y on the object or x,y,- beside it"),
        (parsers.placed_point, "5,6,7", "is not a point"),
        (parsers.placed_point, "5,nan", "is not a point"),
        (parsers.placed_point, "5,-", "is not a point"),
        (parsers.placed_mask, "@3", "is empty"),
    ],
)
def test_placed_other_text_raises(parse, text, words):
    with pytest.raises(ValueError, match=words.replace("'", ".")):
        parse(text)


def test_prompts_boxes_without_a_number_are_numbered_per_frame(film):
    given = options(3, boxes=["0,0,2,2", "1,1,3,3", "0,0,4,4@0.5s", "2,2,5,5#1"], points=["1,1,-#2"])
    assert shown(given.prompts(film(10))) == [
        (1, 3, [2, 2, 5, 5], [], []),
        (1, 5, [0, 0, 4, 4], [], []),
        (2, 3, [0, 0, 2, 2], [[1, 1]], [0]),
        (3, 3, [1, 1, 3, 3], [], []),
    ]


def test_prompts_points_without_a_number_are_of_the_only_object(film):
    assert shown(options(3, points=["1,1", "2,2,-", "4,4@5"]).prompts(film(10))) == [
        (1, 3, None, [[1, 1], [2, 2]], [1, 0]),
        (1, 5, None, [[4, 4]], [1]),
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"boxes": ["0,0,2,2#1", "1,1,3,3#1"]}, "1,1,3,3#1: object 1 has two boxes or masks on frame 3; give one"),
        ({"boxes": ["0,0,2,2", "1,1,3,3"], "points": ["1,1"]}, "1,1: there are 2 objects; say which one, e.g. 1,1#1"),
        ({"boxes": ["0,0,2,2@99"]}, "keyframe: 99 is beyond the end"),
        ({"masks": ["none.png"]}, "none.png: no such mask; check the path"),
    ],
)
def test_prompts_that_do_not_fit_are_one_clear_line(film, given, words):
    with pytest.raises(ThinkSegError, match=words):
        options(3, **given).prompts(film(10))


def test_prompts_masks_are_images_of_one_object_or_label_maps(film, tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[1, 1], labels[2, 2] = 1, 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    Image.fromarray(np.where(labels == 2, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    found = options(3, masks=[f"{tmp_path}/labels.png", f"{tmp_path}/mask.png", f"{tmp_path}/labels.png@5#2"])
    masks = {(one.obj, one.frame): np.argwhere(one.mask).tolist() for one in found.prompts(film(10))}
    assert masks == {(0, 3): [[1, 1]], (1, 3): [[2, 2]], (2, 3): [[2, 2]], (1, 5): [[1, 1], [2, 2]]}


@pytest.mark.parametrize(
    ("values", "words"),
    [([0, 0], "shows no object"), ([3, 9], "has the values .3, 9. besides 0; a label map has 1 to N")],
)
def test_prompts_unclear_mask_raises(film, tmp_path, values, words):
    image = np.zeros((6, 8), np.uint8)
    image[0, :2] = values
    Image.fromarray(image).save(tmp_path / "mask.png")
    with pytest.raises(ThinkSegError, match=words):
        options(3, masks=[f"{tmp_path}/mask.png"]).prompts(film(10))


@pytest.fixture
def clip(tmp_path):
    """Ten frames of a red square that moves right, on noise."""
    frames = np.random.default_rng(0).integers(90, 110, (10, HEIGHT, WIDTH, 3)).astype(np.uint8)
    for index, frame in enumerate(frames):
        frame[8:24, 4 + 2 * index : 20 + 2 * index] = (200, 30, 30)
    write_video(tmp_path / "clip.mp4", list(frames), 10.0)
    return tmp_path / "clip.mp4"


@pytest.fixture
def run(clip, tmp_path):
    """Runs `segment` with flow; returns answer.json."""

    def run(*arguments, out="out", status=0):
        words = ["segment", str(clip), *map(str, arguments), "--tracker", "flow", "--save", "masks"]
        assert app.main([*words, "--out", str(tmp_path / out)]) == status
        return json.loads((tmp_path / out / "answer.json").read_text()) if not status else None

    return run


def test_segment_fix_corrects_a_result_in_its_own_folder(run, tmp_path, capsys):
    first = run("--point", "12,16@0#1", "--box", "30,2,40,8@5#2", "the red one")
    assert [(one["object"], one["frame"]["index"], one["points"]) for one in first["prompts"]] == [
        (1, 0, [[12, 16, 1]]),
        (2, 5, []),
    ]
    fixed = run("--fix", tmp_path / "out", "--drop", "2", "--box", "20,8,36,24@0.8s#1", "--point", "1,1,-@0#1")
    assert fixed["query"] == "the red one"
    assert [(one["object"], one["frame"]["index"], one["box"], one["points"]) for one in fixed["prompts"]] == [
        (1, 0, None, [[12, 16, 1], [1, 1, 0]]),
        (1, 8, [20, 8, 36, 24], []),
    ]
    assert [one["seen"] for one in fixed["objects"]] == [10]
    capsys.readouterr()


def test_segment_fix_keeps_the_answer_of_a_policy(run, tmp_path):
    first = run("--box", "4,8,20,24@0")
    first |= {"thinking": "It is red.", "replies": ["<think>It is red.</think>"], "prompts": [], "query": "the red one"}
    first["settings"] |= {"policy": "somebody", "chain": "veason"}
    (tmp_path / "out" / "answer.json").write_text(json.dumps(first))
    fixed = run("--fix", tmp_path / "out", "--point", "30,16@9", out="fixed")
    same = ("query", "thinking", "keyframe", "boxes", "replies", "settings")
    assert [fixed[name] for name in same] == [first[name] for name in same]
    assert [(one["frame"]["index"], one["box"]) for one in fixed["prompts"]] == [(0, [4, 8, 20, 24]), (9, None)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fix", "out"], "nothing to track: mark an object with --box, --point or --mask, --drop"),
        (["--fix", "nowhere", "--point", "1,1@0"], "no answer.json there"),
        (["--fix", "out", "--drop", "3"], "drop: 3 is no object of the result; give a number from 1 to 2"),
        (["--fix", "out", "--point", "1,1@0"], "1,1@0: the result has 2 objects; say which one, e.g. 1,1@0#1"),
        (["--fix", "out", "--box", "1,1,9,9@0#4"], "object 3: has no prompt; number objects without gaps"),
        (
            ["--fix", "out", "--point", "1,1@0#1", "--start", "3"],
            "--fix: takes the part of the video that the result has",
        ),
        (["--point", "99,1@0"], "object 1, frame 0: point 99,1 is outside the frame of 48x32 pixels"),
        (["--point", "9,1,-@0"], "object 1, frame 0: no point is on the object"),
        (["--point", "9,1@0", "--query", "a"], "are about one video"),
        (["--point", "9,1@0", "--max-side", "24"], "--max-side: not together with --keyframe, --box"),
    ],
)
def test_segment_bad_marks_are_one_clear_line(run, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    run("--box", "4,8,20,24@0", "--box", "30,2,40,8@0")
    capsys.readouterr()
    run(*arguments, out="other", status=2)
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_segment_fix_of_another_video_is_refused(run, tmp_path, capsys):
    run("--box", "4,8,20,24@0")
    write_video(tmp_path / "clip.mp4", list(np.zeros((3, 16, 16, 3), np.uint8)), 10.0)
    capsys.readouterr()
    run("--fix", tmp_path / "out", "--point", "1,1@0", out="other", status=2)
    assert "has 3 frames of 16x16, the result 10 frames of 48x32" in capsys.readouterr().err


def test_segment_several_keyframes_need_a_tracker_of_prompts(run, monkeypatch, box_tracker, capsys):
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    run("--box", "1,1,9,9@0", "--box", "1,1,9,9@4", status=2)
    assert "boxes: takes boxes on one frame; for other prompts, take flow or a SAM 2" in capsys.readouterr().err


def test_prompt_options_of_nothing_are_not_given():
    assert not PromptOptions().given
    assert PromptOptions(keyframe=0).given
    with pytest.raises(SettingsError, match="nothing to track"):
        PromptOptions(keyframe=0).earlier(None)
