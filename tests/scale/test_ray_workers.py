"""Workers in processes of Ray: equal results, deaths, poison, errors."""

import json
from functools import partial

import pytest

from rayworkers import Script, answering, evaluator, video_of
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import ModelError, SettingsError, VideoError
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
        found = [pair for pair in both.answer(ITEMS) if pair[0] is not None]
    assert len(found) == len({item for item, _ in found})
    lost = {item: result for item, result in found if isinstance(result, WorkerLostError)}
    return {item: result for item, result in found if item not in lost}, lost


def begun(folder):
    """How often each item was begun."""
    return {path.name.replace("-", "/"): len(path.read_text()) for path in folder.iterdir()}


def test_workers_answer_each_item_once_and_a_video_in_one_process(tmp_path):
    found, lost = answers(Script(tmp_path))
    assert (sorted(found), lost) == (ITEMS, {})
    assert begun(tmp_path) == dict.fromkeys(ITEMS, 1)
    for video in "abcd":
        assert len({text.rpartition(" ")[2] for item, text in found.items() if video_of(item) == video}) == 1


def test_workers_killed_one_is_replaced_and_only_unfinished_items_are_done_again(tmp_path):
    found, lost = answers(Script(tmp_path, deadly=("b/1",), deaths=1))
    assert (sorted(found), lost) == (ITEMS, {})
    again = begun(tmp_path)
    assert again["b/1"] == 2
    assert [item for item in ITEMS if again[item] > 1] == ["b/1"]


@pytest.mark.parametrize("batch_size", [1, 12])
def test_workers_poison_video_is_set_aside_after_two_deaths(tmp_path, batch_size):
    found, lost = answers(Script(tmp_path, deadly=("b/1",)), batch_size=batch_size)
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


def evaluated(benchmark, out, deadly=(), notes=None):
    """Evaluates with two workers."""
    videos = {one.key: one.video for one in benchmark.expressions}
    make = partial(evaluator, benchmark, deadly, notes)
    with RayWorkers(make, Placement(2), videos.__getitem__, 2) as workers:
        return evaluate_with(workers, benchmark, out, save_png=True)


@pytest.fixture
def revos(tmp_path):
    """Three videos with two expressions each."""
    from thinkseg.data.shapes.writer import write_dataset

    root = tmp_path / "data"
    root.mkdir()
    write_dataset(root, "val", range(3), (32, 24), num_questions=2)
    return lambda keep_going=False: open_benchmark("revos", root, issues=DatasetIssues(keep_going))


def test_evaluate_with_workers_gives_the_rows_of_one_process(revos, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    expected = evaluate_with(evaluator(revos()), revos(), alone, save_png=True)
    assert evaluated(revos(), shared) == expected
    assert rows(shared) == rows(alone)
    assert files(shared) == files(alone)


def test_evaluate_with_workers_that_die_gives_the_same_rows(revos, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    evaluate_with(evaluator(revos()), revos(), alone, save_png=True)
    deadly = revos().expressions[3].query
    evaluated(revos(), shared, (deadly,), tmp_path / "once")
    assert rows(shared) == rows(alone)
    assert files(shared) == files(alone)


def test_evaluate_poison_video_has_no_row_and_the_others_have(revos, tmp_path):
    poison = revos().expressions[2]
    with pytest.raises(VideoError, match=f"^{poison.video}: set aside"):
        evaluated(revos(), tmp_path / "out", (poison.query,))
    others = [one.key for one in revos().expressions if one.video != poison.video]
    assert set(others) <= set(rows(tmp_path / "out")) < {one.key for one in revos().expressions}
    assert not (tmp_path / "out" / "scores.json").exists()


def test_evaluate_poison_video_keep_going_scores_the_others(revos, tmp_path):
    benchmark = revos(keep_going=True)
    poison = benchmark.expressions[2]
    scores = evaluated(benchmark, tmp_path / "out", (poison.query,))
    lost = benchmark.issues.counts["worker_lost"]
    assert lost >= 1
    assert scores["skipped"] == {"worker_lost": lost}
    # Rerun without what killed the workers, the folder gets the rows that it lacks.
    evaluated(revos(), tmp_path / "out")
    assert len(rows(tmp_path / "out")) == len(benchmark.expressions)


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
