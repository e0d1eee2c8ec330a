import pytest

from thinkseg.chains.parsing import REASONS
from thinkseg.rewards import REWARDS
from thinkseg.rewards.reply_format import WITHOUT_FIELDS, WITHOUT_TAGS, format, format_graded

BY_VALUE = {"keyframe", "description", "too_many_boxes", "empty_box", "no_box", "no_keyframe"}


def test_a_new_reason_has_to_be_placed():
    assert set(REASONS) <= WITHOUT_TAGS | WITHOUT_FIELDS | BY_VALUE
    assert not WITHOUT_TAGS & WITHOUT_FIELDS


@pytest.mark.parametrize(
    ("reason", "grade"),
    [("truncated", 0), ("tags", 0), ("json", 0.5), ("too_long", 0.5), ("fields", 0.5), ("boxes", 0.5)]
    + [(reason, 1) for reason in sorted(BY_VALUE)],
)
def test_one_turn_is_half_tags_and_half_fields(reason, grade, two, fail):
    assert format_graded(fail(two, reason)) == grade
    assert format(fail(two, reason)) == (grade == 1)


@pytest.mark.parametrize(
    ("reason", "grade"), [("tags", 0), ("json", 0.25), ("fields", 0.25), ("keyframe", 0.5), ("description", 0.5)]
)
def test_what_was_not_asked_for_want_of_the_first_turn_counts_as_not_kept(reason, grade, two, fail):
    assert format_graded(fail(two, reason, unasked=1)) == grade
    assert format(fail(two, reason, unasked=1)) == 0


@pytest.mark.parametrize(("reason", "grade"), [("truncated", 0.5), ("json", 0.5), ("boxes", 0.5), ("empty_box", 1)])
def test_a_second_turn_has_no_tags_to_keep(reason, grade, two, fail):
    assert format_graded(fail(two, reason, 2, keyframe=1)) == grade
    assert format(fail(two, reason, 2, keyframe=1)) == (grade == 1)


@pytest.mark.parametrize("name", ["format", "format_graded"])
def test_the_format_does_not_ask_who_is_right(name, two, absent, unknown, choose):
    for prompt in (two, absent, unknown):
        assert REWARDS[name](choose(prompt, None)) == 1.0
        assert REWARDS[name](choose(prompt, 1, (0, 0, 1, 1))) == 1.0
