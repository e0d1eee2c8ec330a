"""`thinkseg.segment` and `thinkseg.Segmenter`: what they take, what they load, and what they refuse."""

import numpy as np
import pytest
from PIL import Image

from thinkseg import models
from thinkseg.chains import veason
from thinkseg.data.readers.video_window import Window
from thinkseg.data.shapes import SHAPES_COMMENT
from thinkseg.errors import ModelError, SettingsError, VideoError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.report.result import Result
from thinkseg.segmenter import Segmenter, segment
from thinkseg.types import ObjectPrompt, View

VIEW = View(num_frames=3, frame_wh=(8, 6))
FOUND = '<think>grey</think><answer>{"keyframe_timestamp": 1.0, "bbox_2d_list": [[1, 2, 4, 5]]}</answer>'
NONE = '<think>not here</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


@pytest.fixture
def named(monkeypatch, box_tracker):
    """Puts a scripted policy and the box tracker behind the names that `segment` looks up; lists what was loaded."""
    loaded = []
    policy = ScriptedPolicy(lambda dialogue: FOUND, view=VIEW)
    monkeypatch.setattr(models, "load_policy", lambda name, **_: loaded.append(name) or policy, raising=False)
    monkeypatch.setattr(models, "load_tracker", lambda name, **_: loaded.append(name) or box_tracker, raising=False)
    return loaded


def test_segment_takes_names_and_frames(film, named):
    assert segment(film(21), " the grey\none").sample.query == "the grey one"
    assert named == ["flow", "shapes"]


def test_segment_asks_the_policy_that_knows_the_chain(film, named):
    segment(film(21), "the grey one", chain="revseg")
    segment(film(21), "the grey one", "shapes", chain="revseg")
    assert named == ["flow", "shapes-revseg", "flow", "shapes"]


def test_segment_takes_a_preset_and_warns_without_its_tracker(film, named, monkeypatch):
    monkeypatch.setattr(models, "clock_of", lambda name: "auto")
    with pytest.warns(UserWarning, match=r"tracking with flow, because facebook/sam2\.1-hiera-tiny is not downloaded"):
        segment(film(21), "the grey one", preset="small", policy="my/policy")
    assert named == ["flow", "my/policy"]


def test_segmenter_shows_the_frames_of_the_preset(film, monkeypatch, box_tracker):
    policy = ScriptedPolicy(lambda dialogue: FOUND, view=VIEW)
    monkeypatch.setattr(models, "load_policy", lambda name, **_: policy)
    monkeypatch.setattr(models, "clock_of", lambda name: "auto")
    segmenter = Segmenter("my/policy", box_tracker, preset="paper-veason")
    segmenter(film(21), "the grey one")
    texts = [part for part in policy.dialogues[0][0].content if isinstance(part, str)]
    assert texts[0] == "(0s)"
    assert len(texts) == 8 + 1
    assert "what the following expression refers to" in texts[-1]


def test_segmenter_follows_the_choice_of_the_user(film, named, monkeypatch):
    monkeypatch.setattr(models, "clock_of", lambda name: "auto")
    monkeypatch.setenv("THINKSEG_POLICY", "my/policy")
    monkeypatch.setenv("THINKSEG_TRACKER", "my/tracker")
    segment(film(21), "the grey one")
    segment(film(21), "the grey one", policy="other/policy", tracker="flow")
    assert named == ["my/tracker", "my/policy", "flow", "other/policy"]


def test_segment_takes_models_already_loaded(film, named, box_tracker):
    policy = ScriptedPolicy([NONE])
    outcome = segment(film(21), "it", policy=policy, tracker=box_tracker, chain=veason, view=VIEW)
    assert (outcome.answer.thinking, named) == ("not here", [])


def test_segment_bundled_policy_warns_unless_the_clip_shows_shapes(film, box_tracker):
    policy = ScriptedPolicy(lambda dialogue: FOUND, view=VIEW)
    policy.name = "shapes"
    assert segment(film(21), "it", policy, box_tracker).warnings == (models.BUNDLED_WARNING,)
    shapes = film(21)
    shapes.comment = SHAPES_COMMENT
    assert segment(shapes, "it", policy, box_tracker).warnings == ()
    policy.name = "checkpoints/mine"
    assert segment(film(21), "it", policy, box_tracker).warnings == ()


def test_segment_takes_arrays_which_have_no_times(named, box_tracker):
    array = np.zeros((21, 6, 8, 3), np.uint8)
    policy = ScriptedPolicy([FOUND.replace("1.0", "10")], view=VIEW)
    outcome = segment(array, "it", policy=policy)
    assert (outcome.answer.keyframe, outcome.masklets.num_frames) == (10, 21)


def test_segment_takes_paths(tmp_path, named):
    for number in range(3):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{number}.png")
    policy = ScriptedPolicy([FOUND.replace("1.0", "1")], view=VIEW)
    outcome = segment(tmp_path, "it", policy=policy)
    assert (outcome.sample.id, outcome.answer.keyframe) == (tmp_path.name, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"query": " "}, SettingsError, "empty"),
        ({"query": "x" * 100_000}, SettingsError, "2,000"),
        ({"chain": "thinkhard"}, SettingsError, "unknown chain 'thinkhard'.*veason"),
        ({"video": "nowhere/at/all.mp4"}, VideoError, "all.mp4"),
        ({"video": np.zeros((0, 6, 8, 3), np.uint8)}, VideoError, "uint8"),
        ({"video": np.zeros((3, 6, 8), np.uint8)}, VideoError, "uint8"),
        ({"video": None}, VideoError, "NoneType is no video"),
        ({"query": None}, SettingsError, "the query is NoneType, not a str: give one text per call"),
        ({"query": ["a", "b"]}, SettingsError, "the query is list"),
        ({"policy": 7}, SettingsError, "policy: int is not valid"),
        ({"policy": "oracle"}, ModelError, "unknown policy 'oracle'"),
        ({"tracker": None}, SettingsError, "tracker: NoneType is not valid"),
        ({"chain": 3}, SettingsError, "chain: int is not valid"),
        ({"view": (4, 8)}, SettingsError, "view: tuple is not valid"),
        ({"view": View(0, (8, 8))}, SettingsError, "must be >= 1"),
        ({"view": View(4, (9999, 8))}, SettingsError, "sides must be <= 4096"),
        ({"progress": "bar"}, SettingsError, "progress: str is not valid"),
        ({"keyframe": 3}, SettingsError, "give both"),
        ({"boxes": [[1, 1, 5, 5]]}, SettingsError, "give both"),
        ({"keyframe": 30, "boxes": [[1, 1, 5, 5]]}, SettingsError, "frames 0 to 29"),
        ({"keyframe": 3, "boxes": [[1, 1, 1.2, 5]]}, SettingsError, "less than one pixel"),
        ({"prompts": []}, SettingsError, "give a list of thinkseg.ObjectPrompt"),
        ({"prompts": [ObjectPrompt(3, points=[[9, 1]])]}, SettingsError, "point 9,1 is outside"),
        ({"prompts": [ObjectPrompt(3, 0, [1, 1, 5, 5])], "keyframe": 3}, SettingsError, "drop keyframe and boxes"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_loaded(film, named, arguments, error, words):
    with pytest.raises(error, match=words):
        segment(**{"video": film(), "query": "it", **arguments})
    assert named == []


def test_segment_boxes_by_hand_need_no_policy_and_no_query(film, named, box_tracker):
    with pytest.warns(UserWarning, match="box 1,1,99,5 is clipped to the frame of 8x6 pixels: 1,1,8,5"):
        result = segment(film(10), keyframe=0.4, boxes=[[1, 1, 99, 5]])
    assert (named, box_tracker.calls) == (["flow"], [4])
    assert (result.answer.keyframe, result.answer.boxes.tolist()) == (4, [[1, 1, 8, 5]])
    assert result.sample.query == ""


def test_segment_prompts_are_tracked_and_corrected(film):
    segmenter = Segmenter(tracker="flow")
    result = segmenter(film(4), prompts=[ObjectPrompt(1, 0, [1, 1, 5, 5]), ObjectPrompt(0.3, 1, points=[[6, 4]])])
    assert (result.answer.keyframe, [(one.frame, one.obj) for one in result.prompts]) == (1, [(1, 0), (3, 1)])
    fixed = segmenter.correct(result, [ObjectPrompt(0.2, 0, mask=np.eye(6, 8))], drop=[1])
    assert [(one.frame, one.obj) for one in fixed.prompts] == [(1, 0), (2, 0)]
    assert np.array_equal(fixed[2][0], np.eye(6, 8))
    assert segmenter.correct(fixed, [], drop=[]).masklets.num_objects == 1


def test_segment_prompts_of_a_window_are_frames_of_the_source(film):
    window = Window(start=10, end=20)
    result = segment(film(), tracker="flow", prompts=[ObjectPrompt(12, 0, [1, 1, 5, 5])], window=window)
    assert (result.answer.keyframe, len(result)) == (2, 10)
    fixed = Segmenter(tracker="flow").correct(result, [ObjectPrompt(15, 0, points=[[2, 2]])])
    assert [one.frame for one in fixed.prompts] == [2, 5]


def test_segment_unknown_reading_raises(film):
    with pytest.raises(SettingsError, match="reading: 'loose' is not valid; give one of strict, repair"):
        segment(film(), "it", reading="loose")


def test_segmenter_loads_models_once_when_they_are_needed(film, named):
    segmenter = Segmenter()
    assert named == []
    for _ in range(2):
        segmenter(film(10), keyframe=0, boxes=[[1, 1, 5, 5]])
    assert named == ["flow"]
    for query in ("the grey one", "the other"):
        assert isinstance(segmenter(film(21), query), Result)
    assert named == ["flow", "shapes"]


def test_segmenter_device_frames_and_tracker_settings_reach_the_models(film, monkeypatch, box_tracker):
    settings = {}
    policy = ScriptedPolicy(lambda dialogue: FOUND, view=VIEW)
    monkeypatch.setattr(models, "load_policy", lambda name, **given: settings.update(policy=given) or policy)
    monkeypatch.setattr(models, "load_tracker", lambda name, **given: settings.update(tracker=given) or box_tracker)
    Segmenter("shapes", "some/sam2", "cpu", frames=2, feature_cache_bytes=9)(film(21), "it")
    placement = {"device": "cpu", "feature_cache_bytes": 9}
    assert settings == {"policy": placement, "tracker": placement}
    assert len(policy.dialogues[0][0].images) == 2


@pytest.mark.parametrize(
    "video",
    [
        np.zeros((12, 6, 8, 3), np.uint8),
        np.zeros((12, 3, 6, 8), np.float32),
        [np.zeros((6, 8, 3), np.uint8)] * 12,
        [Image.new("RGB", (8, 6))] * 12,
    ],
    ids=["array", "channels first", "list of arrays", "list of images"],
)
def test_segmenter_takes_frames_with_a_rate(named, video):
    result = Segmenter(frames=12)(video, "it", fps=10.0)
    assert (result.answer.keyframe, len(result), result.sample.video.fps) == (10, 12, 10.0)


def test_segmenter_takes_a_tensor_and_a_list_of_paths(named, tmp_path):
    torch = pytest.importorskip("torch")
    assert len(Segmenter()(torch.zeros(3, 3, 6, 8), "it", fps=1.0)) == 3
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("RGB", (8, 6)).save(path)
    assert Segmenter()(paths, "it", fps=1.0).answer.keyframe == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"frames": 0}, SettingsError, "must be >= 1"),
        ({"device": "cuda:63"}, ModelError, "device 'cuda:63'"),
        ({"reading": "loose"}, SettingsError, "reading: 'loose' is not valid"),
        ({"tracker": 7}, SettingsError, "tracker: int is not valid; see the documentation of thinkseg.Segmenter"),
    ],
)
def test_segmenter_invalid_argument_raises_when_it_is_made(named, arguments, error, words):
    with pytest.raises(error, match=words):
        Segmenter(**arguments)
    assert named == []
