"""The physics of the shapes world.

A clip is closed-form: positions, radii and angles of every object at every frame, in units of the frame's sides
(x to the right, y down, the frame is the unit square).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (212, 40, 44),
    "orange": (240, 138, 28),
    "yellow": (240, 218, 52),
    "green": (44, 160, 66),
    "cyan": (72, 206, 214),
    "blue": (44, 76, 212),
    "purple": (148, 58, 190),
}
SHAPES = ("ball", "square", "triangle", "star", "bar", "cross")
FPS = 12.0
NUM_FRAMES = (24, 60)
NUM_OBJECTS = (3, 6)
RADIUS = (0.10, 0.17)

# Path lengths over the whole clip, in sides of the frame. Even a slow object moves a few pixels between two of the few
# small frames in a policy's view, so that its motion is visible.
SLOW, BRISK, FAST = (0.24, 0.36), (0.36, 0.55), (0.95, 1.40)

TRAINING_PATHS = ("straight",)
UNSEEN_PATHS = ("orbit", "zigzag")


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One simulated clip of N objects over T frames; object N-1 is closest to the camera.

    xy: float64 (N, T, 2) centers; radius: (N, T); angle: (N, T) radians.
    roles: the motion of each object: still, drift, enter, leave, striker or struck.
    hit: (striker, struck, frame of contact), or None.
    appearance_seed: seed of the background, the light and the noise.
    """

    colors: tuple[str, ...]
    shapes: tuple[str, ...]
    roles: tuple[str, ...]
    xy: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    hit: tuple[int, int, int] | None
    appearance_seed: int

    @property
    def num_objects(self) -> int:
        return len(self.shapes)

    @property
    def num_frames(self) -> int:
        return self.xy.shape[1]

    def name(self, obj: int) -> str:
        return f"{self.colors[obj]} {self.shapes[obj]}"


def polygons(clip: Clip, obj: int, corners: np.ndarray | None = None) -> np.ndarray:
    """Returns the corners of one object in every frame, float64 (T, V, 2), in sides of the frame.

    corners: float64 (V, 2), a polygon fixed to the object, in units of its radius (default: its outline).
    """
    corners = _OUTLINES[clip.shapes[obj]] if corners is None else corners
    cos, sin = np.cos(clip.angle[obj]), np.sin(clip.angle[obj])
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    return (corners @ turn) * clip.radius[obj, :, None, None] + clip.xy[obj, :, None, :]


def extents(clip: Clip) -> np.ndarray:
    """Returns the boxes of all objects without occlusion, clipped to the frame: float64 (N, T, 4), empty if outside."""
    boxes = []
    for obj in range(clip.num_objects):
        corners = polygons(clip, obj)
        boxes.append(np.concatenate([corners.min(1), corners.max(1)], -1))
    return np.clip(np.stack(boxes), 0.0, 1.0)


def simulate(rng: np.random.Generator, scenario: str, paths: tuple[str, ...] = TRAINING_PATHS) -> Clip:
    """Simulates a clip of a scenario.

    scenario: "plain", "fast", "still", "size", "resize", "leave", "enter" or "hit".
    paths: path types of drifting objects; the zero-shot split has its own.
    """
    num_frames = int(rng.integers(NUM_FRAMES[0], NUM_FRAMES[1] + 1))
    num = int(rng.integers(NUM_OBJECTS[0], NUM_OBJECTS[1] + 1))
    colors, shapes = _colors_and_shapes(rng, num)
    roles = _roles(rng, num, scenario)
    start_radius = _radii(rng, num, scenario)
    growth = _growth(rng, num, scenario)
    tau = np.linspace(0.0, 1.0, num_frames)
    radius = start_radius[:, None] * (1 + (growth[:, None] - 1) * tau)
    lengths = _lengths(rng, roles, scenario)

    xy = np.empty((num, num_frames, 2))
    hit = None
    if "striker" in roles:
        pair = roles.index("striker"), roles.index("struck")
        contact = _collide(rng, xy, start_radius, pair, tau)
        hit = (*pair, contact)
    taken = [xy[i, 0] for i in range(num) if hit and i in hit[:2]]
    for obj, role in enumerate(roles):
        if role in ("striker", "struck"):
            continue
        start = _free_spot(rng, taken, start_radius[obj])
        taken.append(start)
        xy[obj] = _path(rng, role, lengths[obj], start, radius[obj], tau, paths)
    spin = rng.uniform(-1, 1, num) * rng.choice([0.4, 3.0], num)
    spin[[role in ("still", "struck") for role in roles]] = 0.0  # objects at rest do not rotate
    angle = rng.uniform(0, 2 * np.pi, num)[:, None] + spin[:, None] * tau
    return Clip(colors, shapes, tuple(roles), xy, radius, angle, hit, int(rng.integers(2**31)))


def _colors_and_shapes(rng: np.random.Generator, num: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Distinct (color, shape) pairs; often two share a color or a shape, so that one word is ambiguous."""
    palette, shapes = list(COLORS), list(SHAPES)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < num:
        color, shape = palette[rng.integers(len(palette))], shapes[rng.integers(len(shapes))]
        if pairs and rng.random() < 0.35:
            other = pairs[rng.integers(len(pairs))]
            color, shape = (other[0], shape) if rng.random() < 0.5 else (color, other[1])
        if (color, shape) not in pairs:
            pairs.append((color, shape))
    return tuple(c for c, _ in pairs), tuple(k for _, k in pairs)


def _roles(rng: np.random.Generator, num: int, scenario: str) -> list[str]:
    drifting = [str(r) for r in rng.choice(["still", "drift"], num, p=[0.4, 0.6])]
    if scenario == "fast":
        drifting[0] = "drift"
    elif scenario == "still":
        drifting = ["still"] + ["drift"] * (num - 1)
    elif scenario == "leave":
        leaving = int(rng.integers(1, min(3, num - 1) + 1))
        drifting[:leaving] = ["leave"] * leaving
    elif scenario == "enter":
        drifting[0] = "enter"
    elif scenario == "hit":
        drifting[:2] = ["striker", "struck"]
    elif scenario == "plain" and rng.random() < 0.5:
        drifting[0] = str(rng.choice(["enter", "leave"]))
    order = rng.permutation(num)
    return [drifting[i] for i in order]


def _radii(rng: np.random.Generator, num: int, scenario: str) -> np.ndarray:
    radii = rng.uniform(*RADIUS, num)
    if scenario == "size":  # makes "largest" or "smallest" unambiguous
        outlier = rng.integers(num)
        radii = rng.uniform(0.115, 0.14, num)
        radii[outlier] = rng.uniform(0.19, 0.215) if rng.random() < 0.5 else rng.uniform(0.07, 0.08)
    return radii


def _growth(rng: np.random.Generator, num: int, scenario: str) -> np.ndarray:
    """Ratio of the final to the initial radius of each object."""
    growth = np.ones(num)
    if scenario == "resize":
        growth[rng.integers(num)] = rng.uniform(1.7, 2.1) if rng.random() < 0.5 else rng.uniform(0.45, 0.58)
    elif scenario == "plain":
        growth = rng.uniform(0.85, 1.2, num)
    return growth


def _free_spot(rng: np.random.Generator, taken: list[np.ndarray], radius: float) -> np.ndarray:
    """Returns the candidate farthest from all placed objects (best-candidate sampling)."""
    candidates = rng.uniform(radius, 1 - radius, (10, 2))
    if not taken:
        return candidates[0]
    gaps = np.linalg.norm(candidates[:, None] - np.stack(taken)[None], axis=-1).min(1)
    return candidates[gaps.argmax()]


def _reflect(position: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Reflects straight motion between two walls."""
    span = high - low
    phase = np.mod(position - low, 2 * span)
    return low + np.where(phase > span, 2 * span - phase, phase)


def _lengths(rng: np.random.Generator, roles: list[str], scenario: str) -> np.ndarray:
    """Path lengths of drifting objects over the clip, in sides of the frame."""
    brisk = rng.random(len(roles)) < (0.0 if scenario == "fast" else 0.5)
    lengths = np.where(brisk, rng.uniform(*BRISK, len(roles)), rng.uniform(*SLOW, len(roles)))
    if scenario == "fast":
        lengths[roles.index("drift")] = rng.uniform(*FAST)
    return lengths


def _path(
    rng: np.random.Generator,
    role: str,
    length: float,
    start: np.ndarray,
    radius: np.ndarray,
    tau: np.ndarray,
    paths: tuple[str, ...],
) -> np.ndarray:
    """Centers over the clip of an object without a collision, (T, 2)."""
    if role == "still":
        return np.repeat(start[None], len(tau), 0)
    if role == "drift":
        return _drift(rng, str(rng.choice(paths)), start, length, radius, tau)
    return _cross_edge(rng, role, start, radius.max(), tau)


def _drift(
    rng: np.random.Generator, path: str, start: np.ndarray, length: float, radius: np.ndarray, tau: np.ndarray
) -> np.ndarray:
    heading = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(heading), np.sin(heading)])
    if path == "straight":
        xy = start + tau[:, None] * length * along
    elif path == "orbit":
        orbit_radius = rng.uniform(0.08, 0.2)
        phase = heading + tau * length / orbit_radius
        xy = start + orbit_radius * (np.stack([np.cos(phase), np.sin(phase)], -1) - along)
    else:
        swing = np.abs(np.mod(tau * rng.integers(2, 4), 1) - 0.5) - 0.5
        across = np.array([-along[1], along[0]])
        xy = start + 0.7 * length * (tau[:, None] * along + 0.5 * swing[:, None] * across)
    edge = radius[:, None]
    return _reflect(xy, edge, 1 - edge)


def _cross_edge(rng: np.random.Generator, role: str, inside: np.ndarray, radius: float, tau: np.ndarray) -> np.ndarray:
    """Straight path across one side of the frame; fully outside after (leave) or before (enter) a random time."""
    side, sign = int(rng.integers(2)), int(rng.choice([-1, 1]))
    outside = np.array(inside)
    outside[side] = 1 + 1.3 * radius if sign > 0 else -1.3 * radius
    outside[1 - side] = np.clip(inside[1 - side] + rng.uniform(-0.2, 0.2), radius, 1 - radius)
    when = rng.uniform(0.35, 0.85)
    progress = tau / when if role == "leave" else (1 - tau) / when
    return inside + np.minimum(progress, 1.3)[:, None] * (outside - inside)


def _collide(
    rng: np.random.Generator, xy: np.ndarray, radii: np.ndarray, pair: tuple[int, int], tau: np.ndarray
) -> int:
    """Writes the paths of the striker and the struck object into `xy`; returns the frame of contact.

    The struck object rests until the contact, and then moves with most of the striker's speed.
    """
    striker, struck = pair
    reach = 0.9 * (radii[striker] + radii[struck])
    while True:
        when = rng.uniform(0.3, 0.55)
        speed = rng.uniform(0.5, 0.8)
        heading = rng.uniform(0, 2 * np.pi)
        along = np.array([np.cos(heading), np.sin(heading)])
        rest = rng.uniform(0.2, 0.8, 2)
        start = rest - along * (reach + speed * when)
        end = rest + along * 0.85 * speed * (1 - when)
        if min(start.min(), end.min()) > 0.08 and max(start.max(), end.max()) < 0.92:
            break
    before, after = np.minimum(tau, when), np.maximum(tau - when, 0)
    xy[striker] = start + (speed * (before + 0.1 * after))[:, None] * along
    xy[struck] = rest + (0.85 * speed * after)[:, None] * along
    return int(np.searchsorted(tau, when))


def _regular(corners: int, turn: float = 0.0) -> np.ndarray:
    at = turn + np.arange(corners) * 2 * np.pi / corners
    return np.stack([np.cos(at), np.sin(at)], -1)


def _star() -> np.ndarray:
    points = _regular(10)
    points[1::2] *= 0.45
    return points


def _cross(arm: float = 0.36) -> np.ndarray:
    quarter = np.array([[1.0, -arm], [1.0, arm], [arm, arm]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, i) for i in range(4)])


_OUTLINES = {
    "ball": _regular(28) * 0.9,
    "square": _regular(4, np.pi / 4) * 1.1,
    "triangle": _regular(3, -np.pi / 2) * 1.15,
    "star": _star() * 1.2,
    "bar": np.array([[1.3, 0.34], [-1.3, 0.34], [-1.3, -0.34], [1.3, -0.34]]),
    "cross": _cross() * 1.05,
}

MARKS: dict[str, tuple[str, np.ndarray]] = {
    "ball": ("light", _regular(12) * 0.42),
    "square": ("dark", _regular(12) * 0.42),
    "bar": ("light", np.array([[0.95, 0.1], [-0.95, 0.1], [-0.95, -0.1], [0.95, -0.1]])),
    "cross": ("dark", _regular(4, np.pi / 4) * 0.34),
}
"""Marks painted on some shapes: a tone, and a polygon in units of the object's radius."""
