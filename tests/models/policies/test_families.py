import pytest

from thinkseg.models.policies.families import family_of


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
def test_family_of_qwen2_5_is_pixels_with_multiples_of_28(name):
    traits = family_of(name)
    assert (traits.view.coordinates, traits.size_multiple) == ("pixels", 28)
    assert all(side % 28 == 0 for side in traits.view.frame_wh)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl-235b-a22b-thinking", "qwen3_vl"])
def test_family_of_qwen3_is_normalized_with_multiples_of_32(name):
    traits = family_of(name)
    assert (traits.view.coordinates, traits.size_multiple) == ("normalized_1000", 32)


@pytest.mark.parametrize(
    "name", ["gpt-5", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B", "Qwen/Qwen2-VL-7B-Instruct", ""]
)
def test_family_of_other_name_returns_none(name):
    assert family_of(name) is None


def test_with_coordinates_changes_coordinates_only():
    traits = family_of("qwen3-vl")
    other = traits.with_coordinates("pixels")
    assert other.view.coordinates == "pixels"
    assert other.with_coordinates("normalized_1000") == traits
    assert traits.with_coordinates(None) is traits
