"""What a worker is: it holds models, and yields results about items such as questions.

Commands use one worker in their own process, or many through `thinkseg.scale.ray_workers`, which are one to them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

from thinkseg.errors import VideoError

Item = TypeVar("Item", bound=Hashable)
Result_co = TypeVar("Result_co", covariant=True)

MAX_DEATHS = 2
"""A video is set aside after this many deaths of workers: one may be chance, such as a machine that fails."""


class WorkerLostError(VideoError):
    """A video is set aside: workers died during it, as from a lack of memory or a crash of a decoder.

    kind: see `thinkseg.data.readers.issues.IssueKind`.
    """

    kind = "worker_lost"


class Worker(Protocol[Item, Result_co]):
    """Holds models. settings: what decides its results, plain JSON values."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def answer(self, items: Sequence[Item]) -> Generator[tuple[Item, Result_co], None, None]:
        """Yields each item that has a result, with it."""
        ...


class Tasks(Generic[Item]):
    """The items that are left, in tasks for workers.

    A task has the items of whole videos. If its worker dies, the items that are left of it become one task per video,
    so that the video whose fault it is stays alone.

    items: those of a video together. video_of: returns the name of an item's video. batch_size: least number of items
    per task, so that a worker can fill its batches.
    """

    def __init__(self, items: Iterable[Item], video_of: Callable[[Item], str], batch_size: int = 1) -> None:
        self._video_of = video_of
        self._deaths: Counter[str] = Counter()
        self._waiting = deque(self._joined(items, batch_size))

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> list[Item]:
        """Returns the next task."""
        return self._waiting.popleft()

    def give_back(self, left: Sequence[Item], reason: str) -> Iterator[tuple[Item, WorkerLostError]]:
        """Takes back what is left of a task whose worker died. Yields the items that are set aside."""
        videos = self._by_video(left)
        for video, items in videos:
            self._deaths[video] += 1
            if len(videos) > 1 or self._deaths[video] < MAX_DEATHS:
                self._waiting.append(items)
                continue
            error = WorkerLostError(
                f"{video}: set aside, {MAX_DEATHS} workers died during it ({reason}); run the command again to retry it"
            )
            yield from ((item, error) for item in items)

    def _by_video(self, items: Iterable[Item]) -> list[tuple[str, list[Item]]]:
        return [(video, list(group)) for video, group in groupby(items, self._video_of)]

    def _joined(self, items: Iterable[Item], batch_size: int) -> Iterator[list[Item]]:
        task: list[Item] = []
        for _, group in self._by_video(items):
            task += group
            if len(task) >= batch_size:
                yield task
                task = []
        if task:
            yield task
