"""Folders of models that are broken or hostile: each is one line of a ModelError, and nothing of it is run."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from thinkseg.errors import ModelError
from thinkseg.models.model_files import limited_size, read_config, reading, stored_numbers, weight_files
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.models.trackers.sam2 import Sam2Tracker

Damage = Callable[[Path], Any]


@pytest.fixture
def policy(qwen2_5: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(qwen2_5, tmp_path / "policy"))


@pytest.fixture
def tracker(sam2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sam2, tmp_path / "tracker"))


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder in which code of a model would leave a file. Reading from standard input fails."""
    (tmp_path / "touched").mkdir()
    monkeypatch.setattr(sys, "stdin", None)
    yield tmp_path / "touched"
    assert not list((tmp_path / "touched").iterdir())


def edit(name: str, *keys: Any, value: Any) -> Damage:
    """A function that sets one field of a file in a folder."""

    def change(folder: Path) -> None:
        content = part = json.loads((folder / name).read_text())
        for key in keys[:-1]:
            part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
        part[keys[-1]] = value
        (folder / name).write_text(json.dumps(content))

    return change


def config(*keys: Any, value: Any) -> Damage:
    return edit("config.json", *keys, value=value)


def write(name: str, content: str | bytes) -> Damage:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def fails(load: Callable[[], Any], match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load()
    assert "\n" not in str(caught.value)


MAP = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.T", None]}


def with_code(folder: Path, touched: Path) -> None:
    """Adds code to a model, and each way to name it."""
    code = f"open({str(touched / 'file')!r}, 'w')\nclass Config: pass\nclass Model: pass\nclass T: pass\n"
    (folder / "custom_generate").mkdir()
    for name in ("evil.py", "custom_generate/generate.py"):
        (folder / name).write_text(code)
    names = [
        name
        for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json")
        if (folder / name).exists()
    ]
    for name in names:
        edit(name, "auto_map", value=MAP)(folder)
    edit("generation_config.json", "custom_generate", value=str(folder))(folder) if len(names) > 1 else None


def test_load_policy_with_code_ignores_it(policy: Path, untouched: Path) -> None:
    with_code(policy, untouched)
    assert QwenPolicy.load(policy, device="cpu").model.config.model_type == "qwen2_5_vl"


def test_load_tracker_with_code_ignores_it(tracker: Path, untouched: Path) -> None:
    with_code(tracker, untouched)
    assert Sam2Tracker.load(tracker, device="cpu").model.config.model_type == "sam2_video"


def test_load_policy_that_needs_its_code_raises(policy: Path, untouched: Path) -> None:
    with_code(policy, untouched)
    config("model_type", value="evil")(policy)
    fails(lambda: QwenPolicy.load(policy), "model type 'evil'")
    config("model_type", value=["qwen2_5_vl"])(policy)
    with pytest.raises(ModelError, match=r"model type \['qwen2_5_vl'\]; policies must be one of"):
        QwenPolicy.load(policy, device="cpu")
    config("model_type", value="qwen2_5_vl")(policy)
    (policy / "tokenizer.json").unlink()
    edit("tokenizer_config.json", "tokenizer_class", value="T")(policy)
    fails(lambda: QwenPolicy.load(policy), "cannot load tokenizer")


@pytest.mark.parametrize(
    "value", ["kernels-community/flash-attn", "flash_attention_2", "owner/kernel@main:f", {"text_config": "a/b"}, 3]
)
@pytest.mark.parametrize(
    "keys", [("attn_implementation",), ("text_config", "_attn_implementation"), ("experts_implementation",)]
)
def test_read_config_kernel_raises(policy: Path, keys: tuple[str, ...], value: Any) -> None:
    config(*keys, value=value)(policy)
    fails(lambda: read_config(policy), f"{keys[-1]} is .*; must be eager or sdpa; remove the field")


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (config("vision_config", "auto_map", value=MAP), "auto_map is .*; code of a model's part is never run"),
        (config("parts", value=[{"auto_map": MAP}]), "auto_map is .*; code of a model's part is never run"),
        (config("quantization_config", value={"quant_method": "awq"}), "the weights are quantized; give the original"),
        (config("vision_config", "architecture", value="hf-hub:owner/model"), "must be the name of an architecture"),
        (config("rope_parameters", "rope_theta", value=float("inf")), "rope_theta is 'inf'; must be a finite number"),
        (config("num_labels", value=10**8), "num_labels is .*; is too large"),
        (config("text_config", "num_hidden_layers", value=10**12), "num_hidden_layers is .*; is too large"),
        (config("text_config", "vocab_size", value=-(10**12)), "vocab_size is .*; is too large"),
        (config("blocks_per_stage", value=[1, 10**9]), "blocks_per_stage is .*; is too large"),
        (write("adapter_config.json", "{}"), "holds an adapter, not a model; merge it"),
        (write("config.json", "[" * 100_000), "config.json: cannot be read"),
        (write("config.json", b"\xff\xfe"), "config.json: cannot be read"),
        (write("config.json", ""), "config.json: cannot be read"),
        (write("config.json", "[]"), "config.json: must be a JSON object, not list"),
        (lambda folder: (folder / "config.json").unlink(), "not a model folder: it has no config.json"),
        (lambda f: (f / "config.json").unlink() or (f / "config.json").mkdir(), "no config.json"),
        (lambda f: (f / "config.json").unlink() or (f / "config.json").symlink_to(f / "config.json"), "no config.json"),
    ],
)  # fmt: skip
def test_read_config_hostile_or_broken_raises(policy: Path, damage: Damage, match: str) -> None:
    damage(policy)
    fails(lambda: read_config(policy), match)


def pickled(name: str) -> Damage:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


def index(content: Any) -> Damage:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (pickled("pytorch_model.bin"), "pytorch_model.bin may run code when it is read; convert it to"),
        (pickled("sam2.pt"), "sam2.pt may run code"),
        (lambda folder: (folder / "model.safetensors").unlink(), "it has no model.safetensors"),
        (index({}), "has no weight_map"),
        (index([]), "must be a JSON object"),
        (index({"weight_map": {}}), "has no weight_map"),
        (index({"weight_map": {"a": "gone.safetensors"}}), "'gone.safetensors', which is not a file of this folder"),
        (index({"weight_map": {"a": "../outside.safetensors"}}), "'../outside.safetensors', which is not a file of"),
        (index({"weight_map": {"a": "/outside.safetensors"}}), "which is not a file of this folder"),
        (index({"weight_map": {"a": None}}), "'None', which is not a file of this folder"),
    ],
)  # fmt: skip
def test_weight_files_hostile_or_broken_raises(policy: Path, damage: Damage, match: str) -> None:
    damage(policy)
    fails(lambda: weight_files(policy), match)


def nan(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    for name in list(tensors):
        if "norm" in name:
            tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


POLICY_DAMAGES = [
    (config("text_config", "hidden_size", value=0), "cannot"),
    (config("text_config", "num_attention_heads", value=0), "cannot"),
    (config("text_config", "intermediate_size", value=-1), "cannot"),
    (config("text_config", "vocab_size", value=10**9), "describes a larger model than its weights"),
    (config("text_config", "hidden_size", value=10**9), "describes a larger model than its weights"),
    (config("text_config", "num_hidden_layers", value=9_999), "cannot read its config.json: .*9999"),
    (config("text_config", "hidden_act", value="nope"), "cannot load its weights: KeyError"),
    (config("text_config", "rope_parameters", value=[]), "cannot"),
    (config("text_config", "rope_parameters", "mrope_section", value=[1, 1]), "cannot reply to a test image"),
    (config("vision_config", "patch_size", value=7), "do not fit its config.json"),
    (config("vision_config", "window_size", value=0), "cannot"),
    (config("vision_config", value="none"), "cannot"),
    (config("image_token_id", value=3), r"id of <\|image_pad\|>: 3 in config.json"),
    (config("dtype", value="no_such"), "cannot"),
    (edit("preprocessor_config.json", "patch_size", value=7), "patch size: 14 in config.json, 7 in"),
    (edit("preprocessor_config.json", "patch_size", value=0), "cannot|patch size"),
    (edit("preprocessor_config.json", "merge_size", value="two"), "cannot"),
    (edit("preprocessor_config.json", "image_mean", value=[0.5]), "cannot"),
    (edit("preprocessor_config.json", "image_std", value=[0, 0, 0]), "cannot|not finite"),
    (write("tokenizer.json", "\x00"), "cannot load tokenizer"),
    (write("tokenizer.json", '{"version": "1.0", "model": {"type": "BPE"}}'), "cannot load tokenizer"),
    (write("tokenizer.json", "[" * 100_000), "cannot load tokenizer"),
    (edit("tokenizer.json", "model", "vocab", "beyond", value=99_999), "the tokenizer has token 99999|cannot"),
    (edit("tokenizer_config.json", "tokenizer_class", value=5), "cannot load tokenizer"),
    (write("generation_config.json", "[]"), "cannot load its weights"),
    (edit("generation_config.json", "eos_token_id", value=["x"]), "eos_token_id is .*; must be integers|cannot"),
    (write("chat_template.jinja", "{% for x"), "chat template: cannot render"),
    (nan, "numbers that are not finite"),
]


@pytest.mark.parametrize(("damage", "match"), POLICY_DAMAGES)
def test_load_policy_damaged_raises_one_line(policy: Path, damage: Damage, match: str) -> None:
    damage(policy)
    fails(lambda: QwenPolicy.load(policy, device="cpu"), match)


TRACKER_DAMAGES = [
    (config("image_size", value=0), "cannot"),
    (config("num_maskmem", value=0), "do not fit|cannot"),
    (config("memory_attention_rope_feat_sizes", value=[10**9] * 2), "describes a larger|cannot load its"),
    (config("vision_config", "backbone_config", "hidden_size", value="wide"), "cannot read its config.json"),
    (config("vision_config", "backbone_config", "blocks_per_stage", value=[]), "cannot|do not fit"),
    (config("vision_config", "backbone_config", "model_type", value="bert"), "cannot|do not fit"),
    (config("vision_config", "backbone_feature_sizes", value=[[3, 3]] * 3), "cannot track a test video"),
    (config("mask_decoder_config", "num_attention_heads", value=0), "cannot"),
    (nan, "numbers that are not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "match"), TRACKER_DAMAGES)
def test_load_tracker_damaged_raises_one_line(tracker: Path, damage: Damage, match: str) -> None:
    damage(tracker)
    fails(lambda: Sam2Tracker.load(tracker, device="cpu"), match)


def test_stored_numbers_are_those_of_all_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(())}, tmp_path / "one.safetensors")
    save_file({"c": torch.zeros(0, 5)}, tmp_path / "two.safetensors")
    assert stored_numbers([tmp_path / "one.safetensors", tmp_path / "two.safetensors"]) == 7


def test_limited_size_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thinkseg.models.model_files.SPARE", 0)
    with limited_size("m", 4):
        torch.nn.Linear(4, 2, bias=False)
        with pytest.raises(ModelError, match="describes a larger model than its weights, 4 numbers"):
            torch.nn.Linear(4, 2, bias=False)
    torch.nn.Linear(4, 2)


class PanicException(BaseException):
    """Named as that of `tokenizers`."""


@pytest.mark.parametrize("error", [ZeroDivisionError("a\nb"), RecursionError("a"), PanicException("a")])
def test_reading_any_error_names_its_type(error: BaseException) -> None:
    def load() -> None:
        with reading("m", "load"):
            raise error

    fails(load, f"^m: cannot load: {type(error).__name__}: a( b)?$")


def test_reading_interruption_passes() -> None:
    with pytest.raises(KeyboardInterrupt), reading("m", "load"):
        raise KeyboardInterrupt
