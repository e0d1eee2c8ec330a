"""The tracker against stock sessions of `transformers`, with small models of random weights."""

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.trackers.base import box_prompts
from thinkseg.models.trackers.sam2 import MEAN_STD, Sam2Tracker, normalize, resize
from thinkseg.models.trackers.sam2_session import Session
from thinkseg.ops.video import ArrayFrames
from thinkseg.types import ObjectPrompt
from tinytrackers import BOXES, HEIGHT, SIDE, WIDTH, create_sam2, footage, save_edgetam, save_sam3, tracked

FIVE_BOXES = np.array([*BOXES, [10, 10, 60, 50], [0, 0, 20, 59], [30, 3, 50, 20]], np.float32)


@pytest.fixture(scope="module")
def model(sam2: Path) -> Any:
    return Sam2Tracker.load(sam2, device="cpu").model


def stock_masks_of(model: Any, video: ArrayFrames, keyframe: int, boxes: np.ndarray) -> np.ndarray:
    """Masks bool (N, T, H, W), each object from a stock session of its own."""
    return np.stack([stock_masks(model, video, [ObjectPrompt(keyframe, 0, box)]) for box in boxes])


def pixels(image: np.ndarray, model: Any) -> torch.Tensor:
    """Input of the image encoder for an image, (1, 3, side, side)."""
    return normalize(resize(image[None], model.config.image_size), model)


def stock_masks(model: Any, video: ArrayFrames, prompts: list[ObjectPrompt]) -> np.ndarray:
    """Masks bool (T, H, W) of one object from the stock session, processor and iterator. prompts: frames ascending."""
    from transformers import Sam2VideoProcessor

    class Processor(Sam2VideoProcessor):
        def __init__(self) -> None:
            self.target_size, self.point_pad_value = model.config.image_size, -10

    width, height = video.size_wh
    encoder_input = torch.cat([pixels(frame, model) for frame in video.read(range(len(video)))])
    session_class = getattr(
        sys.modules[type(model).__module__], type(model).__name__.replace("Model", "InferenceSession")
    )
    session = session_class(video=encoder_input, video_height=height, video_width=width, dtype=torch.float32)
    masks = np.zeros((len(video), height, width), bool)
    with torch.inference_mode():
        for one in prompts:
            Processor().add_inputs_to_inference_session(session, one.frame, 0, **stock_inputs(one))
            model(inference_session=session, frame_idx=one.frame)
        for reverse in (False, True):
            start = prompts[0].frame
            for found in model.propagate_in_video_iterator(session, start_frame_idx=start, reverse=reverse):
                large = interpolate(found.pred_masks, (height, width), mode="bilinear", align_corners=False)
                masks[found.frame_idx] = (large[0, 0] > 0).numpy()
    return masks


def stock_inputs(prompt: ObjectPrompt) -> dict[str, Any]:
    """The arguments of the stock processor for a prompt."""
    if prompt.mask is not None:
        return {"input_masks": prompt.mask}
    inputs: dict[str, Any] = {} if prompt.box is None else {"input_boxes": [[prompt.box.tolist()]]}
    if len(prompt.points):
        inputs |= {"input_points": [[prompt.points.tolist()]], "input_labels": [[prompt.labels.tolist()]]}
    return inputs


@pytest.mark.parametrize("keyframe", [0, 9, 23])
def test_track_any_keyframe_equals_stock(model: Any, keyframe: int) -> None:
    video = footage(24)
    expected = stock_masks_of(model, video, keyframe, BOXES)
    # Objects of this model appear and disappear.
    visible = expected.any(axis=(2, 3))
    assert 10 < visible.sum() < visible.size
    assert np.array_equal(tracked(Sam2Tracker(model), video, keyframe), expected)


MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[12:40, 20:55] = True

PROMPTS = {
    "point": [ObjectPrompt(4, points=[[30.5, 20]])],
    "points": [ObjectPrompt(4, points=[[30, 20], [60, 50]], labels=[1, 0])],
    "box and points": [ObjectPrompt(4, 0, BOXES[0], [[12, 12], [25, 25]], [1, 0])],
    "mask": [ObjectPrompt(4, mask=MASK)],
    "empty mask": [ObjectPrompt(2, 0, BOXES[0]), ObjectPrompt(6, mask=np.zeros_like(MASK))],
    "three keyframes": [
        ObjectPrompt(2, 0, BOXES[0]),
        ObjectPrompt(7, points=[[44, 33], [9, 9], [70, 50]], labels=[1, 0, 1]),
        ObjectPrompt(11, mask=MASK),
    ],
    "more keyframes than memories": [ObjectPrompt(frame, 0, BOXES[frame % 2]) for frame in range(1, 12, 2)],
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_track_prompts_equals_stock(model: Any, prompts: list[ObjectPrompt]) -> None:
    video = footage(14)
    found = Sam2Tracker(model).track_prompts(video, prompts[::-1])
    masks = np.stack([found.mask(frame, 0) for frame in range(len(video))])
    assert masks.any(axis=(1, 2)).sum() > 1
    assert np.array_equal(masks, stock_masks(model, video, prompts))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_track_prompts_of_several_objects_equal_those_alone(model: Any, batch_size: int) -> None:
    """Of different kinds, and on different frames, in any order: each object is as if it was tracked alone."""
    precise, video = copy.deepcopy(model).double(), footage(14)
    named = [*PROMPTS.values(), [ObjectPrompt(4, mask=MASK[::-1])], [ObjectPrompt(4, points=[[50, 40]])]]
    prompts = [replace(one, obj=obj) for obj, several in enumerate(named) for one in several]
    found = Sam2Tracker(precise, objects_per_batch=batch_size).track_prompts(video, prompts)
    assert found.num_objects == len(named)
    for obj, several in enumerate(named):
        alone = Sam2Tracker(precise).track_prompts(video, several)
        assert found.rles[obj] == alone.rles[0]


@pytest.mark.parametrize("save", [save_sam3, save_edgetam])
def test_track_prompts_other_models_equal_stock(tmp_path: Path, save: Callable[..., Path]) -> None:
    arguments = (False,) if save is save_sam3 else ()
    model, video = Sam2Tracker.load(save(tmp_path / "model", *arguments), device="cpu").model, footage(12)
    prompts = PROMPTS["three keyframes"]
    found = Sam2Tracker(model).track_prompts(video, prompts)
    masks = np.stack([found.mask(frame, 0) for frame in range(len(video))])
    assert masks.any()
    assert np.array_equal(masks, stock_masks(model, video, prompts))


def test_track_prompts_progress_ends_with_all_passes(model: Any) -> None:
    calls: list[tuple[int, int]] = []
    prompts = [ObjectPrompt(1, 0, BOXES[0]), ObjectPrompt(3, 1, BOXES[1])]
    Sam2Tracker(model).track_prompts(footage(5), prompts, lambda *call: calls.append(call))
    assert (calls[0], calls[-1], len(calls)) == ((1, 7), (7, 7), 7)


def test_track_confidence_is_that_the_object_is_visible(model: Any) -> None:
    masklets = Sam2Tracker(model).track(footage(24), 9, BOXES)
    assert masklets.confidence is not None
    assert ((masklets.confidence >= 0) & (masklets.confidence <= 1)).all()
    seen = np.stack([masklets.seen(obj) for obj in range(masklets.num_objects)])
    # Below 0.5 the model empties the mask; above, it may still draw nothing.
    assert not seen[masklets.confidence < 0.5].any()
    assert seen.any()


@pytest.mark.parametrize("complete", [False, True], ids=["tracker", "complete"])
def test_track_sam3_equals_stock(tmp_path: Path, complete: bool) -> None:
    tracker = Sam2Tracker.load(save_sam3(tmp_path / "sam3", complete), device="cpu")
    video = footage(5)
    expected = stock_masks_of(tracker.model, video, 2, BOXES)
    assert expected.any(axis=(2, 3)).all()
    assert np.array_equal(tracked(tracker, video, 2), expected)
    assert pixels(np.full((9, 9, 3), 255, np.uint8), tracker.model).unique().tolist() == [1]


def test_track_edgetam_equals_stock(tmp_path: Path) -> None:
    """With SAM 2's image encoder: its own is in `timm`, which requires torchvision."""
    tracker = Sam2Tracker.load(save_edgetam(tmp_path / "edgetam"), device="cpu", objects_per_batch=4)
    video = footage(12)
    expected = stock_masks_of(tracker.model, video, 3, BOXES)
    assert expected.any(axis=(2, 3)).sum() > 12
    assert np.array_equal(tracked(tracker, video, 3), expected)
    assert tracker.objects_per_batch == 1


def test_load_missing_package_raises_with_its_name(tmp_path: Path) -> None:
    """With `timm` installed, the checkpoint has no weights; transformers 5.19 requests the encoder from the hub."""
    encoder = {
        "model_type": "edgetam_vision_model",
        "backbone_config": {"model_type": "timm_wrapper", "architecture": "repvit_m1.dist_in1k"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "edgetam_video", "vision_config": encoder}))
    message = "timm|cannot load its weights|couldn't connect to 'https://huggingface.co'"
    with pytest.raises(ModelError, match=message) as caught:
        Sam2Tracker.load(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_track_batch_equals_single_objects_in_double_precision(model: Any) -> None:
    """Double precision, so that memories, which the model rounds to bf16, round alike."""
    precise, video = copy.deepcopy(model).double(), footage(20)
    one_by_one = logits_of(precise, video, 9, FIVE_BOXES, 1)
    assert (one_by_one > 0).any()
    assert (one_by_one < 0).any()
    for batch_size in (2, 8):
        found = logits_of(precise, video, 9, FIVE_BOXES, batch_size)
        assert (found - one_by_one).abs().max() < 1e-4


def test_track_batch_single_precision_differs_by_rounding(model: Any) -> None:
    """Some memories round to another bf16; with small weights the effect stays small."""
    small, video = copy.deepcopy(model), footage(4)
    with torch.no_grad():
        for name, weight in small.named_parameters():
            if weight.ndim > 1 and not name.startswith("vision_encoder"):
                weight /= 2
    one_by_one, found = (logits_of(small, video, 1, FIVE_BOXES, batch_size) for batch_size in (1, 5))
    assert one_by_one.std() > 0.1
    assert (found - one_by_one).abs().max() < 1e-4


def logits_of(model: Any, video: ArrayFrames, keyframe: int, boxes: np.ndarray, batch_size: int) -> torch.Tensor:
    """Mask logits (T, N, 1, h, w), frame by frame."""
    tracker = Sam2Tracker(model, objects_per_batch=batch_size)
    session = Session(model, len(video), video.size_wh, box_prompts(video, keyframe, boxes), batch_size)
    with torch.inference_mode():
        found = {frame: logits for frame, _, logits, _ in tracker._propagate(video, session)}
    return torch.stack([found[frame] for frame in range(len(video))])


def test_independent_overlap_allowed_masks_do_not_depend_on_others(model: Any) -> None:
    video = footage(6)
    assert np.array_equal(tracked(Sam2Tracker(model), video, 2)[1:], tracked(Sam2Tracker(model), video, 2, BOXES[1:]))
    assert Sam2Tracker(model).independent
    assert not Sam2Tracker(model, non_overlap_masks=True).independent


@pytest.mark.parametrize(
    ("device", "model_type", "batch_size"), [("cuda", "sam2_video", 8), ("cuda", "edgetam_video", 1)]
)
def test_objects_per_batch_on_gpu_depends_on_model(device: str, model_type: str, batch_size: int) -> None:
    stub = SimpleNamespace(device=torch.device(device), config=SimpleNamespace(model_type=model_type))
    assert Sam2Tracker(stub).objects_per_batch == batch_size


def test_objects_per_batch_zero_raises(model: Any) -> None:
    assert Sam2Tracker(model).objects_per_batch == 1
    with pytest.raises(SettingsError, match="objects_per_batch is 0"):
        Sam2Tracker(model, objects_per_batch=0)


@pytest.mark.parametrize("size_wh", [(16, 12), (64, 64), (97, 33), (33, 97)])
def test_track_any_size_equals_stock(model: Any, size_wh: tuple[int, int]) -> None:
    video = footage(3, size_wh)
    boxes = np.array([[1.5, 2, 9, 11]], np.float32)
    expected = stock_masks_of(model, video, 1, boxes)
    assert expected.any()
    assert np.array_equal(tracked(Sam2Tracker(model), video, 1, boxes), expected)


def test_track_one_frame_equals_stock(model: Any) -> None:
    video = footage(1)
    expected = stock_masks_of(model, video, 0, BOXES)
    assert expected.any()
    assert np.array_equal(tracked(Sam2Tracker(model), video, 0), expected)


def test_session_long_video_stores_bounded_memory(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memories stay only for the frames that the model reads again."""
    counts: list[tuple[int, int]] = []
    step = Session.step

    def recorded(self: Session, *arguments: Any) -> torch.Tensor:
        logits = step(self, *arguments)
        (batch,) = self._batches
        stored = batch._other_outputs.values()
        counts.append((len(stored), sum("maskmem_features" in known for known in stored)))
        assert all(set(known) <= {"object_pointer", "maskmem_features", "maskmem_pos_enc"} for known in stored)
        return logits

    monkeypatch.setattr(Session, "step", recorded)
    tracked(Sam2Tracker(model), footage(60), 30, BOXES[:1])
    pointers, memories = (max(column) for column in zip(*counts, strict=True))
    config = model.config
    assert pointers <= 2 * config.max_object_pointers_in_encoder
    assert memories <= 2 * config.num_maskmem
    assert counts[-1] <= (config.max_object_pointers_in_encoder, config.num_maskmem)


@pytest.mark.parametrize(("keyframe", "encoded"), [(0, 19), (2, 18), (12, 18), (13, 19), (19, 19)])
def test_session_skips_memories_that_no_frame_reads(
    model: Any, monkeypatch: pytest.MonkeyPatch, keyframe: int, encoded: int
) -> None:
    """Skips the last frame in tracking order, and frame 19 unless the way back from the keyframe reads it."""
    calls: list[int] = []
    forward = type(model.memory_encoder).forward
    monkeypatch.setattr(
        type(model.memory_encoder), "forward", lambda self, *given: calls.append(1) or forward(self, *given)
    )
    tracked(Sam2Tracker(model), footage(20), keyframe, BOXES[:1])
    assert len(calls) == encoded


def test_normalize_matches_stock_preprocessing(model: Any) -> None:
    """The stock processor needs torchvision; Pillow resizes with the same filter, within one gray level."""
    for size_wh in [(WIDTH, HEIGHT), (SIDE, SIDE), (300, 41), (20, 30)]:
        image = np.random.default_rng(0).integers(0, 256, (*size_wh[::-1], 3), np.uint8)
        resized = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD["sam2_video"])
        levels = (pixels(image, model)[0] * std + mean) * 255
        assert (levels - torch.from_numpy(resized.copy()).permute(2, 0, 1)).abs().max() <= 1.001


def test_non_overlap_masks_assigns_each_pixel_once(model: Any) -> None:
    video = footage(8)
    overlapping, disjoint = (
        tracked(Sam2Tracker(model), video, 3),
        tracked(Sam2Tracker(model, non_overlap_masks=True), video, 3),
    )
    assert overlapping.all(axis=0).any()
    assert not disjoint.all(axis=0).any()
    assert np.array_equal(disjoint.any(axis=0), overlapping.any(axis=0))
    only_one = ~overlapping.all(axis=0)
    assert np.array_equal(disjoint[:, only_one], overlapping[:, only_one])


def test_track_many_objects_equals_stock(model: Any) -> None:
    corners = np.random.default_rng(0).uniform(0, 40, (50, 2))
    boxes = np.concatenate([corners, corners + 15], axis=1).astype(np.float32)
    video = footage(2)
    masks = tracked(Sam2Tracker(model), video, 1, boxes)
    assert masks.any(axis=(2, 3)).sum() > 50
    assert np.array_equal(masks, stock_masks_of(model, video, 1, boxes))


def test_track_very_wide_frames_returns_masks(model: Any) -> None:
    video = footage(2, (4000, 30))
    found = tracked(Sam2Tracker(model), video, 0, np.array([[1000, 2, 2000, 28]], np.float32))
    assert found.shape == (1, 2, 30, 4000)
    assert found.any()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_load_lower_precision_gives_similar_masks(sam2: Path, model: Any, precision: Any) -> None:
    tracker = Sam2Tracker.load(sam2, precision=precision, device="cpu")
    assert next(tracker.model.parameters()).dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    video = footage(3)
    exact, rough = tracked(Sam2Tracker(model), video, 0)[:, 0], tracked(tracker, video, 0)[:, 0]
    assert (exact == rough).mean() > 0.9


def test_track_without_boxes_returns_no_objects(model: Any) -> None:
    found = Sam2Tracker(model).track(footage(3), 0, np.zeros((0, 4), np.float32))
    assert (found.num_objects, found.num_frames) == (0, 3)


def test_track_progress_ends_with_last_frame(model: Any) -> None:
    calls: list[tuple[int, int]] = []
    Sam2Tracker(model).track(footage(3), 1, BOXES, lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("frame", [1, 3, 6])
def test_track_progress_raises_leaves_tracker_usable(model: Any, frame: int) -> None:
    video, tracker = footage(6), Sam2Tracker(model)

    def cancel(done: int, total: int) -> None:
        if done == frame:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        tracker.track(video, 2, BOXES, cancel)
    np.testing.assert_array_equal(tracked(tracker, video, 2), tracked(Sam2Tracker(model), video, 2))


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (-9, 0, -2, 9), (float("nan"), 0, 4, 4)])
def test_track_invalid_box_raises(model: Any, box: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="box"):
        Sam2Tracker(model).track(footage(1), 0, np.array([box], np.float32))


def test_track_keyframe_outside_video_raises(model: Any) -> None:
    with pytest.raises(SettingsError, match="keyframe 3 is not in array; give an index from 0 to 2"):
        Sam2Tracker(model).track(footage(3), 3, BOXES)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_track_out_of_memory_raises_one_line(model: Any, monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(model), "get_image_features", fail)
    with pytest.raises(ModelError, match=r"tiny: out of memory with 2 objects in frames of 80x60 of array") as caught:
        Sam2Tracker(model, "tiny").track(footage(1), 0, BOXES)
    assert "\n" not in str(caught.value)


def test_track_other_runtime_error_propagates(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(model), "get_image_features", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        Sam2Tracker(model).track(footage(1), 0, BOXES)


def test_load_compile_encoder_is_one_graph_with_equal_masks(sam2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = torch._dynamo.utils.counters["stats"]
    monkeypatch.setitem(graphs, "unique_graphs", 0)
    video = footage(4)
    plain = tracked(Sam2Tracker.load(sam2, device="cpu"), video, 1)
    assert graphs["unique_graphs"] == 0
    # Only the graph: generating machine code takes a minute.
    stock = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: stock(module, backend="eager", fullgraph=True))
    compiled = tracked(Sam2Tracker.load(sam2, device="cpu", compile_encoder=True), video, 1)
    assert graphs["unique_graphs"] == 1
    assert plain.any()
    assert np.array_equal(compiled, plain)


def change_model_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def change_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["memory_fuser_intermediate_dim"] = 24
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_model_type, "model type 'bert'; trackers must be one of edgetam_video, sam2_video"),
        (remove_config, "not a model folder"),
        (remove_weights, "cannot load its weights"),
        (change_size, "weights are missing or do not fit its config.json"),
    ],
)
def test_load_invalid_folder_raises(tmp_path: Path, sam2: Path, damage: Callable[[Path], None], message: str) -> None:
    for path in sam2.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        Sam2Tracker.load(tmp_path, device="cpu")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_saved_model_has_equal_weights(model: Any) -> None:
    assert all(
        torch.equal(one, other) for one, other in zip(create_sam2().parameters(), model.parameters(), strict=True)
    )
