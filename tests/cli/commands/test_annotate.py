"""`thinkseg annotate`: sets from the command line, over real HTTP where there is a server."""

import json
import shutil

import pytest

from annotating import steps_text
from commandline import parse
from scriptedserver import Response, ScriptedServer, busy, completion, failed, said
from thinkseg.cli import app
from thinkseg.data import FILE_BENCHMARKS
from thinkseg.data.cot import read_cot_set
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.models.policies.client import KEY, OPENAI_KEY

SECRET = "sk-secret-0123456789"
NOTHING = steps_text(
    "Shapes drift over a cloudy ground.", "The question asks for something else.", "No shape here is that."
)


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.delenv(OPENAI_KEY, raising=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Four clips in the layout of ReVOS, in its training split, with two questions each."""
    root = tmp_path_factory.mktemp("tree")
    write_dataset(root, "train", range(4), (32, 24), num_questions=2)
    return root


def answer(body):
    """A good answer to any prompt: the frame that is to be named stands in it twice, in quotes."""
    words = " ".join(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")
    named = [part for part in words.split('"') if part.startswith("frame ")]
    if not named:
        return said(NOTHING)
    reason = f"One has to compare the shapes to find what is meant. It shows best in {named[0]}."
    return said(steps_text("Shapes drift over a cloudy ground.", reason, "It can be seen clearly."))


def run(*arguments):
    return app.main(["annotate", *map(str, arguments)])


def served(server):
    return ["--annotator", f"openai:qwen@{server.base_url}", "--label-unit", "index"]


def line_of(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


def all_text(folder):
    return "".join(path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


def test_shapes_by_rules(tmp_path, capsys):
    out = tmp_path / "set"
    drawing = ["--count", 6, "--pool", 12, "--frames", 3, "--frame-size", "56x56", "--out", out]
    assert run("shapes", *drawing, "--review") == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = [line.split() for line in told.out.splitlines()]
    assert ["all", "12", "6"] in lines
    assert ["referring,", "multiple", "0", "0"] in lines
    cot = read_cot_set(out)
    assert 5 <= len(cot.samples) <= 6
    assert cot.boxes_in_thinking
    assert cot.images(cot.samples[0])[0].shape == (56, 56, 3)
    assert (out / "review.html").read_text().count("<article>") == 6
    before = (out / "samples.jsonl").read_bytes()
    assert run("shapes", *drawing) == 0
    assert (out / "samples.jsonl").read_bytes() == before
    assert run("shapes", *drawing, "--seed", 1) == 2
    assert "seed 0 -> 1" in line_of(capsys)


def test_a_benchmark_by_a_served_model(tree, tmp_path, capsys):
    out = tmp_path / "set"
    with ScriptedServer(answer) as server:
        name = f"openai:qwen@{server.base_url}"
        asking = [*served(server), "--frames", 4, "--frame-size", "48x48", "--include-no-target"]
        prices = ["--price-in", 2000, "--price-out", 10_000]
        assert run("revos", "--root", tree, "--count", 5, *asking, *prices, "--out", out) == 0
        assert len(server.asked) == 5
        assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
        body = server.asked[0]
        pictures = [part for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        assert len(pictures) == 4
        assert pictures[0]["image_url"]["url"].startswith("data:image/jpeg")
        assert (body["max_tokens"], body["temperature"]) == (1024, 0.0)
        told = capsys.readouterr().out
        # An answer of the scripted server reads 7 tokens and writes 3.
        assert "tokens: 35 prompt, 15 completion, cost 0.22" in told
        assert run("revos", "--root", tree, "--count", 7, *asking, "--out", out) == 0
        assert len(server.asked) == 7
    cot = read_cot_set(out)
    assert len(cot.samples) == 7
    assert cot.settings["split"] == "train"
    assert cot.settings["annotator"] == name
    assert {sample.label_unit for sample in cot.samples} == {"index"}
    assert SECRET not in all_text(out) + told


def test_a_selection_is_annotated_alone(tree, tmp_path, capsys):
    file = tmp_path / "select.json"
    assert app.main(["data", "select", "revos", "--root", str(tree), "--count", "2", "--out", str(file)]) == 0
    with ScriptedServer(answer) as server:
        asking = ["--annotator", f"openai:qwen@{server.base_url}", "--frames", 2, "--frame-size", "32x32"]
        assert run("revos", "--root", tree, "--select", file, *asking, "--out", tmp_path / "set") == 0
    cot = read_cot_set(tmp_path / "set")
    assert {sample.id for sample in cot.samples} <= set(json.loads(file.read_text())["expressions"])
    assert "select" in cot.settings


def test_trouble_that_passes_and_answers_that_do_not_stand(tree, tmp_path, capsys):
    bad = [said(None, refusal="I would rather not."), said("Nothing to say."), said(NOTHING, finish_reason="length")]
    script = [busy(0.01), Response(completion("half"), cut=50), Response(b"<html>"), failed(500), *bad]
    with ScriptedServer(script) as server:
        asking = [*served(server), "--concurrency", 1, "--frame-size", "32x32"]
        assert run("revos", "--root", tree, "--count", 3, *asking, "--frames", 2, "--out", tmp_path / "set") == 0
        assert len(server.asked) == 7
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["truncated", "1"] in [line[:2] for line in lines]
    assert ["invalid_format", "2"] in [line[:2] for line in lines]
    rejected = [json.loads(line) for line in (tmp_path / "set" / "rejected.jsonl").read_text().splitlines()]
    assert sorted(row["reply"] for row in rejected) == sorted(["I would rather not.", "Nothing to say.", NOTHING])
    assert (tmp_path / "set" / "samples.jsonl").read_text() == ""


def test_a_server_that_refuses_leaves_what_was_answered(tree, tmp_path, capsys):
    refused = failed(401, f"your key {SECRET} has run out")
    with ScriptedServer(lambda body: answer(body) if len(server.asked) < 3 else refused) as server:
        asking = [*served(server), "--concurrency", 1, "--frame-size", "32x32"]
        assert run("revos", "--root", tree, "--count", 6, *asking, "--out", tmp_path / "set") == 2
    line = line_of(capsys)
    assert "4 of 6 questions have no answer" in line
    assert "status 401: your key (key) has run out" in line
    assert line.endswith("rerun to request them")
    assert len(read_cot_set(tmp_path / "set").samples) == 2
    assert SECRET not in all_text(tmp_path / "set")


def test_annotate_key_in_a_reply_is_in_no_file(tree, tmp_path, capsys):
    replies = [said(f"You are {SECRET}."), said(NOTHING, reasoning=f"My key is {SECRET}.")]
    with ScriptedServer(replies) as server:
        asking = [*served(server), "--concurrency", 1, "--frame-size", "32x32"]
        assert run("revos", "--root", tree, "--count", 2, *asking, "--frames", 2, "--out", tmp_path / "set") == 0
    rows = [json.loads(line) for line in (tmp_path / "set" / "answers.jsonl").read_text().splitlines()]
    assert [row["reply"] for row in rows] == ["You are (key).", f"<think>My key is (key).</think>{NOTHING}"]
    assert SECRET not in all_text(tmp_path / "set") + "".join(capsys.readouterr())


def test_a_budget(tree, tmp_path, capsys):
    with ScriptedServer(answer) as server:
        asking = [*served(server), "--max-tokens", 20, "--frame-size", "32x32"]
        budget = ["--max-tokens-total", 50]
        assert run("revos", "--root", tree, "--count", 6, *asking, *budget, "--out", tmp_path / "set") == 0
        # Each costs 10, and may cost 27.
        assert len(server.asked) == 3
    assert "the budget is used up: 3 of 6 questions were not requested" in capsys.readouterr().out


def test_annotate_notes_on_the_data_set_do_not_count_as_unasked(tree, tmp_path, capsys):
    odd = tmp_path / "tree"
    shutil.copytree(tree, odd)
    lists = odd / "meta_expressions_train_.json"
    content = json.loads(lists.read_text())
    for video in content["videos"].values():
        for expression in video["expressions"].values():
            # "no-target", which the data set's objects contradict: a note per question that has any.
            expression["type_id"] = 2
    lists.write_text(json.dumps(content))
    with ScriptedServer(answer) as server:
        asking = [*served(server), "--frames", 2, "--frame-size", "32x32"]
        assert run("revos", "--root", odd, "--count", 2, *asking, "--out", tmp_path / "set") == 0
    told = capsys.readouterr()
    assert "field (" in told.err
    assert "budget" not in told.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["shapes", "--annotator", "me"], "unknown annotator 'me'"),
        (["shapes", "--annotator", "openai:x"], "openai:MODEL@BASE_URL"),
        (["shapes", "--annotator", "openai:x@http://a:hidden@localhost/v1"], KEY),
        (["shapes", "--split", "best"], "unknown split 'best'"),
        (["shapes", "--count", "0"], "--count"),
        (["shapes", "--pool", "-1"], "--pool"),
        (["shapes", "--frames", "none"], "--frames"),
        (["shapes", "--frame-size", "112"], "--frame-size"),
        (["shapes", "--balance", "fair"], "--balance"),
        (["shapes", "--seed", "x"], "--seed"),
        (["shapes", "--max-cost", "5"], "--price-in"),
        (["shapes", "--max-cost", "-5"], "--max-cost"),
        (["shapes", "--max-tokens-total", "0"], "--max-tokens-total"),
        (["shapes", "--timeout", "0"], "--timeout"),
        (
            ["shapes", "--annotator", "openai:x@http://127.0.0.1:9/v1", "--jpeg-quality", "101"],
            "--jpeg-quality: '101' is not a JPEG quality",
        ),
        (["revos", "--root", "nowhere"], "--annotator"),
        (["revos", "--root", "nowhere", "--annotator", "rules"], "'rules' cannot explain a benchmark"),
        (["revos", "--root", "nowhere", "--annotator", "openai:x@http://127.0.0.1:9/v1"], ": cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, capsys, arguments, named):
    assert run(*arguments, "--out", tmp_path / "set") == 2
    line = line_of(capsys)
    assert named in line
    assert "hidden" not in line
    assert not (tmp_path / "set").exists()


def test_a_folder_that_holds_something_else(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert run("shapes", "--count", 1, "--out", tmp_path / "file") == 2
    assert "is a file" in line_of(capsys)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", FILE_BENCHMARKS)
def test_what_is_trained_on_comes_from_the_training_split(name):
    context = parse(["annotate", name, "--root", "x", "--annotator", "openai:m@http://h/v1", "--out", "y"])
    splits = FILE_BENCHMARKS[name].splits
    assert context.params["split"] == ("train" if "train" in splits else splits[0])


def test_what_is_broken_is_named_or_passed_over(tree, tmp_path, capsys):
    broken = tmp_path / "tree"
    shutil.copytree(tree, broken)
    next((broken / "JPEGImages").glob("*/")).joinpath("00000.jpg").write_bytes(b"no picture")
    with ScriptedServer(answer) as server:
        asking = [*served(server), "--frames", 2, "--frame-size", "32x32"]
        run_all = ["revos", "--root", broken, "--count", 9, *asking, "--include-no-target", "--out", tmp_path / "set"]
        assert run(*run_all) == 2
        assert "00000.jpg" in line_of(capsys)
        assert run(*run_all, "--keep-going") == 0
    told = capsys.readouterr()
    assert "budget" not in told.out
    assert "frame (2)" in told.err
    assert len(read_cot_set(tmp_path / "set").samples) == len(server.asked) > 0
