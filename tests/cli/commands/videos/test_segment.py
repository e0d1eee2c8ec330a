"""`thinkseg segment`: what it writes and prints, and what it says to bad input."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from thinkseg.chains.parsing import explained
from thinkseg.cli import app
from thinkseg.models import BUNDLED_WARNING
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.models.trackers.sam2 import Sam2Tracker
from thinkseg.ops.masks import decode
from thinkseg.ops.video import open_video, write_video
from thinkseg.storage.result_folder import result_folder
from thinkseg.types import Reply, View
from tinytrackers import save_sam2

FRAMES, WIDTH, HEIGHT, FPS = 10, 48, 32, 10.0
FOUND = (
    '<think>It is the grey one.</think><answer>{"keyframe_timestamp": 0.4, "bbox_2d_list": [[6, 4, 18, 16]]}</answer>'
)
ABSENT = '<think>No such thing.</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
VIEW = View(num_frames=FRAMES, frame_wh=(WIDTH // 2, HEIGHT // 2))


@pytest.fixture
def clip(tmp_path):
    """A video file, one second long."""
    frames = [np.full((HEIGHT, WIDTH, 3), 20 * index, np.uint8) for index in range(FRAMES)]
    write_video(tmp_path / "clip.mp4", frames, FPS)
    return tmp_path / "clip.mp4"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def models(monkeypatch, box_tracker):
    """Models that need no weights: models(reply) is what the policy will say. `loads` lists how it was asked for."""
    loads = []

    def pretend(reply=FOUND):
        def load_policy(name, **settings):
            loads.append((name, settings))
            return ScriptedPolicy([reply] if isinstance(reply, str | Reply) else reply, view=VIEW)

        monkeypatch.setattr("thinkseg.models.load_policy", load_policy)
        monkeypatch.setattr("thinkseg.models.clock_of", lambda name: "auto")
        monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
        return loads

    return pretend


@pytest.fixture
def segment(clip, out):
    """Runs the command on the clip."""
    return lambda *arguments: app.main(["segment", str(clip), *arguments, "--out", str(out)])


def answer(out):
    return json.loads((out / "answer.json").read_text("utf-8"))


def test_writes_the_answer_the_masks_and_the_overlay(models, segment, out, capsys):
    models()
    assert segment("the grey one") == 0
    assert sorted(p.name for p in out.iterdir()) == [".thinkseg", "answer.json", "masks", "masks.json", "overlay.mp4"]
    record = answer(out)
    assert record["query"] == "the grey one"
    assert record["thinking"] == "It is the grey one."
    assert record["keyframe"] == {"index": 4, "seconds": 0.4}
    assert record["boxes"] == [[12, 8, 36, 32]]
    assert record["replies"] == [FOUND]
    assert (record["failure"], record["no_target"]) == (None, False)
    assert record["settings"]["policy"] == "scripted"
    assert {"thinkseg", "torch", "transformers", "python"} <= record["versions"].keys()
    assert {"policy", "tracker"} <= record["seconds"].keys()
    assert capsys.readouterr().out == (
        f"It is the grey one.\nkeyframe 4 (0.40 s)\nbox 12.0,8.0,36.0,32.0\nseen in all 10 frames\nwrote {out}\n"
    )


def test_a_bundled_policy_about_another_video_is_a_warning(models, segment, out, capsys, monkeypatch):
    models()
    assert segment("the grey one") == 0
    assert (capsys.readouterr().err, answer(out)["warnings"]) == ("", [])
    monkeypatch.setattr("thinkseg.models.is_bundled", lambda name: name == "scripted")
    assert segment("the grey one") == 0
    assert capsys.readouterr().err == f"warning: {BUNDLED_WARNING}\n"
    assert answer(out)["warnings"] == [BUNDLED_WARNING]


def test_preset_names_the_models_and_how_the_policy_is_prompted(models, segment, out, capsys):
    loads = models(FOUND.replace("0.4", "0"))
    assert segment("the grey one", "--preset", "paper-veason", "--policy", "my/veason", "--frames", "3") == 0
    assert loads[0][0] == "my/veason"
    settings = answer(out)["settings"]
    assert (settings["frames"], settings["label_unit"], settings["frame_size"]) == (3, "index", [560, 560])
    assert (settings["policy"], settings["tracker"]) == ("scripted", "boxes")
    assert capsys.readouterr().err == (
        "thinkseg: tracking with flow, because facebook/sam2.1-hiera-large is not downloaded; `thinkseg models fetch"
        " paper-veason` downloads it\n"
    )


def test_preset_without_a_policy_is_one_line(segment, capsys):
    assert segment("the grey one", "--preset", "server") == 2
    assert capsys.readouterr().err.startswith("thinkseg: preset 'server' names no policy: give one with --policy")


def test_choice_of_the_user_names_the_models(models, segment, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("THINKSEG_CONFIG", str(tmp_path / "user" / "config.yaml"))
    assert app.main(["models", "use", "small"]) == 0
    loads = models()
    assert segment("the grey one") == 0
    assert segment("the grey one", "--policy", "my/policy", "--tracker", "flow") == 0
    assert [name for name, _ in loads] == ["Qwen/Qwen3-VL-2B-Instruct", "my/policy"]
    assert capsys.readouterr().err.count("tracking with flow") == 1


def test_masks_are_black_and_white_at_source_size_for_every_frame(models, segment, out):
    models()
    segment("the grey one")
    pictures = sorted((out / "masks").iterdir())
    assert [p.name for p in pictures] == [f"{index:05d}.png" for index in range(FRAMES)]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[8:32, 12:36] = 255
    record = json.loads((out / "masks.json").read_text())
    assert record["size"] == [HEIGHT, WIDTH]
    for picture, rle in zip(pictures, record["objects"][0], strict=True):
        with Image.open(picture) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), expected)
        assert np.array_equal(decode(rle), expected > 0)
    overlay = open_video(out / "overlay.mp4")
    assert (len(overlay), overlay.size_wh, overlay.fps) == (FRAMES, (WIDTH, HEIGHT), FPS)


@pytest.mark.parametrize(
    ("options", "name"),
    [([], "shapes"), (["--chain", "revseg"], "shapes-revseg"), (["--chain", "revseg", "--policy", "shapes"], "shapes")],
)
def test_a_chain_is_asked_of_the_policy_that_knows_it(models, segment, options, name):
    loads = models()
    segment("the grey one", *options)
    assert [asked for asked, _ in loads] == [name]


def test_the_record_names_the_device_used_if_none_is_requested(models, segment, out):
    models()
    segment("the grey one")
    assert answer(out)["settings"]["device"] == "cpu"


def test_a_device_that_is_not_there_is_status_2_before_anything_is_loaded(models, segment, out, capsys):
    loads = models()
    assert segment("the grey one", "--device", "cuda:63") == 2
    assert "device 'cuda:63': PyTorch cannot use it here" in capsys.readouterr().err
    assert not loads
    assert not out.exists()


def test_settings_reach_the_policy_and_the_record(models, segment, out):
    loads = models()
    options = ["--policy", "mine", "--device", "cpu", "--precision", "fp32", "--temperature", "0.5", "--seed", "3"]
    assert segment("the grey one", *options, "--frames", "5", "--frame-size", "24x16") in (0, 1)
    running = {"device": "cpu", "precision": "fp32", "temperature": 0.5, "seed": 3}
    assert loads == [("mine", running)]
    settings = answer(out)["settings"]
    assert settings.items() >= running.items()
    assert (settings["frames"], settings["frame_size"]) == (5, [24, 16])


CHOICE = '<think>It is the grey one.</think><answer>[{"frame_idx": 4, "object description": "grey"}]</answer>'
BOXES = '[{"bbox_2d": [12, 8, 36, 32]}]'


def test_both_turns_of_a_chain_are_kept(models, segment, out):
    models([CHOICE, BOXES])
    assert segment("the grey one", "--chain", "revseg") == 0
    record = answer(out)
    assert (record["thinking"], record["replies"]) == ("It is the grey one.", [CHOICE, BOXES])
    assert (record["keyframe"]["index"], record["boxes"]) == (4, [[12, 8, 36, 32]])
    assert (record["settings"]["overview_size"], record["settings"]["closeup_size"]) == ([24, 16], [48, 32])


def test_the_sizes_of_both_turns_can_be_set(models, segment, out):
    models([CHOICE, BOXES])
    assert segment("it", "--chain", "revseg", "--frame-size", "12x8", "--closeup-size", "96x64") == 0
    assert answer(out)["boxes"] == [[6, 4, 18, 16]]
    assert answer(out)["settings"]["overview_size"] == [12, 8]


def test_no_target_is_an_answer_with_empty_masks(models, segment, out, capsys):
    models(ABSENT)
    assert segment("the dog") == 0
    assert answer(out)["no_target"] is True
    assert answer(out)["keyframe"] is None
    assert "no such object" in capsys.readouterr().out
    with Image.open(out / "masks" / "00003.png") as image:
        assert image.getextrema() == (0, 0)
    assert json.loads((out / "masks.json").read_text())["objects"] == []


@pytest.mark.parametrize(
    ("reply", "reason"), [("It is over there.", "invalid_tags"), (Reply(FOUND[:40], truncated=True), "truncated")]
)
def test_an_unusable_reply_is_kept_and_is_status_1(models, segment, out, capsys, reply, reason):
    models(reply)
    assert segment("the grey one") == 1
    assert sorted(p.name for p in out.iterdir()) == [".thinkseg", "answer.json"]
    assert answer(out)["failure"] == reason
    assert answer(out)["replies"] == [reply if isinstance(reply, str) else reply.text]
    assert capsys.readouterr().out.startswith(f"invalid reply: {explained(reason)}; see")


@pytest.mark.parametrize(
    ("moment", "index", "seconds"),
    [("4", 4, 0.4), ("0.44s", 4, 0.4), ("0.46s", 5, 0.5), ("0s", 0, 0.0), ("0.95s", 9, 0.9)],
)
def test_boxes_by_hand_need_no_policy(models, segment, out, box_tracker, moment, index, seconds, capsys):
    loads = models()
    assert segment("--keyframe", moment, "--box", "1,2,9.5,8", "--box", "20,20,90,30") == 0
    assert loads == []
    assert box_tracker.calls == [index]
    record = answer(out)
    assert record["keyframe"] == {"index": index, "seconds": pytest.approx(seconds)}
    assert record["boxes"] == [[1, 2, 9.5, 8], [20, 20, WIDTH, 30]]
    assert record["settings"]["policy"] is None
    assert len(json.loads((out / "masks.json").read_text())["objects"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(f"keyframe {index} ({seconds:.2f} s)\nbox 1.0,2.0,9.5,8.0\n")
    assert printed.err == "thinkseg: box 20,20,90,30 is clipped to the frame of 48x32 pixels: 20,20,48,30\n"


def test_a_sam2_runs_from_the_command_line(segment, out, tmp_path, monkeypatch):
    """For one question: it keeps nothing for another."""
    made = []
    monkeypatch.setattr(Sam2Tracker, "__init__", _noting(Sam2Tracker.__init__, made))
    folder = save_sam2(tmp_path / "sam2")
    assert segment("--keyframe", "3", "--box", "4,4,20,20", "--tracker", str(folder), "--device", "cpu") == 0
    assert len(list((out / "masks").iterdir())) == FRAMES
    assert answer(out)["settings"]["tracker"] == str(folder)
    assert {settings["feature_cache_bytes"] for settings in made} == {0}


def _noting(function, calls):
    """A method that notes its named arguments before it goes on."""

    def noted(self, *arguments, **settings):
        calls.append(settings)
        function(self, *arguments, **settings)

    return noted


def test_the_real_tracker_runs_from_the_command_line(segment, out):
    assert segment("--keyframe", "0", "--box", "4,4,20,20") == 0
    assert len(list((out / "masks").iterdir())) == FRAMES


def test_json_is_the_content_of_the_answer_alone(models, segment, out, capsys):
    models()
    assert segment("the grey one", "--json") == 0
    assert capsys.readouterr().out == (out / "answer.json").read_text("utf-8")


def test_quiet_prints_nothing_and_keeps_the_status(models, segment, capsys):
    models("what?")
    assert segment("the grey one", "--quiet") == 1
    assert capsys.readouterr() == ("", "")


def test_verbose_also_prints_where_the_time_goes(models, segment, capsys):
    models()
    assert segment("the grey one", "--verbose", "--no-overlay") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("time: ")]
    steps = ("frames", "policy", "tracker", "loading flow", "loading shapes", "prompting and tracking", "writing")
    assert [part.split(" 0.")[0] for part in line[6:].replace("; ", ", ").split(", ")] == list(steps)


def test_no_overlay_writes_the_other_default_formats(models, segment, out):
    models()
    assert segment("the grey one", "--no-overlay") == 0
    assert sorted(p.name for p in out.iterdir()) == [".thinkseg", "answer.json", "masks", "masks.json"]


def test_dry_run_checks_the_video_and_loads_nothing(models, segment, out, capsys):
    loads = models()
    assert segment("the grey one", "--dry-run") == 0
    assert capsys.readouterr().out == f"to do: {out.parent / 'clip.mp4'}: the grey one, into {out}\n"
    assert segment("the grey one", "--start", "99", "--dry-run") == 2
    assert (loads, out.exists()) == ([], False)


def test_a_part_of_the_video_has_the_indices_and_times_of_the_video(models, segment, out, capsys):
    models()
    assert segment("the grey one", "--start", "0.2s", "--end", "9", "--stride", "2", "--max-side", "24") == 0
    record = answer(out)
    assert record["video"]["size"] == [24, 16]
    assert record["video"]["window"] == {
        "start": 2,
        "end": 9,
        "stride": 2,
        "source_frames": FRAMES,
        "source_size": [WIDTH, HEIGHT],
    }
    assert record["keyframe"] == {"index": 6, "seconds": pytest.approx(0.6)}
    assert record["boxes"] == [[6, 4, 18, 16]]
    assert sorted(path.stem for path in (out / "masks").iterdir()) == ["00002", "00004", "00006", "00008"]
    assert "keyframe 6 (0.60 s)" in capsys.readouterr().out


def test_boxes_in_a_part_are_on_a_frame_of_the_video(models, segment, out, box_tracker):
    models()
    box = ("--keyframe", "6", "--box", "1,2,30,20")
    assert segment(*box, "--start", "2", "--stride", "2") == 0
    assert (box_tracker.calls, answer(out)["keyframe"]["index"]) == ([2], 6)
    assert segment(*box, "--start", "3", "--stride", "2") == 2
    assert segment(*box, "--max-side", "24") == 2


def test_a_later_result_replaces_an_earlier_one(models, segment, out):
    models()
    segment("the grey one")
    models("no answer")
    segment("the grey one")
    assert sorted(p.name for p in out.iterdir()) == [".thinkseg", "answer.json"]
    assert [p.name for p in out.parent.iterdir() if "partial" in p.name or "old" in p.name] == []


def test_a_folder_of_pictures_has_no_times(models, tmp_path, out, capsys):
    models()
    for index in range(3):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{index}.png")
    run = ["segment", str(tmp_path), "--box", "1,1,9,9", "--out", str(out), "--keyframe"]
    assert app.main([*run, "1s"]) == 2
    assert "frame index, 0 to 2" in capsys.readouterr().err
    assert app.main([*run, "1"]) == 0
    assert answer(out)["keyframe"] == {"index": 1, "seconds": None}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_unicode(models, clip, out, capsys):
    models()
    odd = clip.rename(os.fsdecode(os.fsencode(clip.parent) + b"/caf\xe9.mp4"))
    assert app.main(["segment", str(odd), "the grey one", "--out", str(out)]) == 0
    assert answer(out)["video"]["name"] == odd.name
    assert app.main(["segment", str(odd), "the grey one", "--out", str(odd)]) == 2
    assert "is a file" in capsys.readouterr().err


class TestBadInput:
    """Each is refused with status 2 and one line that names the thing and the remedy, and nothing is written."""

    @pytest.fixture
    def refused(self, models, tmp_path, capsys):
        """Runs a command that must be refused and returns its line."""

        def refused(*arguments, out=None, real=False):
            if not real:
                models()
            created = set(tmp_path.iterdir())
            assert app.main(["segment", *map(str, arguments), "--out", str(out or tmp_path / "out")]) == 2
            printed = capsys.readouterr()
            (line,) = printed.err.splitlines()
            assert line.startswith("thinkseg: ")
            assert printed.out == ""
            assert set(tmp_path.iterdir()) == created
            return line

        return refused

    def test_missing_file(self, refused, tmp_path):
        line = refused(tmp_path / "none.mp4", "the cat")
        assert "none.mp4" in line
        assert "check the path" in line

    def test_not_a_video(self, refused, tmp_path):
        (tmp_path / "notes.mp4").write_text("These are notes. " * 200)
        assert "notes.mp4 is not a readable video" in refused(tmp_path / "notes.mp4", "the cat")

    def test_no_frames(self, refused, tmp_path):
        (tmp_path / "empty.mp4").write_bytes(b"")
        assert "empty.mp4" in refused(tmp_path / "empty.mp4", "the cat")

    def test_empty_folder(self, refused, tmp_path):
        (tmp_path / "frames").mkdir()
        line = refused(tmp_path / "frames", "the cat")
        assert "frames has no frames" in line
        assert ".jpg" in line

    def test_truncated_file(self, refused, clip):
        content = clip.read_bytes()
        clip.write_bytes(content[: content.index(b"mdat") + 20])
        line = refused(clip, "the cat")
        assert "clip.mp4" in line
        assert "check that the file is complete" in line

    def test_file_truncated_in_its_header(self, refused, clip):
        clip.write_bytes(clip.read_bytes()[:200])
        assert "clip.mp4" in refused(clip, "the cat")

    @pytest.mark.parametrize("query", ["", "  \n\t "])
    def test_empty_query(self, refused, clip, query):
        assert "say what to segment" in refused(clip, query)

    def test_no_query(self, refused, clip):
        assert "say what to segment" in refused(clip)

    def test_query_of_100_kilobytes(self, refused, clip):
        line = refused(clip, "cat " * 25_000)
        assert "shorten it" in line
        assert len(line) < 200

    def test_box_outside_the_frame(self, refused, clip):
        line = refused(clip, "--keyframe", 0, "--box", "48,0,60,20")
        assert "48,0,60,20 lies outside the frame of 48x32" in line

    def test_box_of_less_than_a_pixel(self, refused, clip):
        line = refused(clip, "--keyframe", 0, "--box", "1,1,1.2,1.2")
        assert "box 1,1,1.2,1.2 covers less than one pixel of the frame of 48x32 pixels; give a larger box" in line

    @pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "5,5,5,9", "9,9,5,12", "nan,0,1,1", "0,0,inf,1"])
    def test_malformed_box(self, refused, clip, box):
        line = refused(clip, "--keyframe", 0, "--box", box)
        assert repr(box) in line
        assert "x1,y1,x2,y2" in line

    @pytest.mark.parametrize("keyframe", ["10", "1.2s", "1e300s", "999999999"])
    def test_keyframe_beyond_the_end(self, refused, clip, keyframe):
        line = refused(clip, "--keyframe", keyframe, "--box", "1,1,9,9")
        assert "is beyond the end" in line
        assert "frames 0 to 9" in line or "ends at 1.00 s" in line

    @pytest.mark.parametrize("keyframe", ["soon", "-3", "2.5", "infs", "nans", "-1s", "", "s"])
    def test_malformed_keyframe(self, refused, clip, keyframe):
        line = refused(clip, f"--keyframe={keyframe}", "--box", "1,1,9,9")
        assert f"{keyframe!r} is not a moment" in line

    @pytest.mark.parametrize(
        ("alone", "words"),
        [
            (("--keyframe", "3"), "nothing to track: mark an object with --box, --point or --mask"),
            (("--box", "1,1,9,9"), "1,1,9,9: on which frame? give --keyframe, or 1,1,9,9@2.4s"),
            (("--point", "1,1#2"), "1,1#2: on which frame? give --keyframe, or 1,1@2.4s#2"),
            (
                ("--drop", "2", "--point", "1,1@0"),
                "--drop: is about the objects of an earlier result; give it with --fix",
            ),
        ],
    )
    def test_half_of_a_prompt(self, refused, clip, alone, words):
        assert words in refused(clip, *alone)

    def test_output_below_a_file(self, refused, clip):
        line = refused(clip, "the cat", out=clip / "deep" / "out")
        assert "clip.mp4 is a file" in line
        assert "choose another folder" in line

    def test_output_is_a_file(self, refused, clip):
        assert "choose another folder" in refused(clip, "the cat", out=clip)

    def test_output_holds_the_video(self, refused, clip, tmp_path):
        with result_folder(tmp_path / "out", "segment") as folder:
            shutil.copy(clip, folder / "overlay.mp4")
        line = refused(tmp_path / "out" / "overlay.mp4", "the cat")
        assert "overlay.mp4 is in" in line
        assert (tmp_path / "out" / "overlay.mp4").exists()

    def test_output_holds_other_things(self, refused, clip, tmp_path):
        line = refused(clip, "the cat", out=tmp_path)
        assert "has 'clip.mp4', which no earlier result wrote" in line

    def test_unknown_chain(self, refused, clip):
        line = refused(clip, "the cat", "--chain", "daisy")
        assert "'daisy'" in line
        assert "veason" in line

    def test_unknown_tracker(self, refused, clip):
        line = refused(clip, "the cat", "--tracker", "hound", real=True)
        assert "'hound'" in line
        assert "flow" in line

    @pytest.mark.parametrize(
        ("config", "complaint"),
        [
            (None, "not a model folder"),
            (
                '{"model_type": "qwen2_5_vl"}',
                "model type 'qwen2_5_vl'; trackers must be one of edgetam_video, sam2_video",
            ),
            ('{"model_type": "sam2_video"}', "cannot load its weights"),
        ],
    )
    def test_tracker_folder_of_something_else(self, refused, clip, tmp_path, config, complaint):
        (tmp_path / "hollow").mkdir()
        if config:
            (tmp_path / "hollow" / "config.json").write_text(config)
        line = refused(clip, "--keyframe", 0, "--box", "1,1,9,9", "--tracker", tmp_path / "hollow", real=True)
        assert complaint in line
        assert "hollow" in line

    def test_unknown_policy(self, refused, clip):
        line = refused(clip, "the cat", "--policy", "oracle", real=True)
        assert "'oracle'" in line
        assert "shapes" in line

    def test_policy_folder_without_weights(self, refused, clip, tmp_path):
        (tmp_path / "hollow").mkdir()
        (tmp_path / "hollow" / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
        line = refused(clip, "the cat", "--policy", tmp_path / "hollow", real=True)
        assert "hollow" in line

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--frame-size", "9999x9999"),
            ("--temperature", "-1"),
            ("--seed", "x"),
            ("--frames", "0"),
            ("--frame-size", "0x4"),
            ("--device", "tpu9"),
        ],
    )
    def test_settings_that_cannot_be(self, refused, clip, option, value):
        line = refused(clip, "the cat", option, value)
        assert option in line
        assert repr(value) in line
