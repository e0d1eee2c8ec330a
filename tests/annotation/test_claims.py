"""Claims in plain English, and text that only resembles them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.annotation import claims


def test_sentences_decimal_point_ends_none():
    text = "I see it at 0.8 s. It moves!  Does it? Yes"
    assert claims.sentences(text) == ["I see it at 0.8 s.", "It moves!", "Does it?", "Yes"]
    assert claims.sentences("  ") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("at 0.8 s it sits", {0.8}),
        ("at 0.80s and 2 seconds", {0.8, 2.0}),
        ("at 1.5 sec, then 12 secs", {1.5, 12.0}),
        ("the 3-second mark", {3.0}),
        ("0.8 sheep", set()),
        ("two dogs at 0.8", set()),
        ("12 subjects", set()),
    ],
)
def test_named_frames_in_seconds(text, found):
    assert claims.named_frames(text, "seconds") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("in frame 12", {12.0}),
        ("Frame number 3 and frame #4", {3.0, 4.0}),
        ("12 frames", set()),
        ("at 0.8 s", set()),
    ],
)
def test_named_frames_by_index(text, found):
    assert claims.named_frames(text, "index") == found


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("It stands on the left.", "left"),
        ("It stands on the left side of the frame.", "left"),
        ("It is in the upper left corner, alone.", "top left"),
        ("It is in the bottom-right of the picture.", "bottom right"),
        ("It sits at the top and waits.", "top"),
        ("It is near the bottom of the image.", "bottom"),
        ("It is on the far right while the others run.", "right"),
        ("It occupies the lower half of the scene.", "bottom"),
        ("on the right-hand side, a dog", "right"),
        ("It fills the left third.", "left"),
        ("At the Top Left, it sleeps.", "top left"),
        ("It is in the lower and right part of the frame.", "bottom right"),
    ],
)
def test_sides_part_of_frame_is_found(text, stated):
    assert claims.sides(text) == [frozenset(stated.split())]


@pytest.mark.parametrize(
    "text",
    [
        "It stands to the left of the car.",
        "There is a stain on the left side of its body.",
        "It moves to the left.",
        "It turns left and runs.",
        "She holds a cup in the left hand.",
        "It left the room.",
        "He waits at the top of the stairs.",
        "It is not on the left.",
        "It is no longer at the bottom.",
        "right away it is on top of things",
        "listed from the left",
        "the car on the left lane",
    ],
)
def test_sides_relative_position_is_ignored(text):
    assert claims.sides(text) == []


def test_sides_several_parts_are_separate():
    text = "One is on the left, and one in the bottom right corner of the frame."
    assert claims.sides(text) == [frozenset({"left"}), frozenset({"bottom", "right"})]


@pytest.mark.parametrize(
    ("text", "query", "stated"),
    [
        ("There are two targets.", "the cats", [2]),
        ("Three matching objects are here.", "the cats", [3]),
        ("Two black cats sit.", "the cats that jump", [2]),
        ("Both cats jump.", "cats", [2]),
        ("It is the only one target.", "cat", [1]),
        ("a single object", "cat", [1]),
        ("There are 12 objects.", "cats", [12]),
        ("Two foxes run.", "the fox", [2]),
    ],
)
def test_target_counts_counted_targets_are_found(text, query, stated):
    assert list(claims.target_counts(text, query)) == stated


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("One of the cats is black.", "the cats"),
        ("Two of them are black.", "the cats"),
        ("The other two cats sleep.", "the black cat"),
        ("It is both large and sharp.", "the cat"),
        ("It holds on with both hands.", "the man"),
        ("Two trees stand behind it.", "the cat"),
        ("the man with the two bags carries two bags", "the man with two bags"),
        ("at 3 s objects are sharp", "cat"),
        ("one cat is here", "the cats"),
    ],
)
def test_target_counts_other_counts_are_ignored(text, query):
    assert list(claims.target_counts(text, query)) == []


def test_boxes_four_numbers_in_brackets_are_found():
    text = "red star [12, 40, 32, 64]; blue bar [1.5,2,3,4] and [1, 2, 3]"
    assert claims.boxes(text).tolist() == [[12, 40, 32, 64], [1.5, 2, 3, 4]]
    assert claims.boxes("none").shape == (0, 4)


@pytest.mark.parametrize(
    "text",
    [
        "the outlined cat",
        "Its outline is red.",
        "a red rectangle",
        "in the bounding box",
        "it is boxed",
        "it is highlighted",
        "marked with a line",
        "the coloured border",
        "a contour around it",
        "the annotation",
    ],
)
def test_overlay_words_are_found(text):
    assert claims.overlay_words(text, "the cat")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("The cat sits in the grass.", "the cat"),
        ("It carries a box.", "who carries the boxes?"),
        ("The rectangle moves.", "the rectangle that moves"),
        ("It is remarkable.", "the cat"),
        ("a man marked his page", "the man"),
    ],
)
def test_overlay_words_of_the_query_are_ignored(text, query):
    assert not claims.overlay_words(text, query)


@pytest.mark.parametrize("text", ["There is no cat.", "Nothing fits.", "It isn't here.", "It isn’t", "None.", "cannot"])
def test_denies_negation_returns_true(text):
    assert claims.denies(text)


def test_denies_words_that_contain_negations_returns_false():
    assert not claims.denies("A cat knows nobodies and notes.")


@pytest.mark.parametrize("text", ["There is no such object.", "Nothing in it matches.", "None of these fits."])
def test_denies_targets_no_target_returns_true(text):
    assert claims.denies_targets(text)


@pytest.mark.parametrize("text", ["Nothing else matches.", "It has no tail.", "It does not move."])
def test_denies_targets_other_negation_returns_false(text):
    assert not claims.denies_targets(text)


@given(st.text(max_size=300))
def test_claims_any_text_does_not_raise(text):
    for clock in ("seconds", "index"):
        assert all(label >= 0 for label in claims.named_frames(text, clock))
    assert all(claims.sides(text))
    assert all(count >= 0 for count in claims.target_counts(text, text))
    assert claims.boxes(text).shape[1] == 4
    claims.overlay_words(text, "")
