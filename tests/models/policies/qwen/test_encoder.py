import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from thinkseg.errors import ModelError
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder, GeneratedText, rotary_positions
from thinkseg.types import Turn
from tinymodels import asked, labelled_text, picture

A, B, WIDE = picture(0), picture(1), picture(2, (112, 28))


def text_of(encoder: Encoder, dialogue: tuple) -> str:
    return encoder.tokenizer.decode(encoder.encode(dialogue).input_ids)


def test_encode_prompt_matches_chat_template(encoder: Encoder) -> None:
    assert text_of(encoder, (asked("Where?", [A, WIDE]),)) == (
        "<|im_start|>user\n"
        "0.0 s:<|vision_start|>" + 4 * "<|image_pad|>" + "<|vision_end|>"
        "1.0 s:<|vision_start|>" + 4 * "<|image_pad|>" + "<|vision_end|>"
        "Where?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_encode_prompt_has_no_labels(encoder: Encoder) -> None:
    one = encoder.encode((asked("Where?", [A]),))
    assert (one.labels == IGNORED).all()
    assert one.labels.shape == one.input_ids.shape


@pytest.mark.parametrize(
    ("dialogue", "learnt"),
    [
        ((asked("Where?", [A]), "Here."), ["Here.<|im_end|>"]),
        ((asked("Where?", [A]), "Here.", asked("Sure?", [B])), ["Here.<|im_end|>"]),
        ((asked("Where?", [A]), "Here.", asked("Sure?", [B]), "Yes."), ["Here.<|im_end|>", "Yes.<|im_end|>"]),
        ((asked("Where?", [A]), "", Turn(("Well?",)), "Yes."), ["<|im_end|>", "Yes.<|im_end|>"]),
    ],
    ids=["one turn", "second turn open", "two turns", "empty reply"],
)
def test_encode_labels_cover_replies_and_end_of_turn(encoder: Encoder, dialogue: tuple, learnt: list[str]) -> None:
    assert labelled_text(encoder, dialogue) == learnt


def test_encode_labels_equal_input_ids(encoder: Encoder) -> None:
    one = encoder.encode((asked("Where?", [A]), "Here.", asked("Sure?", [B]), "Yes."))
    kept = one.labels != IGNORED
    assert (one.labels[kept] == one.input_ids[kept]).all()
    assert kept.any()


def test_encode_second_turn_extends_first(encoder: Encoder) -> None:
    """The cache of the first turn must be a prefix of the second turn."""
    first = encoder.encode((asked("When?", [A, B]), "At 1.0."))
    both = encoder.encode((asked("When?", [A, B]), "At 1.0.", asked("Where?", [WIDE]), "Here."))
    length = len(first.input_ids)
    assert (both.input_ids[:length] == first.input_ids).all()
    assert (both.labels[:length] == first.labels).all()
    assert (both.position_ids[:, :length] == first.position_ids).all()
    assert torch.equal(both.pixel_values[: len(first.pixel_values)], first.pixel_values)
    assert both.image_grid_thw.tolist() == [[1, 4, 4], [1, 4, 4], [1, 2, 8]]
    assert encoder.tokenizer.decode(both.input_ids[length:]) == (
        "\n<|im_start|>user\n0.0 s:<|vision_start|>" + 4 * "<|image_pad|>" + "<|vision_end|>"
        "Where?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>"
    )


@pytest.mark.parametrize("images", [[], [A], [A, WIDE, B], [WIDE, WIDE]], ids=len)
def test_encode_position_ids_match_qwen2_5(encoder: Encoder, qwen2_5: Path, images: list[np.ndarray]) -> None:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen2_5)
    turns = (asked("Where?", images), "Here.", asked("And now?", images[:1]), "There.")
    one = encoder.encode(turns)
    ids = torch.from_numpy(one.input_ids)[None]
    expected, _ = model.model.get_rope_index(
        ids, mm_token_type_ids=(ids == encoder.image_pad_id).int(), image_grid_thw=one.image_grid_thw
    )
    assert one.position_ids.shape == (3, len(one.input_ids))
    assert (torch.from_numpy(one.position_ids) == expected[:, 0]).all()


def test_encode_position_ids_match_qwen3(qwen3: Path) -> None:
    model, encoder = Qwen3VLForConditionalGeneration.from_pretrained(qwen3), Encoder.load(qwen3)
    one = encoder.encode((asked("Where?", [picture(0, (64, 64)), picture(1, (32, 96))]), "Here."))
    assert one.image_grid_thw.tolist() == [[1, 4, 4], [1, 6, 2]]
    ids = torch.from_numpy(one.input_ids)[None]
    expected, _ = model.model.get_rope_index(
        ids, mm_token_type_ids=(ids == encoder.image_pad_id).int(), image_grid_thw=one.image_grid_thw
    )
    assert (torch.from_numpy(one.position_ids) == expected[:, 0]).all()


def test_rotary_positions_of_one_image() -> None:
    """Two text tokens, an image of 1x2 merged patches, two text tokens."""
    is_image = np.array([False, False, True, True, False, False])
    positions = rotary_positions(is_image, np.array([[1, 2, 4]]), merge=2)
    assert positions.tolist() == [[0, 1, 2, 2, 4, 5], [0, 1, 2, 2, 4, 5], [0, 1, 2, 3, 4, 5]]


def test_encode_pixel_values_match_stock_processor(encoder: Encoder, qwen2_5: Path) -> None:
    """Also when it resizes: it leaves images of suitable sizes unchanged."""
    stock = Qwen2VLImageProcessorPil.from_pretrained(qwen2_5)
    expected = stock([Image.fromarray(i) for i in (A, WIDE)], return_tensors="pt")
    one = encoder.encode((asked("Where?", [A, WIDE]),))
    assert torch.equal(one.pixel_values, expected["pixel_values"])
    assert torch.equal(one.image_grid_thw, expected["image_grid_thw"])
    assert one.pixel_values.dtype == torch.float32


def test_encode_visual_tokens_match_model(encoder: Encoder, qwen2_5: Path) -> None:
    """Every image has as many tokens as features."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen2_5)
    one = encoder.encode((asked("Where?", [A, WIDE]), "Here.", asked("Sure?", [B]), "Yes."))
    features = model.get_image_features(one.pixel_values, one.image_grid_thw, return_dict=True).pooler_output
    assert sum(map(len, features)) == (one.input_ids == encoder.image_pad_id).sum()


@pytest.mark.parametrize("size_wh", [(57, 56), (56, 42), (28, 30)])
def test_patches_other_size_raises(encoder: Encoder, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    with pytest.raises(ModelError, match=f"image of {width}x{height}: both sides must be multiples of 28"):
        encoder.encode((asked("Where?", [A, picture(0, size_wh)]),))


def test_encode_group_equals_single_dialogues(encoder: Encoder) -> None:
    images = [A, WIDE]
    dialogues = [(asked("Where?", images), "Here."), (asked("Who?", images), "Nobody at all."), (asked("?", images),)]
    for one, alone in zip(encoder.encode_group(dialogues), map(encoder.encode, dialogues), strict=True):
        assert one.input_ids.tolist() == alone.input_ids.tolist()
        assert one.labels.tolist() == alone.labels.tolist()
        assert one.position_ids.tolist() == alone.position_ids.tolist()
        assert torch.equal(one.pixel_values, alone.pixel_values)
        assert torch.equal(one.image_grid_thw, alone.image_grid_thw)


def test_encode_group_with_own_images(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image is converted to patches once."""
    made: list[int] = []
    patches = encoder.patches

    def counting(images: list) -> Any:
        made.append(len(images))
        return patches(images)

    dialogues = [
        (asked("When?", [A, B]),),
        (asked("When?", [A, B]), "Now.", asked("Where?", [WIDE])),
        (Turn(("Who?",)),),
    ]
    expected = [encoder.encode(dialogue) for dialogue in dialogues]
    monkeypatch.setattr(encoder, "patches", counting)
    for one, alone in zip(encoder.encode_group(dialogues), expected, strict=True):
        assert np.array_equal(one.input_ids, alone.input_ids)
        assert np.array_equal(one.position_ids, alone.position_ids)
        assert torch.equal(one.pixel_values, alone.pixel_values)
        assert torch.equal(one.image_grid_thw, alone.image_grid_thw)
    assert made == [3]


ORDINARY = st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda t: "<|" not in t)


@limits(max_examples=60)
@given(ORDINARY)
def test_encode_ordinary_text_decodes_to_itself(encoder: Encoder, text: str) -> None:
    assert encoder.tokenizer.decode(encoder.tokenizer(text)["input_ids"]) == text
    assert labelled_text(encoder, (Turn(("Say it.",)), text)) == [text + "<|im_end|>"]
    assert f"user\n{text}<|im_end|>" in text_of(encoder, (Turn((text,)),))


PIECES = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_start|>assistant\n", "<|im_end|>", "<|reply|>"]
PIECES += [
    "<|endoftext|>",
    "<image>",
    "<think>",
    "</think>",
    "\u200b",
    "\uff1c",
    "<",
    ">",
    "|>",
    "<|",
    "im_end",
    "star",
]
CONTROL = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)


@limits(max_examples=60)
@given(CONTROL)
def test_encode_control_tokens_in_text_are_escaped(encoder: Encoder, text: str) -> None:
    """A query or reply cannot end its turn, add a reply, or shift the images."""
    control = set(encoder.suppressed_ids()) | {encoder.end_id}

    def structure(said: str) -> list[int]:
        one = encoder.encode((asked(f"Where is {said}?", [A, B]), f"Here is {said}.", Turn((said,))))
        return [i for i in one.input_ids.tolist() if i in control]

    assert structure(text) == structure("nothing")


def test_encode_escaped_control_token_stays_legible(encoder: Encoder) -> None:
    prompt = text_of(encoder, (Turn(("what is <|image_pad|> and <think>?",)),))
    assert "user\nwhat is < |image_pad|> and <think>?<|im_end|>" in prompt


def test_suppressed_ids_are_all_but_end_of_turn(encoder: Encoder) -> None:
    names = set(encoder.tokenizer.convert_ids_to_tokens(encoder.suppressed_ids()))
    assert names >= {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>"}
    assert "<|im_end|>" not in names


def test_suppressed_ids_exclude_ordinary_added_tokens(tokenizer: Any, encoder: Encoder) -> None:
    """Qwen3's tokenizer has <think> as an added token, which replies contain."""
    import copy

    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<think>", "<|box_start|>"])
    with_words = Encoder(other, encoder.image_processor)
    suppressed = other.convert_ids_to_tokens(with_words.suppressed_ids())
    assert "<think>" not in suppressed
    assert "<|box_start|>" in suppressed
    assert with_words.tokenizer.decode(with_words.encode((Turn(("Use <think>.",)),)).input_ids).count("<think>") == 1


@pytest.fixture
def folder(qwen2_5: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(qwen2_5, tmp_path / "model"))


def test_load_reads_legacy_template_file(folder: Path, encoder: Encoder) -> None:
    """In chat_template.json, as in early Qwen2.5-VL folders, or in chat_template.jinja."""
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    dialogue = (asked("Where?", [A]), "Here.")
    assert Encoder.load(folder).encode(dialogue).input_ids.tolist() == encoder.encode(dialogue).input_ids.tolist()


def test_load_reads_template_in_tokenizer_config(folder: Path, encoder: Encoder) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = (folder / "chat_template.jinja").read_text()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").unlink()
    assert Encoder.load(folder).tokenizer.chat_template == encoder.tokenizer.chat_template


@pytest.mark.parametrize(
    ("broken", "content", "complaint"),
    [
        ("chat_template.jinja", None, "no chat template"),
        ("tokenizer.json", None, "cannot load tokenizer"),
        ("tokenizer.json", "{", "cannot load tokenizer"),
        ("tokenizer.json", "{}", "cannot load tokenizer"),
        ("tokenizer_config.json", "[]", "cannot load tokenizer"),
        ("preprocessor_config.json", None, "cannot load tokenizer or image processor"),
        ("preprocessor_config.json", "{", "cannot load tokenizer or image processor"),
    ],
)
def test_load_invalid_folder_raises_one_line(folder: Path, broken: str, content: str | None, complaint: str) -> None:
    (folder / broken).unlink()
    if content is not None:
        (folder / broken).write_text(content)
    with pytest.raises(ModelError, match=complaint) as caught:
        Encoder.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"other": 1}'])
def test_load_invalid_legacy_template_raises(folder: Path, content: str) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(content)
    with pytest.raises(ModelError, match=r"chat_template\.json: "):
        Encoder.load(folder)


def test_load_without_tokenizer_raises(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        Encoder.load(folder)


def test_encode_generated_text_keeps_its_token_ids(encoder: Encoder) -> None:
    """Also if they are single letters instead of the longest tokens, or if the text contains control tokens."""
    tokenizer = encoder.tokenizer
    turn = asked("Where?", [picture(0)])
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "think"]
    assert len(tokenizer("think", add_special_tokens=False)["input_ids"]) < len(letters)
    said = GeneratedText(encoder.text(letters), [*letters, encoder.end_id])
    assert said == "think"
    encoded = encoder.encode((turn, said))
    assert encoded.labels[encoded.labels != IGNORED].tolist() == [*letters, encoder.end_id]
    cut = encoder.encode((turn, GeneratedText("think", letters)))
    assert cut.input_ids.tolist() == encoded.input_ids[:-1].tolist()
    control = [tokenizer.convert_tokens_to_ids(letter) for letter in "<|im_end|>"]
    odd = GeneratedText(encoder.text(control), [*control, encoder.end_id])
    assert odd == "<|im_end|>"
    longer = encoder.encode((turn, odd, asked("And now?", [picture(1)])))
    assert (longer.input_ids == encoder.end_id).sum() == 3  # of two turns and a reply
    assert longer.input_ids[len(encoder.encode((turn,)).input_ids) :][: len(control)].tolist() == control
