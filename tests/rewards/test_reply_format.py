import pytest

from thinkseg.chains.parsing import REASONS
from thinkseg.rewards import REWARDS
from thinkseg.rewards.reply_format import WITHOUT_FIELDS, WITHOUT_TAGS, format_graded, format_strict

CONTENT = {
    "unknown_keyframe",
    "invalid_description",
    "too_many_boxes",
    "zero_area_box",
    "missing_boxes",
    "missing_keyframe",
}


def test_reasons_all_have_a_format_score():
    assert set(REASONS) <= WITHOUT_TAGS | WITHOUT_FIELDS | CONTENT
    assert not WITHOUT_TAGS & WITHOUT_FIELDS


@pytest.mark.parametrize(
    ("reason", "grade"),
    [
        ("truncated", 0),
        ("invalid_tags", 0),
        ("invalid_json", 0.5),
        ("answer_too_long", 0.5),
        ("invalid_fields", 0.5),
        ("invalid_boxes", 0.5),
    ]
    + [(reason, 1) for reason in sorted(CONTENT)],
)
def test_format_one_turn_tags_and_fields_are_halves(reason, grade, two, fail):
    for keyframe in (None, 1):
        assert format_graded(fail(two, reason, keyframe=keyframe)) == grade
        assert format_strict(fail(two, reason, keyframe=keyframe)) == (grade == 1)


@pytest.mark.parametrize(
    ("reason", "grade"),
    [
        ("invalid_tags", 0),
        ("invalid_json", 0.25),
        ("invalid_fields", 0.25),
        ("unknown_keyframe", 0.5),
        ("invalid_description", 0.5),
    ],
)
def test_format_missing_second_turn_counts_0(reason, grade, two, fail):
    assert format_graded(fail(two, reason, num_unasked_turns=1)) == grade
    assert format_strict(fail(two, reason, num_unasked_turns=1)) == 0


@pytest.mark.parametrize(
    ("reason", "grade"), [("truncated", 0.5), ("invalid_json", 0.5), ("invalid_boxes", 0.5), ("zero_area_box", 1)]
)
def test_format_second_reply_has_no_tags(reason, grade, two, fail):
    assert format_graded(fail(two, reason, 2, keyframe=1)) == grade
    assert format_strict(fail(two, reason, 2, keyframe=1)) == (grade == 1)


@pytest.mark.parametrize("name", ["format", "format_graded"])
def test_format_ignores_content(name, two, absent, unknown, choose):
    for prompt in (two, absent, unknown):
        assert REWARDS[name].function(choose(prompt, None)) == 1.0
        assert REWARDS[name].function(choose(prompt, 1, (0, 0, 1, 1))) == 1.0
