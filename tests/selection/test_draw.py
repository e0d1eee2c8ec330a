"""Stratified, reproducible draws."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.errors import SettingsError
from thinkseg.selection.draw import draw, draw_share, quotas, seeded_hash
from thinkseg.selection.strata import NO_TARGET_STRATUM, STRATA, Candidate, question_type, strata_table, target_count


def candidates(**sizes):
    """Returns candidates by the initials of their stratum (rs=3: "referring, single"), each of its own video."""
    kinds = {"rs": ("referring", "single"), "rm": ("referring", "multiple"), "qs": ("reasoning", "single")}
    kinds |= {"qm": ("reasoning", "multiple"), "none": ("referring", "none")}
    return [Candidate(f"{k}{n}", f"video-{k}{n}", *kinds[k]) for k, size in sizes.items() for n in range(size)]


def strata(drawn):
    return dict(Counter(candidate.stratum for candidate in drawn))


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("referring", "referring"),
        ("no-target", "referring"),
        ("none", "referring"),
        ("", "referring"),
        ("reasoning", "reasoning"),
        ("several", "reasoning"),
    ],
)
def test_question_type_by_category(category, kind):
    assert question_type(category) == kind


def test_target_count_by_number():
    assert [target_count(number) for number in range(4)] == ["none", "single", "multiple", "multiple"]


def test_quotas_proportional_largest_remainder_first():
    assert quotas({"a": 60, "b": 30, "c": 10}, 10, "proportional") == {"a": 6, "b": 3, "c": 1}
    # 6.3, 3.15 and 1.05 of 10.5: the largest remainder gets what is left over.
    assert quotas({"a": 63, "b": 31, "c": 6}, 10, "proportional") == {"a": 6, "b": 3, "c": 1}
    assert quotas({"a": 1, "b": 1, "c": 1}, 2, "proportional") == {"a": 1, "b": 1, "c": 0}


def test_quotas_balanced_small_strata_give_all():
    assert quotas({"a": 60, "b": 30, "c": 10}, 30, "balanced") == {"c": 10, "b": 10, "a": 10}
    assert quotas({"a": 60, "b": 30, "c": 2}, 30, "balanced") == {"c": 2, "b": 14, "a": 14}
    assert quotas({"a": 60, "b": 0, "c": 2}, 30, "balanced") == {"b": 0, "c": 2, "a": 28}


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6),
    st.integers(0, 300),
    st.sampled_from(["proportional", "balanced"]),
)
def test_quotas_any_sizes_sum_to_count(sizes, count, balance):
    there = {str(place): size for place, size in enumerate(sizes)}
    shares = quotas(there, count, balance)
    assert sum(shares.values()) == min(count, sum(sizes))
    assert all(0 <= shares[name] <= there[name] for name in there)


def test_draw_keeps_quotas_of_strata():
    there = candidates(rs=40, rm=20, qs=30, qm=10, none=25)
    drawn = draw(there, 20, "proportional", 0)
    assert strata(drawn) == {
        "referring, single": 8,
        "referring, multiple": 4,
        "reasoning, single": 6,
        "reasoning, multiple": 2,
    }
    assert strata(draw(there, 50, "balanced", 0, no_target=True)) == dict.fromkeys(STRATA, 10)


def test_draw_no_target_includes_questions_without_target():
    there = candidates(rs=2, none=2)
    assert strata(draw(there, 10, "balanced", 0)) == {"referring, single": 2}
    assert strata(draw(there, 10, "balanced", 0, no_target=True)) == {"referring, single": 2, NO_TARGET_STRATUM: 2}


def test_draw_share_of_no_target_is_exact():
    there = candidates(rs=40, qs=40, none=25)
    expected = {"referring, single": 18, "reasoning, single": 18, NO_TARGET_STRATUM: 4}
    assert strata(draw_share(there, 40, "proportional", 0, 0.1)) == expected
    assert strata(draw_share(there, None, "proportional", 0, 0.2))[NO_TARGET_STRATUM] == 20
    assert len(draw_share(there, None, "balanced", 0, 0.0)) == 80


@pytest.mark.parametrize(("count", "share"), [(81, 0.0), (60, 0.5), (None, 0.9)])
def test_draw_share_more_than_there_are_raises(count, share):
    with pytest.raises(SettingsError, match="there are 80 and 25; lower the count or the share"):
        draw_share(candidates(rs=40, qs=40, none=25), count, "proportional", 0, share)


def test_draw_same_seed_same_questions_in_data_order():
    there = candidates(rs=30, qs=30)
    drawn = draw(there, 10, "proportional", 3)
    assert drawn == draw(there, 10, "proportional", 3)
    assert drawn == [candidate for candidate in there if candidate in drawn]
    assert drawn != draw(there, 10, "proportional", 4)
    assert set(drawn) == set(draw(there[::-1], 10, "proportional", 3))


def test_seeded_hash_values_are_stable():
    """Earlier sets can resume only if these values do not change."""
    assert seeded_hash(0, "draw", "a") == 11379793175471191452
    assert len({seeded_hash(seed, purpose, name) for seed in (0, 1) for purpose in "xy" for name in "ab"}) == 8


def test_draw_prefers_videos_drawn_least():
    """With nine questions about one video and one about each of three others, all videos are drawn before any twice."""
    there = [Candidate(f"big/{n}", "big", "referring", "single") for n in range(9)]
    there += [Candidate(f"{name}/0", name, "referring", "single") for name in ("x", "y", "z")]
    for seed in range(5):
        assert {one.video for one in draw(there, 4, "proportional", seed)} == {"big", "x", "y", "z"}
        assert Counter(one.video for one in draw(there, 6, "proportional", seed))["big"] == 3


def test_draw_counts_videos_across_strata():
    there = [Candidate("a/0", "a", "referring", "single")]
    there += [Candidate(f"{video}/{n}", video, "reasoning", "single") for video in ("a", "b") for n in (1, 2)]
    for seed in range(5):
        drawn = draw(there, 2, "balanced", seed)
        assert {one.video for one in drawn} == {"a", "b"}


def test_strata_table_has_row_per_stratum():
    there = candidates(rs=2, none=1)
    lines = [line.split() for line in strata_table({"there are": there, "drawn": there[:1]}).splitlines()]
    assert lines[1] == ["referring,", "single", "2", "1"]
    assert lines[5] == ["no", "target", "1", "0"]
    assert lines[6:] == [["all", "3", "1"], ["videos", "3", "1"]]
