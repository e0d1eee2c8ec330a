import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.ops.chat_text import TAGS, escape_control_tokens, without_thinking

PIECES = ["<|image_pad|>", "<|im_end|>", "<image>", "<video>", "<think>", "</answer>", "<s>", "[IMG]", "[/INST]"]
PIECES += ["<", ">", "|", "image", "\u200b", "\uff1c", " ", "a"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<|image_pad|>", "< |image_pad|>"),
        ("an <image><video>", "an < image>< video>"),
        ("<think>a</think>", "< think>a< /think>"),
        ("<<|im_end|>>", "<< |im_end|>>"),
        ("<\uff5cend\u2581of\u2581sentence\uff5c>", "< \uff5cend\u2581of\u2581sentence\uff5c>"),
        ("[INST] [IMG_END]", "[ INST] [ IMG_END]"),
        ("x < 3 and y > 4", "x < 3 and y > 4"),
        ("a [red] one, 1 <2", "a [red] one, 1 <2"),
    ],
)
def test_escape_control_tokens_puts_a_space_inside(text, escaped):
    assert escape_control_tokens(text) == escaped


def test_escape_control_tokens_keeps_given_ones():
    assert escape_control_tokens("<think><image></think>", kept=TAGS) == "<think>< image></think>"


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_escape_control_tokens_leaves_none(text):
    escaped = escape_control_tokens(text)
    assert not any(piece in escaped for piece in PIECES[:9])
    assert escape_control_tokens(escaped) == escaped
    assert escaped.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (" <think>a</think>\n\nb ", "b"),
        ("<think></think>", ""),
        (" b ", "b"),
        ("<think>a", "<think>a"),
        ("a</think>b", "a</think>b"),
    ],
)
def test_without_thinking_removes_a_complete_block(text, rest):
    assert without_thinking(text) == rest
