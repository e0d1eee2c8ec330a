from itertools import pairwise

import numpy as np
import pytest

from thinkseg.data.shapes.simulation import (
    COLORS,
    FAST,
    NUM_FRAMES,
    NUM_OBJECTS,
    SHAPES,
    SLOW,
    TRAINING_PATHS,
    UNSEEN_PATHS,
    Clip,
    extents,
    polygons,
    simulate,
)

SCENARIOS = ("plain", "fast", "still", "size", "resize", "leave", "enter", "hit")
FIELDS = ("xy", "radius", "angle")


def clips(scenario: str, count: int = 25, paths: tuple[str, ...] = TRAINING_PATHS) -> list[Clip]:
    return [simulate(np.random.default_rng([index, 7]), scenario, paths) for index in range(count)]


def lengths(clip: Clip) -> np.ndarray:
    """Path length of each object, (N,), in sides of the frame."""
    return np.array([sum(np.hypot(*(b - a)) for a, b in pairwise(way)) for way in clip.xy])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_simulate_clip_fields_are_in_range(scenario: str) -> None:
    for clip in clips(scenario):
        assert NUM_FRAMES[0] <= clip.num_frames <= NUM_FRAMES[1]
        assert NUM_OBJECTS[0] <= clip.num_objects <= NUM_OBJECTS[1]
        names = [clip.name(i) for i in range(clip.num_objects)]
        assert len(set(names)) == clip.num_objects
        assert set(clip.colors) <= set(COLORS)
        assert set(clip.shapes) <= set(SHAPES)
        assert clip.xy.shape == (clip.num_objects, clip.num_frames, 2)
        assert clip.radius.shape == clip.angle.shape == clip.xy.shape[:2]
        assert clip.radius.min() > 0.02
        assert (clip.hit is not None) == (scenario == "hit")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_simulate_same_seed_is_equal(scenario: str) -> None:
    one, same, other = (simulate(np.random.default_rng(seed), scenario) for seed in (1, 1, 2))
    assert all(np.array_equal(getattr(one, field), getattr(same, field)) for field in FIELDS)
    assert (one.colors, one.shapes, one.roles, one.hit, one.appearance_seed) == (
        same.colors,
        same.shapes,
        same.roles,
        same.hit,
        same.appearance_seed,
    )
    assert one.appearance_seed != other.appearance_seed


@pytest.mark.parametrize("paths", [TRAINING_PATHS, UNSEEN_PATHS])
def test_simulate_motion_follows_roles(paths: tuple[str, ...]) -> None:
    for clip in [clip for scenario in SCENARIOS for clip in clips(scenario, 6, paths)]:
        for obj, role in enumerate(clip.roles):
            way, radius = clip.xy[obj], clip.radius[obj][:, None]
            if role == "still":
                assert np.ptp(way, axis=0).max() == 0
            elif role == "drift":
                assert (way >= radius - 1e-9).all()
                assert (way <= 1 - radius + 1e-9).all()
                assert lengths(clip)[obj] > 0.3 * SLOW[0]
            elif role == "leave":
                assert ((way[0] > 0) & (way[0] < 1)).all()
                assert extents(clip)[obj, -1, :2].max() == 1 or extents(clip)[obj, -1, 2:].min() == 0
            elif role == "enter":
                assert ((way[-1] > 0) & (way[-1] < 1)).all()
                assert extents(clip)[obj, 0, :2].max() == 1 or extents(clip)[obj, 0, 2:].min() == 0


def test_simulate_straight_path_has_constant_speed() -> None:
    """Between bounces: a reflection shortens a step."""
    for clip in clips("still"):
        for obj in (i for i, role in enumerate(clip.roles) if role == "drift"):
            steps = np.hypot(*np.diff(clip.xy[obj], axis=0).T)
            assert np.isclose(steps, np.median(steps)).mean() > 0.8


def test_simulate_unseen_paths_turn() -> None:
    """They turn inside the frame; straight paths turn only at its edges."""

    def turns_in_the_open(clip: Clip, obj: int) -> bool:
        way, radius = clip.xy[obj], clip.radius[obj]
        steps = np.diff(way, axis=0)
        heading = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        step = np.hypot(*steps.T).max()
        free = (way > radius[:, None] + step).all(1) & (way < 1 - radius[:, None] - step).all(1)
        return bool((np.abs(np.diff(heading)) > 1e-3)[free[1:-1]].any())

    for paths, expected in ((TRAINING_PATHS, False), (UNSEEN_PATHS, True)):
        turning = [
            turns_in_the_open(clip, obj)
            for clip in clips("still", 20, paths)
            for obj in range(clip.num_objects)
            if clip.roles[obj] == "drift"
        ]
        assert np.mean(turning) == pytest.approx(float(expected), abs=0.1)


def test_simulate_fast_scenario_has_one_fast_object() -> None:
    for clip in clips("fast"):
        ways = np.sort(lengths(clip))
        assert ways[-1] > 0.9 * FAST[0]
        assert ways[-2] < 1.1 * SLOW[1]


def test_simulate_still_scenario_has_one_object_at_rest() -> None:
    for clip in clips("still"):
        assert sorted(clip.roles)[-1] == "still"
        assert clip.roles.count("still") == 1


def test_simulate_resize_scenario_has_one_resized_object() -> None:
    for clip in clips("resize"):
        change = clip.radius[:, -1] / clip.radius[:, 0]
        assert ((change > 1.5) | (change < 0.67)).sum() == 1
        assert np.isclose(change, 1).sum() == clip.num_objects - 1


def test_simulate_size_scenario_has_one_size_outlier() -> None:
    for clip in clips("size"):
        sizes = np.sort(clip.radius[:, 0])
        assert sizes[-1] / sizes[-2] > 1.3 or sizes[1] / sizes[0] > 1.3


def test_simulate_hit_struck_object_moves_after_contact() -> None:
    for clip in clips("hit", 40):
        assert clip.hit is not None
        striker, struck, contact = clip.hit
        assert (clip.roles[striker], clip.roles[struck]) == ("striker", "struck")
        gaps = np.hypot(*(clip.xy[striker] - clip.xy[struck]).T)
        touch = 0.9 * (clip.radius[striker] + clip.radius[struck])
        assert np.ptp(clip.xy[struck, :contact], axis=0).max() == 0
        assert (gaps[: contact - 1] >= touch[: contact - 1] - 1e-9).all()
        assert abs(gaps[contact] - touch[contact]) < 0.06
        assert 0 < contact < clip.num_frames - 3
        blow = clip.xy[striker, contact] - clip.xy[striker, 0]
        push = clip.xy[struck, -1] - clip.xy[struck, 0]
        assert np.hypot(*push) > 0.15
        assert blow @ push / (np.hypot(*blow) * np.hypot(*push)) > 0.999
        after = np.hypot(*(clip.xy[striker, -1] - clip.xy[striker, contact]))
        assert after < 0.3 * np.hypot(*push)


def square_clip(angle: float = 0.0) -> Clip:
    """One centered square of half side 0.2, one frame."""
    outline_half = 1.1 * np.cos(np.pi / 4)
    return Clip(
        ("red",),
        ("square",),
        ("still",),
        np.full((1, 1, 2), 0.5),
        np.full((1, 1), 0.2 / outline_half),
        np.full((1, 1), angle),
        None,
        0,
    )


def test_polygons_square_matches_manual_corners() -> None:
    assert np.allclose(sorted(polygons(square_clip(), 0)[0].tolist()), [[0.3, 0.3], [0.3, 0.7], [0.7, 0.3], [0.7, 0.7]])
    assert np.allclose(extents(square_clip()), [[[0.3, 0.3, 0.7, 0.7]]])


def test_polygons_rotate_about_center() -> None:
    reach = 0.2 * np.sqrt(2)
    assert np.allclose(extents(square_clip(np.pi / 4)), [[[0.5 - reach, 0.5 - reach, 0.5 + reach, 0.5 + reach]]])
    marked = polygons(square_clip(np.pi / 2), 0, np.array([[1.0, 0.0]]))
    radius = square_clip().radius[0, 0]
    assert np.allclose(marked, [[[0.5, 0.5 + radius]]])


def test_extents_are_clipped_to_frame() -> None:
    clip = square_clip()
    clip.xy[:] = [1.1, -3.0]
    assert np.allclose(extents(clip), [[[0.9, 0.0, 1.0, 0.0]]])
