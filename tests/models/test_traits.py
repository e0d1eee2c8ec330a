import pytest

from thinkseg.models.traits import UNKNOWN, Traits, family_of, from_json, to_json
from thinkseg.types import View


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "qwen2.5-vl-72b-instruct",
        "qwen/qwen-2.5-vl-7b-instruct:free",
        "models/qwen2_5_vl_3b",
        "me/Qwen2.5-VL-7B-Instruct-AWQ-finetuned",
    ],
)
def test_qwen2_5_writes_pixels_of_pictures_in_multiples_of_28(name):
    traits = family_of(name)
    assert (traits.view.coordinates, traits.size_multiple) == ("pixels", 28)
    assert all(side % 28 == 0 for side in traits.view.frame_wh)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl-235b-a22b-thinking", "qwen3_vl"])
def test_qwen3_writes_thousandths_of_pictures_in_multiples_of_32(name):
    traits = family_of(name)
    assert (traits.view.coordinates, traits.size_multiple) == ("thousandths", 32)


@pytest.mark.parametrize(
    "name", ["gpt-5", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B", "Qwen/Qwen2-VL-7B-Instruct", ""]
)
def test_nothing_is_guessed_of_others(name):
    assert family_of(name) is None


def test_an_override_changes_the_convention_and_nothing_else():
    traits = family_of("qwen3-vl")
    other = traits.with_coordinates("pixels")
    assert other.view.coordinates == "pixels"
    assert other.with_coordinates("thousandths") == traits
    assert traits.with_coordinates(None) is traits


@pytest.mark.parametrize(
    "traits",
    [
        family_of("qwen3-vl"),
        UNKNOWN,
        Traits(28, View(6, (112, 84), "pixels")),
        Traits(1, View(1, (1, 1), "thousandths", overview_wh=(3, 4), closeup_wh=(5, 6))),
    ],
)
def test_traits_read_back_as_they_were_written(traits):
    assert from_json(to_json(traits)) == traits


GOOD = {"coordinates": "pixels", "size_multiple": 28, "view": {"num_frames": 6, "frame_wh": [112, 112]}}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {**GOOD, "coordinates": "inches"},
        {**GOOD, "coordinates": ["pixels"]},
        {**GOOD, "size_multiple": 0},
        {**GOOD, "size_multiple": True},
        {**GOOD, "size_multiple": 10**9},
        {**GOOD, "view": None},
        {**GOOD, "view": {"num_frames": 6}},
        {**GOOD, "view": {"num_frames": 10**9, "frame_wh": [112, 112]}},
        {**GOOD, "view": {"num_frames": 6, "frame_wh": [112, 112, 3]}},
        {**GOOD, "view": {"num_frames": 6, "frame_wh": [112, 10**6]}},
        {**GOOD, "view": {"num_frames": 6, "frame_wh": [112, 112], "closeup_wh": "large"}},
    ],
)
def test_what_no_server_of_ours_says_is_refused(wrong):
    assert from_json(GOOD).view == View(6, (112, 112))
    with pytest.raises(ValueError, match=r"not|one of|no frame|a size"):
        from_json(wrong)
