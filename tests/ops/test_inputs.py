"""What callers give as a video, a keyframe or boxes: every form works, or is refused in one clear line."""

import re

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from thinkseg.data.readers.video_window import Window
from thinkseg.errors import SettingsError, VideoError
from thinkseg.ops.inputs import boxes_in_frame, checked_prompts, frame_at, located_prompts, open_frames
from thinkseg.types import ObjectPrompt

FRAMES = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
SIZE = (48, 32)


@pytest.fixture
def paths(tmp_path):
    """Two images as files."""
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    return [tmp_path / "0.png", tmp_path / "1.png"]


def content(frames):
    return np.stack(list(frames.read(range(len(frames)))))


@pytest.mark.parametrize(
    "video",
    [
        FRAMES,
        FRAMES.transpose(0, 3, 1, 2),
        FRAMES / 255,
        (FRAMES / 255).astype(np.float32),
        list(FRAMES),
        tuple(FRAMES),
        [Image.fromarray(frame) for frame in FRAMES],
        torch.from_numpy(FRAMES),
        torch.from_numpy(FRAMES).permute(0, 3, 1, 2),
        torch.from_numpy(FRAMES / 255).requires_grad_(),
        list(torch.from_numpy(FRAMES)),
        list(torch.from_numpy(FRAMES).permute(0, 3, 1, 2)),
    ],
    ids=lambda video: f"{type(video).__name__}-{getattr(video, 'dtype', type(video[0]).__name__)}",
)
def test_open_frames_arrays_and_images_in_memory(video):
    assert np.array_equal(content(open_frames(video)), FRAMES)


def test_open_frames_paths(paths):
    for video in (paths, [str(path) for path in paths], paths[0].parent, str(paths[0].parent)):
        assert np.array_equal(content(open_frames(video)), FRAMES)


def test_open_frames_open_video_is_returned_unchanged(film):
    video = film()
    assert open_frames(video) is video


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (None, "NoneType is no video"),
        (b"clip.mp4", "bytes is no video"),
        (7, "int is no video"),
        ({"a": 1}, "dict is no video"),
        ((frame for frame in FRAMES), "generator is no video"),
        ([], "the list is empty"),
        (FRAMES[0], r"uint8 of shape \(4, 5, 3\) is no video"),
        (FRAMES[..., 0], r"uint8 of shape \(2, 4, 5\) is no video"),
        (FRAMES[:0], r"shape \(0, 4, 5, 3\)"),
        (FRAMES.astype(np.int64), "int64 of shape"),
        (FRAMES.astype(np.uint16), "type uint16 are not supported"),
        (FRAMES.astype(np.float32), "values from 0 to 1"),
        (np.full((1, 2, 2, 3), np.nan), "values from 0 to 1"),
        ([FRAMES[0], FRAMES[0, :2]], r"different shapes, \(2, 5, 3\) and \(4, 5, 3\)"),
        ([None, None], "object of shape"),
        ([FRAMES[0], "a.png"], "different shapes"),
        ("nowhere.mp4", "nowhere.mp4"),
        (["nowhere.png"], "nowhere.png"),
    ],
)
def test_open_frames_anything_else_is_one_clear_line(video, words):
    with pytest.raises(VideoError, match=words) as caught:
        open_frames(video)
    assert len(str(caught.value).splitlines()) == 1


def test_open_frames_paths_of_different_sizes_are_refused_before_reading(paths):
    Image.new("RGB", (3, 3)).save(paths[1])
    with pytest.raises(VideoError, match=r"1\.png is 3x3, but 0\.png is 5x4"):
        open_frames(paths)


@pytest.mark.parametrize(
    ("moment", "index"), [(0, 0), (9, 9), (np.int64(4), 4), (0.44, 4), (0.0, 0), (np.float32(0.95), 9)]
)
def test_frame_at_index_or_nearest_time(film, moment, index):
    assert frame_at(film(10), moment) == index


@pytest.mark.parametrize("moment", [-1, -0.1, float("nan"), float("inf"), 10, 1.2, "nan", "3", None, True, [1]])
def test_frame_at_other_moment_is_one_clear_line(film, moment):
    with pytest.raises(SettingsError, match=r"^keyframe: .*(not a moment|beyond the end)"):
        frame_at(film(10), moment)


def test_frame_at_time_without_times_is_refused(film):
    with pytest.raises(SettingsError, match="has no times; give a frame index, 0 to 9"):
        frame_at(film(10, fps=None), 0.5)


BOX = [[1, 2, 9.5, 8]]


@pytest.mark.parametrize(
    "boxes",
    [BOX, ((1, 2, 9.5, 8),), np.array(BOX), np.array(BOX, np.float16), torch.tensor(BOX, requires_grad=True),
     torch.tensor(BOX, dtype=torch.bfloat16), [torch.tensor(BOX[0])]],
)  # fmt: skip
def test_boxes_in_frame_all_forms_become_float32(boxes):
    found, notes = boxes_in_frame(boxes, SIZE)
    assert (found.tolist(), found.dtype, notes) == (BOX, np.float32, [])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([0, 0, 1e99, 1e99], [0, 0, 48, 32]),
        ([-1e308, 5, 7, 9], [0, 5, 7, 9]),
        ([40, 20, 60, 30], [40, 20, 48, 30]),
    ],
)
def test_boxes_in_frame_partly_outside_is_clipped_and_noted(box, inside):
    found, (note,) = boxes_in_frame([box], SIZE)
    assert found.tolist() == [inside]
    assert "is clipped to the frame of 48x32 pixels: " + ",".join(map(str, inside)) in note


def test_boxes_in_frame_side_of_one_pixel_survives_rounding():
    boxes_in_frame([[2.3, 2.3, 3.3, 3.3]], SIZE)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[1, 1, 1.2, 1.2]], "box 1,1,1.2,1.2 covers less than one pixel of the frame of 48x32 pixels"),
        ([[47.5, 1, 90, 9]], "covers less than one pixel"),
        ([[48, 0, 60, 20]], "box 48,0,60,20 lies outside the frame of 48x32 pixels; give a box inside it"),
        ([[-9, 0, 0, 20]], "lies outside"),
        ([[5, 5, 5, 9]], "has no area"),
        ([[9, 9, 5, 12]], "has no area"),
        ([[0, 0, float("nan"), 1]], "not finite"),
        ([[0, 0, float("inf"), 1]], "not finite"),
        ([], "the shape (0,) does not fit"),
        (np.zeros((0, 4)), "the shape (0, 4) does not fit"),
        ([1, 2, 3, 4], "the shape (4,) does not fit; give numbers of shape (N, 4)"),
        ([[1, 2, 3]], "the shape (1, 3)"),
        ([[1, 2, 3, 4, 5]], "the shape (1, 5)"),
        ([[[1, 2, 3, 4]]], "the shape (1, 1, 4)"),
        ([[1, 2, 3], [1, 2, 3, 4]], "list does not fit"),
        ([["a", 1, 2, 3]], "list does not fit"),
        ("1,2,3,4", "str does not fit"),
        ([[True, True, True, True]], "list does not fit"),
        (np.array(BOX, complex), "ndarray does not fit"),
        ({"a": 1}, "dict does not fit"),
        ([[10**400, 1, 2, 3]], "list does not fit"),
    ],
)
def test_boxes_in_frame_other_boxes_are_one_clear_line(boxes, words):
    with pytest.raises(SettingsError, match=re.escape(words)) as caught:
        boxes_in_frame(boxes, SIZE)
    assert len(str(caught.value).splitlines()) == 1


MASK = np.zeros((6, 8), bool)
MASK[2, 3] = True


def test_checked_prompts_are_in_order_with_indices_and_clipped_boxes(film):
    given = [
        ObjectPrompt(3, 1, mask=MASK.astype(np.uint8)),
        ObjectPrompt(0.7, 0, points=[[1, 2], [7.5, 0]], labels=[1, 0]),
        ObjectPrompt(2, 0, box=[1, 1, 99, 5], points=[[0, 0]], labels=[0]),
    ]
    found, (note,) = checked_prompts(located_prompts(given, film(10)), film(10))
    assert [(one.obj, one.frame) for one in found] == [(0, 2), (0, 7), (1, 3)]
    assert found[0].box.tolist() == [1, 1, 8, 5]
    assert "is clipped to the frame of 8x6 pixels" in note
    assert found[2].mask.dtype == bool


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([], "give a list of thinkseg.ObjectPrompt"),
        ([(1, 2)], "give a list of thinkseg.ObjectPrompt"),
        ([ObjectPrompt(10, box=[1, 1, 4, 4])], "keyframe: 10 is beyond the end"),
        ([ObjectPrompt(0)], "object 1, frame 0: no point is on the object; give one that is, or a box"),
        ([ObjectPrompt(0, points=[[1, 1]], labels=[0])], "no point is on the object"),
        ([ObjectPrompt(0, points=[[1, 1]], labels=[2])], "labels are [2]; give 1"),
        ([ObjectPrompt(0, points=[[8, 1]])], "point 8,1 is outside the frame of 8x6 pixels; give x,y inside it"),
        ([ObjectPrompt(0, points=[[-0.1, 1]])], "point -0.1,1 is outside"),
        ([ObjectPrompt(0, points=[[float("nan"), 1]])], "point nan,1 is outside"),
        ([ObjectPrompt(0, box=[5, 5, 5, 9])], "has no area"),
        ([ObjectPrompt(0, mask=MASK.T)], "mask is 6x8, the frame 8x6"),
        ([ObjectPrompt(0, mask=np.zeros((6, 8)))], "mask is empty"),
        ([ObjectPrompt(0, mask=MASK, box=[1, 1, 4, 4])], "a mask takes no box and no points"),
        ([ObjectPrompt(0, mask=MASK, points=[[1, 1]])], "a mask takes no box and no points"),
        ([ObjectPrompt(3, mask=MASK), ObjectPrompt(0.3, mask=MASK)], "object 1, frame 3: has two prompts"),
        ([ObjectPrompt(3, 0, mask=MASK), ObjectPrompt(3, 2, mask=MASK)], "object 2: has no prompt; number objects"),
        ([ObjectPrompt(3, 1, mask=MASK)], "object 1: has no prompt"),
    ],
)
def test_checked_prompts_other_prompts_are_one_clear_line(film, prompts, words):
    with pytest.raises(SettingsError, match=re.escape(words)) as caught:
        checked_prompts(located_prompts(prompts, film(10)), film(10))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_open_frames_pil_images_equal_their_files(tmp_path, suffix, loaded, turned):
    exif = Image.Exif()
    if turned:
        exif[ExifTags.Base.Orientation] = 6
    image = Image.fromarray(FRAMES[0])
    if suffix == "png":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    path = tmp_path / f"0.{suffix}"
    image.save(path, exif=exif)
    picture = Image.open(path)
    if loaded:
        picture.load()
    assert np.array_equal(content(open_frames([picture])), content(open_frames([path])))


@pytest.mark.parametrize(("moment", "index"), [(4, 0), (10, 2), (0.4, 0), (0.8, 1), (1.1, 2)])
def test_frame_at_of_a_part_takes_moments_of_the_source(film, moment, index):
    assert frame_at(Window(start=4, end=12, stride=3).of(film(20)), moment) == index


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (5, "keyframe: 5 is not among the frames of film: 4 to 10 in steps of 3"),
        (0, "keyframe: 0 is not among the frames"),
        (13, "keyframe: 13 is beyond the end: film has frames 4 to 10 in steps of 3"),
        (0.2, "keyframe: 0.2 s is before the first frame of film, at 0.40 s"),
        (1.9, "keyframe: 1.9 s is beyond the end"),
    ],
)
def test_frame_at_outside_a_part_raises(film, moment, words):
    with pytest.raises(SettingsError, match=words):
        frame_at(Window(start=4, end=12, stride=3).of(film(20)), moment)
