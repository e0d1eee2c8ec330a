"""The tracker against stock model classes driven plainly, with a model of the real layout and random weights."""

import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.sam2 import IMAGENET_MEAN, IMAGENET_STD, Sam2Tracker
from thinkseg.ops.video import ArrayFrames
from tinytrackers import SIDE, create_sam2, save_sam2

WIDTH, HEIGHT = 80, 60
BOXES = np.array([[5, 5, 30, 30], [40, 20, 70.5, 55]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return Sam2Tracker.load(folder, device="cpu").model


def footage(num_frames: int, size_wh: tuple[int, int] = (WIDTH, HEIGHT), seed: int = 0) -> ArrayFrames:
    """Large coloured squares that drift down and to the right."""
    width, height = size_wh
    squares = np.random.default_rng(seed).integers(0, 256, (-(-height // 10), -(-width // 10), 3))
    picture = np.kron(squares, np.ones((10, 10, 1)))[:height, :width].astype(np.uint8)
    return ArrayFrames(np.stack([np.roll(picture, (i, 2 * i), (0, 1)) for i in range(num_frames)]))


def plainly(model: Any, video: ArrayFrames, keyframe: int, boxes: np.ndarray) -> np.ndarray:
    """Masks bool (N, T, H, W) from the stock session, the stock processor's prompts and the stock iterator."""
    from transformers import Sam2VideoProcessor
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    class Processor(Sam2VideoProcessor):
        def __init__(self) -> None:
            self.target_size, self.point_pad_value = SIDE, -10

    width, height = video.size_wh
    pixels = torch.cat([Sam2Tracker(model)._pixels(frame) for frame in video.read(range(len(video)))])
    session = Sam2VideoInferenceSession(video=pixels, video_height=height, video_width=width, dtype=torch.float32)
    numbers = list(range(len(boxes)))
    Processor().add_inputs_to_inference_session(session, keyframe, numbers, input_boxes=[boxes.tolist()])
    model(inference_session=session, frame_idx=keyframe)
    masks = np.zeros((len(boxes), len(video), height, width), bool)
    for reverse in (False, True):
        for found in model.propagate_in_video_iterator(session, start_frame_idx=keyframe, reverse=reverse):
            large = interpolate(found.pred_masks, (height, width), mode="bilinear", align_corners=False)
            masks[:, found.frame_idx] = (large[:, 0] > 0).numpy()
    return masks


def tracked(tracker: Sam2Tracker, video: ArrayFrames, keyframe: int, boxes: np.ndarray = BOXES) -> np.ndarray:
    """Masks bool (N, T, H, W)."""
    found = tracker.track(video, keyframe, boxes)
    return np.stack([found.masks(frame) for frame in range(len(video))], axis=1)


@pytest.mark.parametrize("keyframe", [0, 9, 23])
def test_masks_equal_those_of_the_stock_classes(model: Any, keyframe: int) -> None:
    video = footage(24)
    expected = plainly(model, video, keyframe, BOXES)
    # The model is one whose masks change from frame to frame, come and go.
    seen = expected.any(axis=(2, 3))
    assert 10 < seen.sum() < seen.size
    assert np.array_equal(tracked(Sam2Tracker(model), video, keyframe), expected)


@pytest.mark.parametrize("size_wh", [(16, 12), (64, 64), (97, 33), (33, 97)])
def test_masks_equal_those_of_the_stock_classes_at_any_size(model: Any, size_wh: tuple[int, int]) -> None:
    video = footage(3, size_wh)
    boxes = np.array([[1.5, 2, 9, 11]], np.float32)
    expected = plainly(model, video, 1, boxes)
    assert expected.any()
    assert np.array_equal(tracked(Sam2Tracker(model), video, 1, boxes), expected)


def test_one_frame_is_a_video(model: Any) -> None:
    video = footage(1)
    expected = plainly(model, video, 0, BOXES)
    assert expected.any()
    assert np.array_equal(tracked(Sam2Tracker(model), video, 0), expected)


def test_what_the_model_no_longer_reads_is_dropped(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memories stay for as many frames as the model looks back, however long the video."""
    from thinkseg.models.session import Session

    held: list[tuple[int, int]] = []
    look = Session.look

    def watched(self: Session, *arguments: Any) -> torch.Tensor:
        logits = look(self, *arguments)
        outputs = self._state.output_dict_per_obj[0]["non_cond_frame_outputs"].values()
        held.append((len(outputs), sum("maskmem_features" in output for output in outputs)))
        assert not any("high_res_masks" in output for output in outputs)
        return logits

    monkeypatch.setattr(Session, "look", watched)
    tracked(Sam2Tracker(model), footage(60), 30, BOXES[:1])
    pointers, memories = (max(column) for column in zip(*held, strict=True))
    config = model.config
    assert pointers <= 2 * config.max_object_pointers_in_encoder
    assert memories <= 2 * config.num_maskmem
    assert held[-1] <= (config.max_object_pointers_in_encoder, config.num_maskmem)


def test_pictures_are_prepared_as_the_stock_processor_would(model: Any) -> None:
    """Torchvision, which that needs, is not here; Pillow resizes with the same filter, to within one grey level."""
    for size_wh in [(WIDTH, HEIGHT), (SIDE, SIDE), (300, 41), (20, 30)]:
        picture = np.random.default_rng(0).integers(0, 256, (*size_wh[::-1], 3), np.uint8)
        resized = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        levels = (Sam2Tracker(model)._pixels(picture)[0] * std + mean) * 255
        assert (levels - torch.from_numpy(resized.copy()).permute(2, 0, 1)).abs().max() <= 1.001


class Watched(ArrayFrames):
    """Notes the frames that are decoded."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.decoded: list[int] = []

    def read(self, indices: Sequence[int]) -> Any:
        for index in indices:
            self.decoded.append(index)
            yield self[index]


@pytest.fixture
def encoded(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one whenever a picture is encoded."""
    calls: list[int] = []
    encode = type(model).get_image_features

    def counted(self: Any, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        return encode(self, *arguments, **settings)

    monkeypatch.setattr(type(model), "get_image_features", counted)
    return calls


@pytest.mark.parametrize(("keep_bytes", "encodings"), [(1 << 30, 8), (0, 16), (None, 13)])
def test_features_are_shared_and_masks_stay_the_same(
    model: Any, encoded: list[int], keep_bytes: int | None, encodings: int
) -> None:
    """Two questions about one video. In the third case three of the eight frames fit."""
    video = Watched(footage(8)._array)
    if keep_bytes is None:
        with torch.inference_mode():
            keep_bytes = 3 * sum(level.nbytes for level in Sam2Tracker(model)._encode(video[0]))
        encoded.clear()
    tracker = Sam2Tracker(model, keep_bytes=keep_bytes)
    first, second = tracked(tracker, video, 2), tracked(tracker, video, 5)
    assert len(encoded) == len(video.decoded) == encodings
    for keyframe, masks in ((2, first), (5, second)):
        assert np.array_equal(masks, tracked(Sam2Tracker(model, keep_bytes=0), video, keyframe))


def test_features_go_with_their_video(model: Any, encoded: list[int]) -> None:
    tracker = Sam2Tracker(model)
    video, other = footage(2), footage(2)
    tracker.track(video, 0, BOXES)
    assert tracker._latest._store is not None
    del video
    gc.collect()
    assert tracker._latest._store is None
    tracker.track(other, 0, BOXES)
    tracker.forget()
    tracker.track(other, 0, BOXES)
    assert len(encoded) == 6


def test_another_video_is_not_taken_for_the_first(model: Any) -> None:
    tracker = Sam2Tracker(model)
    first, second = footage(3), footage(3, seed=1)
    tracker.track(first, 0, BOXES)
    assert np.array_equal(tracked(tracker, second, 0), plainly(model, second, 0, BOXES))
    assert np.array_equal(tracked(tracker, first, 0), plainly(model, first, 0, BOXES))


def test_half_of_the_bytes(model: Any) -> None:
    """Features in half precision: masks nearly the same, and the same whether a frame's features were kept or not."""
    video = footage(6)
    tracker = Sam2Tracker(model, keep_half=True, keep_on="cpu")
    first = tracked(tracker, video, 2)
    full = Sam2Tracker(model)
    exact = tracked(full, video, 2)
    # Random weights make a lot of a little from frame to frame.
    assert (first == exact)[:, 2].mean() > 0.97
    assert not np.array_equal(first, exact)
    assert np.array_equal(tracked(tracker, video, 2), first)
    assert np.array_equal(tracked(Sam2Tracker(model, keep_half=True, keep_bytes=0), video, 2), first)
    assert tracker._latest.store_of(video).num_bytes * 2 == full._latest.store_of(video).num_bytes


def test_position_encodings_are_not_kept(model: Any) -> None:
    video = footage(4)
    tracker = Sam2Tracker(model)
    tracker.track(video, 0, BOXES)
    width = model.config.vision_config.fpn_hidden_size
    # Four bytes a value: levels of an eighth, a fourth and all of the width.
    values = (SIDE // 4) ** 2 * width // 8 + (SIDE // 8) ** 2 * width // 4 + (SIDE // 16) ** 2 * width
    assert tracker._latest.store_of(video).num_bytes == 4 * 4 * values


def test_objects_are_kept_apart_on_request(model: Any) -> None:
    video = footage(8)
    together, apart = tracked(Sam2Tracker(model), video, 3), tracked(Sam2Tracker(model, apart=True), video, 3)
    assert together.all(axis=0).any()
    assert not apart.all(axis=0).any()
    assert np.array_equal(apart.any(axis=0), together.any(axis=0))
    only_one = ~together.all(axis=0)
    assert np.array_equal(apart[:, only_one], together[:, only_one])


def test_many_objects_are_those_asked_for_one_by_one(model: Any) -> None:
    corners = np.random.default_rng(0).uniform(0, 40, (50, 2))
    boxes = np.concatenate([corners, corners + 15], axis=1).astype(np.float32)
    video = footage(2)
    masks = tracked(Sam2Tracker(model), video, 1, boxes)
    assert masks.any(axis=(2, 3)).sum() > 50
    assert np.array_equal(masks, plainly(model, video, 1, boxes))


def test_wide_frames(model: Any) -> None:
    video = footage(2, (4000, 30))
    found = tracked(Sam2Tracker(model), video, 0, np.array([[1000, 2, 2000, 28]], np.float32))
    assert found.shape == (1, 2, 30, 4000)
    assert found.any()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_give_nearly_the_same_masks(folder: Path, model: Any, precision: Any) -> None:
    tracker = Sam2Tracker.load(folder, precision=precision, device="cpu")
    assert next(tracker.model.parameters()).dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    video = footage(3)
    exact, rough = tracked(Sam2Tracker(model), video, 0)[:, 0], tracked(tracker, video, 0)[:, 0]
    assert (exact == rough).mean() > 0.9


def test_no_boxes_no_objects(model: Any) -> None:
    found = Sam2Tracker(model).track(footage(3), 0, np.zeros((0, 4), np.float32))
    assert (found.num_objects, found.num_frames) == (0, 3)


def test_progress_ends_with_the_last_frame(model: Any) -> None:
    calls: list[tuple[int, int]] = []
    Sam2Tracker(model).track(footage(3), 1, BOXES, lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (-9, 0, -2, 9), (float("nan"), 0, 4, 4)])
def test_a_box_that_encloses_nothing_is_named(model: Any, box: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="box"):
        Sam2Tracker(model).track(footage(1), 0, np.array([box], np.float32))


def test_a_keyframe_outside_the_video_is_named(model: Any) -> None:
    with pytest.raises(SettingsError, match="keyframe 3 is not in array; give an index from 0 to 2"):
        Sam2Tracker(model).track(footage(3), 3, BOXES)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_is_said_in_one_line(model: Any, monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(model), "get_image_features", fail)
    with pytest.raises(ModelError, match=r"tiny: out of memory with 2 objects in frames of 80x60 of array") as caught:
        Sam2Tracker(model, "tiny").track(footage(1), 0, BOXES)
    assert "\n" not in str(caught.value)


def test_other_errors_of_the_model_are_bugs(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(model), "get_image_features", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        Sam2Tracker(model).track(footage(1), 0, BOXES)


def of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["memory_fuser_intermediate_dim"] = 24
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (of_another_kind, "a bert model; the trackers supported are sam2_video"),
        (without_config, "not a model folder"),
        (without_weights, "its weights could not be loaded"),
        (of_another_size, "weights are missing or do not fit its config.json"),
    ],
)
def test_folders_that_cannot_be_loaded_are_refused(
    tmp_path: Path, folder: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(ModelError, match=complaint) as caught:
        Sam2Tracker.load(tmp_path, device="cpu")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_created_model_is_the_one_saved(model: Any) -> None:
    assert all(
        torch.equal(one, other) for one, other in zip(create_sam2().parameters(), model.parameters(), strict=True)
    )
