import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLForConditionalGeneration,
)

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.qwen.checkpoint import (
    DEFAULT_VIEW,
    autocast,
    create_model,
    create_tokenizer,
    load_model,
    load_prompts,
    load_view,
    save,
    save_view,
    supports_bf16,
)
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.prompts import BUILT_IN, Prompts, VeasonPrompts
from thinkseg.storage.prompt_file import PROMPTS_FILE, write_prompts
from thinkseg.types import View
from tinymodels import CORPUS, TEXT, VIEW, VISION, asked, picture, save_qwen2_5

QUESTION = (asked("Where?", [picture(0), picture(1)]), "Here.")


@pytest.fixture
def folder(qwen2_5: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(qwen2_5, tmp_path / "model"))


def logits(model: Any, encoder: Encoder) -> torch.Tensor:
    one = encoder.encode(QUESTION)
    ids = torch.from_numpy(one.input_ids)[None]
    with torch.no_grad():
        return model(
            input_ids=ids,
            mm_token_type_ids=(ids == encoder.image_pad_id).int(),
            pixel_values=one.pixel_values.to(model.dtype),
            image_grid_thw=one.image_grid_thw,
        ).logits


def test_save_created_model_loads_again(tokenizer: Any, tmp_path: Path) -> None:
    from thinkseg.models.policies.qwen.checkpoint import create_encoder

    model, encoder = create_model(VISION, TEXT, tokenizer, seed=3).eval(), create_encoder(tokenizer, VISION)
    save(model, encoder, tmp_path / "deep" / "model", VIEW)
    loaded, again = load_model(tmp_path / "deep" / "model"), Encoder.load(tmp_path / "deep" / "model")
    assert torch.equal(logits(loaded, again), logits(model, encoder))
    assert not loaded.training
    assert loaded.generation_config.eos_token_id == encoder.end_id


def test_create_model_weights_depend_on_seed_only(tokenizer: Any) -> None:
    one, same, other = (create_model(VISION, TEXT, tokenizer, seed) for seed in (0, 0, 1))
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_save_folder_loads_with_stock_classes(qwen2_5: Path) -> None:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen2_5)
    tokenizer = AutoTokenizer.from_pretrained(qwen2_5)
    stock = Encoder(tokenizer, Qwen2VLImageProcessorPil.from_pretrained(qwen2_5))
    assert AutoConfig.from_pretrained(qwen2_5).model_type == "qwen2_5_vl"
    assert torch.equal(logits(model, stock), logits(load_model(qwen2_5), Encoder.load(qwen2_5)))
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize(
    ("which", "processor", "video"),
    [
        ("qwen2_5", "Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor"),
        ("qwen3", "Qwen3VLProcessor", "Qwen3VLVideoProcessor"),
    ],
)
def test_save_folder_names_stock_classes(
    request: pytest.FixtureRequest, which: str, processor: str, video: str
) -> None:
    folder = request.getfixturevalue(which)
    images = json.loads((folder / "preprocessor_config.json").read_text())
    videos = json.loads((folder / "video_preprocessor_config.json").read_text())
    assert images["image_processor_type"] == "Qwen2VLImageProcessor"
    assert (images["processor_class"], videos["processor_class"]) == (processor, processor)
    assert videos["video_processor_type"] == video
    assert "image_processor_type" not in videos
    assert (
        images["patch_size"]
        == videos["patch_size"]
        == json.loads((folder / "config.json").read_text())["vision_config"]["patch_size"]
    )
    import transformers

    config = json.loads((folder / "config.json").read_text())
    assert hasattr(transformers, config["architectures"][0])


def test_load_model_qwen3(qwen3: Path) -> None:
    stock = Qwen3VLForConditionalGeneration.from_pretrained(qwen3)
    one, encoder = load_model(qwen3), Encoder.load(qwen3)
    dialogue = (asked("Where?", [picture(0, (64, 64))]),)
    encoded = encoder.encode(dialogue)
    ids = torch.from_numpy(encoded.input_ids)[None]
    inputs = {
        "input_ids": ids,
        "mm_token_type_ids": (ids == encoder.image_pad_id).int(),
        "pixel_values": encoded.pixel_values,
        "image_grid_thw": encoded.image_grid_thw,
    }
    with torch.no_grad():
        assert torch.equal(one(**inputs).logits, stock(**inputs).logits)
    assert load_view(qwen3) == View(2, (64, 64), "normalized_1000", prompts=BUILT_IN)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_load_model_has_given_precision(qwen2_5: Path, precision: Any, dtype: Any) -> None:
    exact = logits(load_model(qwen2_5), Encoder.load(qwen2_5))
    model = load_model(qwen2_5, precision)
    assert {p.dtype for p in model.parameters()} == {dtype}
    near = logits(model, Encoder.load(qwen2_5)).float()
    assert torch.corrcoef(torch.stack([near.flatten(), exact.flatten()]))[0, 1] > 0.95


def test_load_model_half_precision_on_cpu_is_fp32(folder: Path) -> None:
    model, encoder = load_model(folder, "bf16"), Encoder.load(folder)
    save(model, encoder, folder, VIEW)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_model(folder).dtype == torch.float32


def test_create_tokenizer_integers_are_one_token() -> None:
    tokenizer = create_tokenizer(CORPUS * 20, vocab_size=420, max_integer_token=60, num_decimal_tokens=10)
    for number in range(61):
        assert len(tokenizer(f"{number}")["input_ids"]) == 1
    text = "[12, 40, 32, 64] at 0.4 s: größer 星 🌟\n\t  twice  \u0000"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_create_tokenizer_vocab_size_is_upper_bound() -> None:
    assert len(create_tokenizer(CORPUS, vocab_size=5000, max_integer_token=5, num_decimal_tokens=10)) < 1000


@pytest.mark.parametrize(
    "view",
    [
        View(6, (112, 84)),
        View(1, (28, 28)),
        View(4, (112, 84), closeup_wh=(224, 168)),
        View(4, (112, 84), overview_wh=(56, 56), closeup_wh=(224, 168)),
    ],
)
def test_load_view_returns_saved_view(folder: Path, view: View) -> None:
    save_view(folder, view)
    assert load_view(folder) == replace(view, prompts=BUILT_IN)


def test_load_view_has_the_wording_of_its_file(folder: Path) -> None:
    prompts = Prompts(veason=VeasonPrompts(prompt="{frames}{query}!"))
    write_prompts(prompts, folder / PROMPTS_FILE)
    assert load_view(folder).prompts == load_prompts(folder) == prompts
    (folder / PROMPTS_FILE).write_text("veason: {prompt: 3}")
    with pytest.raises(SettingsError, match=rf"{PROMPTS_FILE}: veason.prompt: must be a string; got 3"):
        load_view(folder)


def test_load_view_without_file_returns_default(folder: Path, qwen3: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "num_frames": 16,
        "frame_wh": (560, 560),
        "overview_wh": (448, 448),
        "closeup_wh": (840, 840),
    }
    for name in ("thinkseg.json", PROMPTS_FILE):
        (folder / name).unlink()
    assert load_view(folder) == DEFAULT_VIEW == View(**sizes)
    other = Path(shutil.copytree(qwen3, tmp_path / "other"))
    for name in ("thinkseg.json", PROMPTS_FILE):
        (other / name).unlink()
    assert load_view(other) == View(**sizes, coordinates="normalized_1000")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"view": 3}',
        '{"view": {"num_frames": 4}}',
        '{"view": {"num_frames": "many", "frame_wh": [28, 28]}}',
        '{"view": {"num_frames": 4, "frame_wh": [28]}}',
        '{"view": {"num_frames": 4, "frame_wh": 28}}',
        '{"view": {"num_frames": 0, "frame_wh": [28, 28]}}',
        '{"view": {"num_frames": 4, "frame_wh": [28, -28]}}',
        '{"view": {"num_frames": 4, "closeup_wh": [28, 28]}}',
        '{"view": {"num_frames": 4, "frame_wh": [28, 28], "closeup_wh": [28]}}',
        '{"view": {"num_frames": 4, "frame_wh": [28, 28], "closeup_wh": [28, 0]}}',
        '{"view": {"num_frames": 4, "frame_wh": [28, 28], "overview_wh": null}}',
    ],
)
def test_load_view_invalid_file_raises(folder: Path, content: str) -> None:
    (folder / "thinkseg.json").write_text(content)
    with pytest.raises(ModelError, match=r"thinkseg\.json") as caught:
        load_view(folder)
    assert "\n" not in str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_a_weight(path: Path) -> None:
    weights = load_file(path)
    del weights[next(name for name in weights if "mlp" in name)]
    save_file(weights, path, {"format": "pt"})


def with_a_weight_of_another_shape(path: Path) -> None:
    weights = load_file(path)
    weights[next(name for name in weights if "mlp" in name)] = torch.zeros(3, 3)
    save_file(weights, path, {"format": "pt"})


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        cut,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not weights at all"),
        without_a_weight,
        with_a_weight_of_another_shape,
    ],
    ids=["none", "truncated", "empty", "junk", "one missing", "one of another shape"],
)
def test_load_model_invalid_weights_raises_one_line(folder: Path, damage: Callable[[Path], Any]) -> None:
    damage(folder / "model.safetensors")
    with pytest.raises(ModelError, match="weights") as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "not a model folder"),
        ("{", "config.json: cannot be read: Expecting property name"),
        ("[]", "config.json: must be a JSON object, not list"),
        ("{}", "model type None; policies must be one of"),
        ('{"model_type": "no_such_model"}', "model type 'no_such_model'; policies must be one of"),
        ('{"model_type": "qwen2_5_vl", "text_config": {"hidden_size": "wide"}}', "cannot read its config.json"),
        ('{"model_type": "bert"}', "model type 'bert'; policies must be one of qwen2_5_vl, qwen3_vl"),
    ],
)
def test_load_model_other_folder_raises_one_line(folder: Path, config: str | None, complaint: str) -> None:
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    for load in (load_model, load_view):
        with pytest.raises(ModelError, match=complaint) as caught:
            load(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_load_model_unknown_precision_raises(qwen2_5: Path) -> None:
    with pytest.raises(SettingsError, match="'fp8': must be one of auto, fp32, bf16, fp16"):
        load_model(qwen2_5, "fp8")  # type: ignore[arg-type]


def test_save_over_existing_folder_is_complete(tokenizer: Any, tmp_path: Path) -> None:
    save_qwen2_5(tmp_path / "model", tokenizer)
    before = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}
    save_qwen2_5(tmp_path / "model", tokenizer)
    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == before


def test_autocast_is_enabled_for_bf16_only() -> None:
    a = torch.ones(2, 2)
    with autocast("cpu", bf16=True):
        assert (a @ a).dtype == torch.bfloat16
    with autocast("cpu", bf16=False):
        assert (a @ a).dtype == torch.float32
    assert supports_bf16("cpu") in (True, False)
