"""Tasks: items of whole videos, and what becomes of a task whose worker dies."""

import pytest

from rayworkers import video_of
from thinkseg.scale.workers import Tasks, WorkerLostError

ITEMS = ["a/0", "a/1", "b/0", "c/0", "c/1", "c/2"]


def taken(tasks):
    return [tasks.take() for _ in range(len(tasks))]


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (1, [["a/0", "a/1"], ["b/0"], ["c/0", "c/1", "c/2"]]),
        (3, [["a/0", "a/1", "b/0"], ["c/0", "c/1", "c/2"]]),
        (9, [ITEMS]),
    ],
)
def test_tasks_have_whole_videos_and_fill_batches(batch_size, expected):
    assert taken(Tasks(ITEMS, video_of, batch_size)) == expected


def test_tasks_given_back_have_one_video_each():
    tasks = Tasks(ITEMS, video_of, 9)
    assert list(tasks.give_back(tasks.take()[1:], "killed")) == []
    assert taken(tasks) == [["a/1"], ["b/0"], ["c/0", "c/1", "c/2"]]


def test_tasks_second_death_of_a_video_sets_it_aside_with_its_reason():
    tasks = Tasks(["a/0", "a/1"], video_of)
    assert list(tasks.give_back(tasks.take(), "killed")) == []
    ((first, error), (second, same)) = tasks.give_back(tasks.take(), "killed")
    assert (first, second, len(tasks)) == ("a/0", "a/1", 0)
    assert isinstance(error, WorkerLostError)
    assert error is same
    assert str(error) == "a: set aside, 2 workers died during it (killed); run the command again to retry it"


def test_tasks_deaths_of_other_videos_do_not_count():
    tasks = Tasks(ITEMS, video_of)
    for _ in range(3):
        assert list(tasks.give_back(tasks.take(), "killed")) == []
