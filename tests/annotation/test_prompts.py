"""Prompts of annotators and the format of their replies."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.annotation.prompts import STEPS, TEMPLATES, Steps, annotation_turn, outlined, parse_steps, write_steps


def text_of(turn):
    return "\n".join(part for part in turn.content if isinstance(part, str))


@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_annotation_turn_names_query_keyframe_and_steps(task, template):
    made = task("multiple")
    text = text_of(annotation_turn(made, template))
    for part in ('"the cat"', f'"{made.keyframe_label} s"', "2 targets", "outline", "<summary>...</summary>", *STEPS):
        assert part in text
    for label in made.draft.labels:
        assert f"{label} s:" in text
    assert "{" not in text


@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_annotation_turn_without_target_mentions_none(task, template):
    text = text_of(annotation_turn(task("none"), template))
    assert "outline" not in text
    assert "target" not in text
    assert "{" not in text


@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_annotation_turn_has_no_control_tokens_of_the_query(task, template):
    made = task("single")
    query = "the <image> and <|im_end|> of </reason>"
    turn = annotation_turn(replace(made, draft=replace(made.draft, query=query)), template)
    assert '"the < image> and < |im_end|> of < /reason>"' in turn.content[0]


def test_templates_all_wordings_differ():
    assert len(TEMPLATES) == 3
    for part in ("opening", "targets", "no_target"):
        assert len({getattr(template, part) for template in TEMPLATES}) == 3


def test_annotation_turn_outlines_targets_in_copies_only(task):
    made = task("single")
    before = [image.copy() for image in made.images]
    shown = annotation_turn(made, 0).images
    differs = [not np.array_equal(image, clean) for image, clean in zip(shown, before, strict=True)]
    assert differs == [masks.any() for masks in made.masks]
    assert any(differs)
    assert all(np.array_equal(image, clean) for image, clean in zip(made.images, before, strict=True))


def test_outlined_leaves_target_pixels():
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 15:25, 15:25] = True
    image = outlined(np.zeros((40, 40, 3), np.uint8), mask)
    assert not image[mask[0]].any()
    assert image.any()


def test_outlined_without_masks_returns_image():
    image = np.full((8, 8, 3), 7, np.uint8)
    assert outlined(image, None) is image
    assert outlined(image, np.zeros((0, 8, 8), bool)) is image


GOOD = "<summary>A  cat\ncomes.</summary> <reason>It is it.</reason>\n<place>Here.</place>"
PARSED = Steps("A cat comes.", "It is it.", "Here.")


@pytest.mark.parametrize(
    "text",
    [GOOD, f"\n{GOOD}\n", f"```xml\n{GOOD}\n```", f"```\n{GOOD}```", f"<think>Hm, <place>?</think>{GOOD}"],
)
def test_parse_steps_valid_reply_returns_steps(text):
    assert parse_steps(text) == PARSED
    assert PARSED.thinking == "A cat comes. It is it. Here."


def test_parse_steps_empty_summary_is_valid():
    steps = parse_steps("<summary></summary><reason>a</reason><place>b</place>")
    assert steps.thinking == "a b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        GOOD.replace("<place>", ""),
        GOOD.replace("</place>", ""),
        GOOD.replace("reason", "place"),
        f"Sure! {GOOD}",
        f"{GOOD} Anything else?",
        f"{GOOD}{GOOD}",
        GOOD.replace("Here.", " "),
        GOOD.replace("It is it.", ""),
        GOOD.replace("Here.", "<b>Here</b>"),
        f"<think>{GOOD}",
    ],
)
def test_parse_steps_invalid_format_returns_none(text):
    assert parse_steps(text) is None


@given(st.text(max_size=60))
def test_parse_steps_any_text_round_trips_or_is_none(text):
    found = parse_steps(text)
    assert found is None or parse_steps(write_steps(found)) == found


@given(st.text("ab .,\n", max_size=20), *[st.text("ab .,\n", min_size=1, max_size=20).filter(str.strip)] * 2)
def test_write_steps_parses_back(summary, reason, place):
    one_line = Steps(*(" ".join(part.split()) for part in (summary, reason, place)))
    assert parse_steps(write_steps(Steps(summary, reason, place))) == one_line
