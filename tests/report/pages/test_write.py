"""Reports of each kind of run: what their pages say, and that nothing in them is active or comes from elsewhere."""

import json
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

import layouts
from evaluations import THINKING, read_rows, write_evaluation, write_rows
from html_check import check_page
from thinkseg.data import open_benchmark
from thinkseg.errors import SettingsError
from thinkseg.report.pages.write import kind_of, write_report


@pytest.fixture
def report(tmp_path):
    """Writes a report and returns its page and its text: report(*runs, num_drawn)."""

    def write(*runs, num_drawn=50):
        out = tmp_path / "report"
        written = write_report(runs, out, None, num_drawn)
        assert written.page == out / "index.html"
        text = written.page.read_text("utf-8")
        page = check_page(text)
        assert all((out / link).is_file() for link in page.links)
        return page, text

    return write


def test_write_report_evaluation_numbers_equal_scores_json(evaluation, report):
    run = evaluation()
    _, text = report(run)
    overall = json.loads((run / "scores.json").read_text())["metrics"]["overall"]
    for name in ("J&F", "J", "F", "R_k", "T-acc", "N-acc"):
        assert f"<dt>{name.replace('&', '&amp;')}</dt><dd>{overall[name]['value']:.1f}" in text


def test_write_report_unfinished_evaluation_computes_scores_of_its_rows(evaluation, report):
    run = evaluation()
    (run / "scores.json").unlink()
    write_rows(run, read_rows(run)[:1])
    page, text = report(run)
    assert "<dt>J</dt><dd>100.0" in text
    assert "N-acc</dt>" not in text
    assert "1 question about" in " ".join(page.text.split())


def test_write_report_evaluation_draws_each_answer(evaluation, report):
    page, text = report(evaluation())
    assert len(page.links) == 5  # strip and sheet of both, and the keyframe of the one with a target
    assert text.count('<rect class="predicted"') == text.count('<rect class="true"') == 1
    assert "correct: no target" in page.text
    assert "J 1.00 · F 1.00" in page.text


def test_write_report_evaluation_without_pictures_says_so(evaluation, report):
    page, _ = report(evaluation(), num_drawn=0)
    assert not page.links
    assert page.text.count("No pictures: only the 0 worst questions have pictures.") == 2


def test_write_report_changed_data_leaves_out_its_pictures(evaluation, report):
    run = evaluation()
    first, second = read_rows(run)
    write_rows(run, [{**first, "fingerprint": {**first["fingerprint"], "masks": "other"}}, second])
    page, _ = report(run)
    assert f"{first['id']}: the masks changed since the run" in page.text
    assert len(page.links) == 2


def test_write_report_missing_masks_are_named_in_the_card(evaluation, report):
    run = evaluation()
    for path in (run / "masks").rglob("*.json"):
        path.write_text("{}")
    page, _ = report(run)
    assert page.text.count("No pictures: ") == 2
    assert not page.links


def test_write_report_other_data_set_needs_its_root(evaluation, report):
    page, _ = report(evaluation(data="mevis", split="valid_u"))
    assert "No pictures: the data set is not given; pass its folder as --root." in page.text
    assert "ReVSeg, arXiv 2512.02835" in page.text  # a published score on MeViS


@pytest.mark.parametrize(("data", "split"), layouts.SPLITS.items())
def test_write_report_files_of_a_data_set_are_drawn_from_its_root(tmp_path, data, split):
    getattr(layouts, data)(tmp_path / "root")
    benchmark = open_benchmark(data, tmp_path / "root", split)
    told = next(one for one in benchmark.expressions if one.objects)
    run = write_evaluation(tmp_path / "run", benchmark, [told], data=data, split=split)
    assert write_report([run], tmp_path / "page", tmp_path / "root", 50).num_drawn == 1
    gray = np.asarray(Image.open(tmp_path / "page" / "pictures" / "00000-keyframe.jpg")).mean()
    assert gray == pytest.approx(40 * read_rows(run)[0]["keyframe"], abs=3)  # the gray level of its frame
    text = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert text.count('<rect class="predicted"') == text.count('<rect class="true"') > 0


def test_write_report_invalid_replies_are_counted_and_shown(evaluation, report):
    page, _ = report(evaluation(right=False))
    assert "Without usable masks" in page.text
    assert "invalid_json" in page.text
    assert "invalid reply: the answer is not JSON" in page.text


def test_write_report_hostile_text_stays_text(evaluation, report):
    run = evaluation()
    hostile = '"><img src=x onerror=alert(1)></script><script>{{ 7 * 7 }}'
    first, second = read_rows(run)
    write_rows(run, [{**first, "query": hostile, "category": hostile, "id": f"{hostile}/0"}, second])
    (run / "scores.json").unlink()
    page, text = report(run)
    assert page.scripts == 1
    assert hostile in page.text
    assert THINKING in page.text
    assert "<script>alert" not in text
    assert ("data-category", hostile) in page.attributes


def test_write_report_two_runs_shows_changes_and_what_differs(evaluation, report):
    page, text = report(evaluation("good"), evaluation("bad", right=False, chain="revseg"))
    assert "bad minus good" in page.text
    assert text.count("-100.0<small>J&amp;F</small>") == 2
    assert '<tr><th scope="row">chain</th><td>veason</td><td>revseg</td></tr>' in text


def test_write_report_questions_of_one_run_alone_are_counted(evaluation, report):
    longer, shorter = evaluation("longer"), evaluation("shorter")
    write_rows(shorter, read_rows(shorter)[:1])
    page, _ = report(longer, shorter)
    assert "1 question in all of them; not compared: 1 of longer" in page.text


def test_write_report_two_turns_are_shown_in_order(evaluation, report):
    run = evaluation(chain="revseg")
    first, second = read_rows(run)
    write_rows(run, [{**first, "replies": ["<think>when</think>[0]", "<think>where</think>[[1, 2, 3, 4]]"]}, second])
    _, text = report(run, num_drawn=0)
    said = re.findall(r"<(?:h4|blockquote|pre)>(.*?)</", text)
    assert said[:6] == ["Turn 1: Thinking", "when", "[0]", "Turn 2: Thinking", "where", "[[1, 2, 3, 4]]"]


def test_write_report_runs_on_other_data_raises(evaluation, tmp_path):
    with pytest.raises(SettingsError, match="split differs"):
        write_report([evaluation("a"), evaluation("b", split="train")], tmp_path / "out", None, 50)
    assert not (tmp_path / "out").exists()


def test_write_report_damaged_row_names_it(evaluation, tmp_path):
    run = evaluation()
    first, second = read_rows(run)
    write_rows(run, [first, {**second, "boxes": [[1, 2, 3]]}])
    with pytest.raises(SettingsError, match=r"boxes\.0.*delete its line"):
        write_report([run], tmp_path / "out", None, 50)


def test_write_report_keyframe_beyond_the_video_is_named_in_the_card(evaluation, report):
    run = evaluation()
    first, second = read_rows(run)
    write_rows(run, [{**first, "keyframe": 10**6}, second])
    page, _ = report(run)
    assert "keyframe 1000000 is not one of its" in page.text


def test_write_report_replaces_an_earlier_one_and_nothing_else(evaluation, report, tmp_path):
    run = evaluation()
    report(run, num_drawn=0)
    report(run, num_drawn=0)
    with pytest.raises(SettingsError, match="which no earlier result wrote"):
        write_report([run], tmp_path, None, 50)


def test_kind_of_other_folders_raises(tmp_path, evaluation):
    for path, message in ((tmp_path / "x", "no such folder"), (tmp_path, "holds no run")):
        with pytest.raises(SettingsError, match=message):
            kind_of(path)
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "log.jsonl").write_text("")
    with pytest.raises(SettingsError, match="runs of two kinds, 'evaluation' and 'training'"):
        write_report([evaluation(), tmp_path / "training"], tmp_path / "out", None, 50)


def test_write_report_same_run_twice_raises(evaluation, tmp_path):
    run = evaluation()
    with pytest.raises(SettingsError, match="given twice"):
        write_report([run, run], tmp_path / "out", None, 50)


def test_write_report_training_has_curves_and_copies_rollouts(tmp_path, report):
    run = tmp_path / "grpo"
    (run / "rollouts").mkdir(parents=True)
    record = {"stage": "grpo", "elapsed_s": 1.0, "rewards/boxes/mean": 0.5, "</script>": 1}
    lines = [json.dumps({**record, "step": step, "reward": step / 3}) for step in (1, 2, 3)]
    (run / "log.jsonl").write_text("\n".join([*lines, '{"stage": "gr']))
    (run / "recipe.json").write_text('{"model": {"name": "<m>"}, "steps": 3}')
    for step in (0, 2):
        (run / "rollouts" / f"step-{step:06d}.html").write_text("<p>rollouts</p>")
    page, text = report(run)
    assert page.scripts == 1
    assert "R_s (boxes)" in page.text
    assert "0.333 → " in page.text
    assert "<m>" in page.text
    steps = ["rollouts/0/step-000000.html", "rollouts/0/step-000002.html"]
    assert page.links == [steps[0], steps[0], steps[1], steps[1]]  # each in a frame, and to open alone
    assert text.count("<iframe sandbox ") == 2
    assert '"values": [0.333' in unescape(text)


def test_write_report_training_without_values_raises(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"stage": "sft"}\nnot json\n')
    with pytest.raises(SettingsError, match="has no values yet"):
        write_report([tmp_path], tmp_path / "out", None, 50)


@pytest.mark.parametrize("settings", [{"view": 3}, {"view": {"num_frames": "x"}}, {"category_weights": 1}, {"fps": []}])
def test_write_report_damaged_settings_are_no_bug(evaluation, report, settings):
    page, _ = report(evaluation(**settings))
    assert "J 1.00 · F 1.00" in page.text


def test_write_report_rows_of_an_earlier_version_are_drawn(evaluation, report):
    run = evaluation()
    later = ("fingerprint", "num_targets", "target_share")
    write_rows(run, [{name: value for name, value in row.items() if name not in later} for row in read_rows(run)])
    page, _ = report(run)
    assert len(page.links) == 5
