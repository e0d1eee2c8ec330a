"""The files of each format."""

import json
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet
import pytest
import yaml

from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import SettingsError
from thinkseg.export import FORMATS
from thinkseg.export.job import checked_format, export
from thinkseg.export.llamafactory import add_entry, check_entry
from thinkseg.export.sources import BenchmarkSource
from thinkseg.types import View


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def overrides(script):
    """The settings that a script passes to its trainer, by name."""
    command = 'python3() { printf \'%s\\0\' "$@"; }; export -f python3; bash "$0" trainer.nnodes=2'
    done = subprocess.run(["bash", "-c", command, str(script)], capture_output=True, text=True, check=True)
    module, *settings = done.stdout.rstrip("\0").split("\0")[1:]
    return {"module": module, **dict(setting.split("=", 1) for setting in settings)}


def test_llamafactory_writes_rows_entry_and_settings(source, job, written):
    made = job("revseg", for_sft=True)
    export(source, "llamafactory", made, DatasetIssues())
    assert names(made.folder) == ["dataset_info.json", "images", "sft.yaml", "train.jsonl"]
    both, absent = written(made.folder / "train.jsonl")
    for row in (both, absent):
        assert set(row) == {"messages", "images"}
        assert sum(message["content"].count("<image>") for message in row["messages"]) == len(row["images"])
        assert all((made.folder / name).is_file() for name in row["images"])
    assert (len(both["images"]), len(absent["images"])) == (4, 3)
    (entry,) = json.loads((made.folder / "dataset_info.json").read_text()).values()
    assert entry["columns"] == {"messages": "messages", "images": "images"}
    settings = yaml.safe_load((made.folder / "sft.yaml").read_text())
    assert (settings["dataset"], settings["dataset_dir"], settings["template"]) == ("mine", ".", "qwen2_vl")
    assert settings["image_max_pixels"] == 20 * 16
    assert settings["cutoff_len"] > 4 * 3 + 2 * 1024
    assert (settings["lora_rank"], settings["learning_rate"], settings["lr_scheduler_type"]) == (8, 1e-4, "cosine")
    assert (settings["gradient_accumulation_steps"], settings["num_train_epochs"]) == (8, 1)


PLACEHOLDERS = ("<image>", "<video>", "<audio>", "<|image_pad|>", "<|vision_start|>", "<|im_end|>", "<|im_start|>")


def texts_of(folder, format_name, written):
    """The texts of the questions in an export that its trainer reads placeholders and tokens in."""
    if format_name == "verl":
        rows = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()
        return [row["prompt"][0]["content"] for row in rows]
    rows = written(folder / ("samples.jsonl" if format_name == "jsonl" else "train.jsonl"))
    if format_name == "easyr1":
        return [row["problem"] for row in rows]
    messages = [row["prompt" if format_name == "trl" else "messages"] for row in rows]
    contents = [[message["content"] for message in one] for one in messages]
    if format_name == "trl":
        return ["".join(part["text"] if part["type"] == "text" else "<image>" for part in one[0]) for one in contents]
    return ["".join(one) for one in contents]


@pytest.mark.parametrize(
    ("format_name", "chain"), [(name, chain) for name, kind in FORMATS.items() for chain in kind.chains]
)
def test_query_with_placeholders_has_one_per_image(benchmark, job, written, format_name, chain):
    query = f"the {''.join(PLACEHOLDERS)}<think>x</think><answer> <im<image>age>"
    first = replace(benchmark.expressions[0], query=query)
    kind = FORMATS[format_name]
    made = job(chain, for_sft=kind.for_sft, for_rl=kind.for_rl)
    export(BenchmarkSource(replace(benchmark, expressions=[first])), format_name, made, DatasetIssues())
    (text,) = texts_of(made.folder, format_name, written)
    assert [text.count(one) for one in PLACEHOLDERS] == [4 if chain == "revseg" and not kind.for_rl else 3, *[0] * 6]
    assert "Question: the < image>< video>" in text


def test_export_for_thinking_model_has_the_start_of_replies(source, job, written, kit):
    made = job(for_sft=True)
    settings = replace(made.settings, view=View(3, (64, 64), "normalized_1000"), opening="<think>\n")
    export(source, "llamafactory", replace(made, settings=settings), DatasetIssues())
    assert yaml.safe_load((made.folder / "sft.yaml").read_text())["template"] == "qwen3_vl"
    export(source, "easyr1", replace(made, settings=replace(settings, for_sft=False, for_rl=True)), DatasetIssues())
    truth = written(made.folder / "train.jsonl")[1]["answer"]
    rewards = kit("thinkseg_rewards", made.folder)
    absent = 'None.\n</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
    inputs = [{"response": start + absent, "ground_truth": truth} for start in ("", "<think>", "<answer>")]
    assert [score["format"] for score in rewards.compute_scores(inputs)] == [1.0, 1.0, 0.0]


def test_llamafactory_settings_fit_large_images(source, job):
    made = job(for_sft=True)
    large = replace(made, settings=replace(made.settings, view=View(3, (1120, 840), "normalized_1000")))
    export(source, "llamafactory", large, DatasetIssues())
    settings = yaml.safe_load((made.folder / "sft.yaml").read_text())
    assert settings["image_max_pixels"] == 1120 * 840
    assert settings["cutoff_len"] > 3 * 40 * 30
    assert settings["template"] == "qwen3_vl_nothink"


def test_add_entry_keeps_other_entries(source, job, written, tmp_path):
    info = tmp_path / "data" / "dataset_info.json"
    info.parent.mkdir()
    info.write_text('{"other": {"file_name": "x.json"}}')
    made = job(for_sft=True, info=info)
    export(source, "llamafactory", made, DatasetIssues())
    add_entry(info, "mine", made.out)
    add_entry(info, "mine", made.out)
    entries = json.loads(info.read_text())
    assert list(entries) == ["other", "mine"]
    assert entries["other"] == {"file_name": "x.json"}
    # LLaMA-Factory joins the paths of rows and images to the folder of the file.
    assert (info.parent / entries["mine"]["file_name"]).samefile(made.folder / "train.jsonl")
    rows = written(made.folder / "train.jsonl")
    assert all((info.parent / name).is_file() for row in rows for name in row["images"])
    settings = yaml.safe_load((made.folder / "sft.yaml").read_text())
    assert (made.folder / settings["dataset_dir"]).samefile(info.parent)
    assert not (made.folder / "dataset_info.json").exists()


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"mine": {"file_name": "x.json"}}', b"\xff"])
def test_check_entry_invalid_or_taken_raises(tmp_path, text):
    info = tmp_path / "dataset_info.json"
    info.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=r"dataset_info\.json"):
        check_entry(info, "mine", tmp_path / "out")
    assert info.read_bytes() == (text if isinstance(text, bytes) else text.encode())


def test_add_entry_missing_file_is_created(tmp_path):
    add_entry(tmp_path / "dataset_info.json", "mine", tmp_path / "out")
    assert json.loads((tmp_path / "dataset_info.json").read_text())["mine"]["file_name"] == "out/train.jsonl"


@pytest.mark.parametrize("chain", ["veason", "revseg"])
def test_verl_writes_table_and_kit(source, job, kit, chain):
    made = job(chain, for_rl=True)
    export(source, "verl", made, DatasetIssues())
    kit_files = ["thinkseg_client.py", "thinkseg_rewards.py", "thinkseg_verl.py"]
    assert names(made.folder) == ["agent_loop.yaml", "images", "run.sh", *kit_files, "train.parquet"]
    both, absent = pyarrow.parquet.read_table(made.folder / "train.parquet").to_pylist()
    assert set(both) == {"data_source", "prompt", "images", "reward_model", "extra_info", "agent_name"}
    assert (both["data_source"], both["reward_model"]["style"]) == ("folder", "rule")
    (message,) = both["prompt"]
    assert message["role"] == "user"
    assert message["content"].count("<image>") == len(both["images"]) == 3
    assert [row["extra_info"]["index"] for row in (both, absent)] == [0, 1]
    assert all((made.folder / name).is_file() for name in both["images"] + both["extra_info"]["closeups"])
    assert len(both["extra_info"]["closeups"]) == (3 if chain == "revseg" else 0)
    assert both["agent_name"] == ("thinkseg_two_turns" if chain == "revseg" else "single_turn_agent")
    reply = '<think></think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
    replies = {"replies": [reply if chain == "veason" else "<think></think><answer>[]</answer>"]}
    scores = kit("thinkseg_rewards", made.folder).compute_score
    assert scores("folder", reply, absent["reward_model"]["ground_truth"], replies)["score"] == 3
    assert scores("folder", reply, both["reward_model"]["ground_truth"], replies)["score"] == 1


def test_verl_script_settings(source, job):
    made = job("revseg", for_rl=True)
    export(source, "verl", made, DatasetIssues())
    settings = overrides(made.folder / "run.sh")
    assert settings["module"] == "verl.trainer.main_ppo"
    for field in ("data.custom_cls.path", "reward.custom_reward_function.path", "data.train_files"):
        assert settings[field].startswith(f"{made.folder.resolve()}/")
    (loop,) = yaml.safe_load((made.folder / "agent_loop.yaml").read_text())
    # The response, in verl's terms, contains both replies and the frame between them.
    assert int(settings["data.max_response_length"]) > 2 * loop["max_tokens"] + 3
    assert settings["actor_rollout_ref.model.path"] == "owner/qwen2.5-vl"
    assert settings["trainer.nnodes"] == "2"


HOSTILE = "x $(touch run) `touch run` \"'; touch run #\n$HOME \\"


@pytest.mark.parametrize(
    ("format_name", "setting"),
    [("verl", "actor_rollout_ref.model.path"), ("easyr1", "worker.actor.model.model_path")],
)
def test_run_script_hostile_model_and_folder_runs_no_command(source, job, tmp_path, monkeypatch, format_name, setting):
    made = job(for_rl=True)
    folder = tmp_path / HOSTILE.replace("\n", " ")
    made.folder.rename(folder)
    made = replace(made, folder=folder, model=HOSTILE, name=HOSTILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL", raising=False)
    export(source, format_name, made, DatasetIssues())
    subprocess.run(["sh", "-n", str(folder / "run.sh")], check=True)
    settings = overrides(folder / "run.sh")
    assert settings[setting] == settings["trainer.experiment_name"] == HOSTILE
    assert settings["data.train_files"].startswith(f"{folder}/train.")
    assert not list(tmp_path.rglob("run"))
    monkeypatch.setenv("MODEL", f"other {HOSTILE}")
    assert overrides(folder / "run.sh")[setting] == f"other {HOSTILE}"


@pytest.mark.parametrize("format_name", ["verl", "easyr1"])
def test_run_script_reward_server_cannot_score_ends_before_training(source, job, monkeypatch, format_name):
    made = job(for_rl=True)
    export(source, format_name, made, DatasetIssues())
    monkeypatch.setenv("THINKSEG_REWARD_URL", "http://127.0.0.1:8787")
    command = 'python3() { echo "$@"; return 1; }; export -f python3; bash "$0"'
    done = subprocess.run(["bash", "-c", command, str(made.folder / "run.sh")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, f"{made.folder.resolve()}/thinkseg_client.py folder\n")


@pytest.mark.parametrize("value", [HOSTILE, "1.0", "no", "Modell-größe-😀"])
def test_llamafactory_settings_any_name_reads_back(source, job, value):
    made = replace(job(for_sft=True), model=value, name=value)
    export(source, "llamafactory", made, DatasetIssues())
    settings = yaml.safe_load((made.folder / "sft.yaml").read_text("utf-8"))
    assert (settings["model_name_or_path"], settings["dataset"]) == (value, value)
    assert settings["output_dir"] == f"saves/{value}"


def test_verl_without_pyarrow_raises(source, job, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"pip install 'thinkseg\[export\]'"):
        export(source, "verl", job(for_rl=True), DatasetIssues())


def test_easyr1_writes_rows_and_script(source, job, written):
    made = job(for_rl=True)
    export(source, "easyr1", made, DatasetIssues())
    assert names(made.folder) == ["images", "run.sh", "thinkseg_client.py", "thinkseg_rewards.py", "train.jsonl"]
    both, _ = written(made.folder / "train.jsonl")
    assert both["problem"].count("<image>") == len(both["images"]) == 3
    assert json.loads(both["answer"])["areas"] == [4, 0, 8]
    settings = overrides(made.folder / "run.sh")
    assert settings["data.image_dir"] == str(made.folder.resolve())
    assert settings["data.min_pixels"] == settings["data.max_pixels"] == "80"
    assert settings["data.format_prompt"] == "null"
    assert settings["worker.reward.reward_function"].endswith("/thinkseg_rewards.py:compute_scores")


def test_jsonl_writes_samples(source, job, written):
    made = job("revseg")
    export(source, "jsonl", made, DatasetIssues())
    both, absent, unknown = written(made.folder / "samples.jsonl")
    assert set(both) == {"id", "query", "category", "chain", "messages", "images", "truth"}
    assert (both["id"], both["query"], both["category"]) == ("clip/1", "both of them", "reasoning")
    assert [len(row["messages"]) for row in (both, absent, unknown)] == [4, 2, 1]
    assert unknown["truth"] is None
    assert absent["truth"]["has_target"] is False


@pytest.mark.parametrize("name", ["trl", "easyr1"])
def test_checked_format_unsupported_chain_raises(name):
    with pytest.raises(SettingsError, match=f"{FORMATS[name].title}: the chain 'revseg' shows an image"):
        checked_format(name, "revseg")


def test_checked_format_unknown_name_raises():
    with pytest.raises(SettingsError, match="unknown format 'verll': must be one of llamafactory, verl"):
        checked_format("verll", "veason")
