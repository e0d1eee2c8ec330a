"""What all tests share: one thread, no time limits that a busy machine would break, and a small video in memory."""

import os
import signal

# Before anything loads torch, which reads it once and is too slow to load for tests that do without it. With two
# threads on a busy machine one small forward pass can take ten times as long as with one.
os.environ["OMP_NUM_THREADS"] = "1"
# No test depends on the settings and presets of the user who runs it.
os.environ["THINKSEG_CONFIG"] = os.path.join(os.path.dirname(__file__), "no-settings", "config.yaml")
# No test downloads anything: without this, some wait for a network that may not be there.
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import settings

from boxtracker import BoxTracker
from thinkseg.ops.masks import from_stacks
from thinkseg.types import VideoSample

for setting in ("PRESET", "POLICY", "TRACKER", "CHAIN", "DEVICE", "PRECISION"):
    os.environ.pop(f"THINKSEG_{setting}", None)
cv2.setNumThreads(1)
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


class Film:
    """A video in memory; frame i is filled with grey level i. `reads` lists the frames that were asked for."""

    def __init__(self, num_frames: int = 30, size_wh: tuple[int, int] = (8, 6), fps: float | None = 10.0) -> None:
        self.name = "film"
        self.size_wh = size_wh
        self.fps = fps
        self.num_frames = num_frames
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.num_frames:
            raise IndexError(index)
        self.reads.append(index)
        width, height = self.size_wh
        return np.full((height, width, 3), index, np.uint8)

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (self[index] for index in indices)

    def time_of(self, index: int) -> float | None:
        return None if self.fps is None else index / self.fps


@pytest.fixture(autouse=True)
def _ordinary_scheduling() -> Iterator[None]:
    """Undoes what the encoder SVT-AV1 does for root: its caller becomes a real-time thread, and starves all others."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, which it does not in a process that a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def box_tracker() -> BoxTracker:
    return BoxTracker()


@pytest.fixture(scope="session")
def film() -> Callable[..., Film]:
    """Makes videos: film(num_frames, size_wh, fps)."""
    return Film


@pytest.fixture
def question() -> Callable[..., VideoSample]:
    """Makes questions about four 8x8 frames, one a second: question(id, target, category).

    The target is the upper left quarter of frames 2 and 3, with only its upper half to be seen in frame 1, and none of
    it in frame 0; or there is no target.
    """
    masks = np.zeros((1, 4, 8, 8), bool)
    masks[0, 1, :2, :4] = True
    masks[0, 2:, :4, :4] = True

    def make(name: str, target: bool = True, category: str = "referring") -> VideoSample:
        truth = from_stacks(masks if target else masks[:0])
        return VideoSample(name, Film(4, (8, 8), fps=1.0), f"the {name}", category, truth)

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from tinymodels import tiny_tokenizer

    return tiny_tokenizer()


@pytest.fixture(scope="session")
def qwen2_5(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of a tiny Qwen2.5-VL, made once per session; tests do not change it."""
    from tinymodels import save_qwen2_5

    return save_qwen2_5(tmp_path_factory.mktemp("models") / "qwen2_5", tokenizer)


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of a tiny Qwen3-VL, made once per session; tests do not change it."""
    from tinymodels import save_qwen3

    return save_qwen3(tmp_path_factory.mktemp("models") / "qwen3", tokenizer)


@pytest.fixture(scope="session")
def encoder(qwen2_5: Path) -> Any:
    from thinkseg.models.policies.qwen.encoder import Encoder

    return Encoder.load(qwen2_5)
