"""Workers in processes of Ray: equal results, deaths, poison, errors."""

import json
from functools import partial

import pytest

from rayanswers import answering, evaluator
from rayworkers import Script, file_name, video_of
from thinkseg.data import open_benchmark
from thinkseg.errors import ModelError, SettingsError
from thinkseg.evaluation.evaluate import evaluate_with
from thinkseg.scale.ray_cluster import Placement
from thinkseg.scale.ray_workers import RayWorkers
from thinkseg.scale.workers import WorkerLostError
from thinkseg.segmenter.batch import Batch
from thinkseg.segmenter.questions import Question

pytestmark = pytest.mark.usefixtures("ray")

ITEMS = [f"{video}/{number}" for video in "abcd" for number in range(3)]


def answers(script, workers=2, batch_size=1):
    """What workers yield about ITEMS: texts by item, and errors by item."""
    with RayWorkers(script, Placement(workers), video_of, batch_size) as both:
        assert both.settings == {"model": "script"}
        script.taken.mkdir()
        found = []
        for item, result in both.answer(ITEMS):
            found.append((item, result))
            (script.taken / file_name(item)).touch()
    assert len(found) == len({item for item, _ in found})
    lost = {item: result for item, result in found if isinstance(result, WorkerLostError)}
    return {item: result for item, result in found if item not in lost}, lost


def begun(folder):
    """How often each item was begun."""
    return {path.name.replace("-", "/"): len(path.read_text()) for path in folder.iterdir()}


def test_workers_killed_one_is_replaced_and_only_unfinished_items_are_done_again(tmp_path):
    found, lost = answers(Script(tmp_path, deadly=("b/1",), deaths=1))
    assert (sorted(found), lost) == (ITEMS, {})
    again = begun(tmp_path)
    assert again == dict.fromkeys(ITEMS, 1) | {"b/1": 2}
    processes = [{text.rpartition(" ")[2] for item, text in found.items() if video_of(item) == name} for name in "acd"]
    assert [len(one) for one in processes] == [1, 1, 1]


def test_workers_poison_video_is_set_aside_after_two_deaths(tmp_path):
    found, lost = answers(Script(tmp_path, deadly=("b/1",)), batch_size=12)
    assert (sorted([*found, *lost]), sorted(lost)) == (ITEMS, ["b/1", "b/2"])
    assert begun(tmp_path)["b/1"] == 2
    assert str(lost["b/1"]).startswith("b: set aside, 2 workers died during it (the process crashed or was killed")


def test_workers_error_of_a_worker_is_raised(tmp_path):
    with pytest.raises(ModelError, match=r"^a/1: cannot be answered$"):
        answers(Script(tmp_path, broken=("a/1",)), workers=1)


def test_workers_error_of_loading_is_raised(tmp_path):
    with pytest.raises(ModelError, match=r"^no weights$"):
        answers(Script(tmp_path, start="no weights"))


def test_workers_that_die_while_they_load_raise(tmp_path):
    with pytest.raises(ModelError, match="2 workers died while they loaded their models"):
        answers(Script(tmp_path, start="die"), workers=1)


def test_workers_that_do_not_fit_raise(tmp_path):
    with pytest.raises(SettingsError, match="--workers: 9 with 1 CPU and 0 GPUs each, but only 3 fit"):
        answers(Script(tmp_path), workers=9)
    with (
        pytest.raises(SettingsError, match=r"2 with 1 CPU and 0\.5 GPUs each, but only 0 fit"),
        RayWorkers(Script(tmp_path), Placement(2, gpus=0.5), video_of),
    ):
        pass


def rows(out):
    """Rows by id as text, without times."""
    read = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {row["id"]: json.dumps({**row, "seconds": None}) for row in read}


def files(out):
    """All files but those with times."""
    listed = [path for path in out.rglob("*") if path.is_file() and path.name not in ("results.jsonl", "index.csv")]
    return {str(path.relative_to(out)): _without_seconds(path) for path in listed}


def _without_seconds(path):
    if path.name != "answer.json":
        return path.read_bytes()
    return {**json.loads(path.read_text()), "seconds": None}


@pytest.fixture
def revos(tmp_path):
    """Three videos with two expressions each."""
    from thinkseg.data.shapes.writer import write_dataset

    root = tmp_path / "data"
    root.mkdir()
    write_dataset(root, "val", range(3), (32, 24), num_questions=2)
    return open_benchmark("revos", root)


def test_evaluate_with_workers_of_which_one_dies_gives_the_rows_of_one_process(revos, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    expected = evaluate_with(evaluator(revos), revos, alone, save_png=True)
    make = partial(evaluator, revos, (revos.expressions[3].query,), tmp_path / "died")
    videos = {one.key: one.video for one in revos.expressions}
    with RayWorkers(make, Placement(2), videos.__getitem__, 2) as workers:
        assert evaluate_with(workers, revos, shared, save_png=True) == expected
    assert (tmp_path / "died").exists()
    assert rows(shared) == rows(alone)
    assert files(shared) == files(alone)


def test_segment_with_workers_gives_the_files_of_one_process(tmp_path, revos):
    clips = sorted((tmp_path / "data").rglob("*.mp4")) or [tmp_path]
    questions = [
        Question(f"{number}-{query}", clip, f"the {query}")
        for number, clip in enumerate([*clips, tmp_path / "none.mp4"])
        for query in ("red one", "blue one")
    ]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    Batch(questions, alone).run(answering(False), lambda row: None)
    with RayWorkers(partial(answering, True), Placement(2), lambda one: str(one.video)) as workers:
        Batch(questions, shared).run(workers, lambda row: None)
    assert rows(shared) == rows(alone)
    assert files(shared) == files(alone)
    assert [line.split(",")[0] for line in (shared / "index.csv").read_text().splitlines()[1:]] == [
        one.id for one in questions
    ]
