"""The format of verl:

    train.parquet         {data_source, prompt, images, reward_model, extra_info, agent_name}
    thinkseg_rewards.py   `compute_score`
    thinkseg_client.py    its connection to a reward server
    thinkseg_verl.py      `Prompts`, a data set with image paths; `TwoTurns`, the agent loop of the chain revseg
    agent_loop.yaml       configures the agent loop
    run.sh                GRPO with all of these

The table needs pyarrow.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from thinkseg.errors import SettingsError
from thinkseg.export.common import (
    REPLY_TOKENS,
    copy_kit,
    messages_of,
    prompt_tokens,
    response_tokens,
    truth_json,
    write_script,
)
from thinkseg.export.job import ExportJob
from thinkseg.export.samples import ExportSample
from thinkseg.pipeline import batched

ROWS = "train.parquet"
ROWS_PER_GROUP = 1_000

AGENTS = {"veason": "single_turn_agent", "revseg": "thinkseg_two_turns"}
"""The agent loop of each chain; the second one is in thinkseg_verl.py."""

AGENT_LOOP = """\
- name: thinkseg_two_turns
  _target_: thinkseg_verl.TwoTurns
  max_tokens: {reply_tokens}
"""

SCRIPT = """\
#!/usr/bin/env bash
# GRPO with verl 0.9.1 and vllm or sglang, on a machine with GPUs:
#
#   MODEL=path/to/model ./run.sh trainer.n_gpus_per_node=4 ...
#
# Arguments override the settings below.
set -euo pipefail
CDPATH= cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"
here=$PWD
model={model}
# A reward server that cannot score is reported before anything is loaded.
if [ -n "${{THINKSEG_REWARD_URL:-}}" ]; then python3 "$here/thinkseg_client.py" {dataset}; fi
export PYTHONPATH="$here${{PYTHONPATH:+:$PYTHONPATH}}"

python3 -m verl.trainer.main_ppo \\
    algorithm.adv_estimator=grpo \\
    algorithm.use_kl_in_reward=False \\
    data.train_files="$here/{rows}" \\
    data.val_files="${{VAL:-$here/{rows}}}" \\
    data.custom_cls.path="$here/thinkseg_verl.py" \\
    data.custom_cls.name=Prompts \\
    data.train_batch_size=16 \\
    data.max_prompt_length={prompt_tokens} \\
    data.max_response_length={response_tokens} \\
    data.filter_overlong_prompts=False \\
    data.truncation=error \\
    data.image_key=images \\
    reward.custom_reward_function.path="$here/thinkseg_rewards.py" \\
    reward.custom_reward_function.name=compute_score \\
    actor_rollout_ref.model.path="${{MODEL:-$model}}" \\
    actor_rollout_ref.model.use_remove_padding=True \\
    actor_rollout_ref.model.enable_gradient_checkpointing=True \\
    actor_rollout_ref.actor.optim.lr=1e-6 \\
    actor_rollout_ref.actor.ppo_mini_batch_size=16 \\
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1 \\
    actor_rollout_ref.actor.use_kl_loss=True \\
    actor_rollout_ref.actor.kl_loss_coef=5e-3 \\
    actor_rollout_ref.actor.kl_loss_type=low_var_kl \\
    actor_rollout_ref.actor.entropy_coeff=0 \\
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=1 \\
    actor_rollout_ref.rollout.name="${{ENGINE:-vllm}}" \\
    actor_rollout_ref.rollout.n=8 \\
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \\
    actor_rollout_ref.rollout.gpu_memory_utilization=0.5 \\
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1 \\
    actor_rollout_ref.rollout.agent.agent_loop_config_path="$here/agent_loop.yaml" \\
    trainer.project_name=thinkseg \\
    trainer.experiment_name={name} \\
    trainer.logger='["console"]' \\
    trainer.n_gpus_per_node=1 \\
    trainer.nnodes=1 \\
    trainer.val_before_train=False \\
    trainer.test_freq=-1 \\
    trainer.save_freq=100 \\
    trainer.total_epochs=1 \\
    "$@"
"""


def write(samples: Iterable[ExportSample], job: ExportJob) -> None:
    """Writes all files of the format. Raises SettingsError if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise SettingsError(
            "format verl: the package pyarrow is not installed; pip install 'thinkseg[export]'"
        ) from None
    copy_kit(job.folder, "thinkseg_rewards.py", "thinkseg_client.py", "thinkseg_verl.py")
    (job.folder / "agent_loop.yaml").write_text(AGENT_LOOP.format(reply_tokens=REPLY_TOKENS), "utf-8")
    write_script(_script(job), job.folder / "run.sh")
    _write_table((_row(number, sample, job) for number, sample in enumerate(samples)), job)


def _write_table(rows: Iterator[dict[str, Any]], job: ExportJob) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    text, texts = pa.string(), pa.list_(pa.string())
    extra = {"id": text, "query": text, "category": text, "closeup_text": text, "index": pa.int64(), "closeups": texts}
    schema = pa.schema(
        {
            "data_source": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "images": texts,
            "reward_model": pa.struct({"style": text, "ground_truth": text}),
            "extra_info": pa.struct(extra),
            "agent_name": text,
        }
    )
    with ParquetWriter(job.folder / ROWS, schema) as table:
        for group in batched(rows, ROWS_PER_GROUP):
            table.write_table(pa.Table.from_pylist(group, schema))


def _row(number: int, sample: ExportSample, job: ExportJob) -> dict[str, Any]:
    extra = {"index": number, "id": sample.id, "query": sample.query, "category": sample.category}
    return {
        "data_source": job.source,
        "prompt": messages_of(sample.dialogue[:1]),
        "images": list(sample.images[0]),
        "reward_model": {"style": "rule", "ground_truth": truth_json(sample)},
        "extra_info": {**extra, "closeups": list(sample.closeups), "closeup_text": sample.closeup_text},
        "agent_name": AGENTS[job.settings.chain],
    }


def _script(job: ExportJob) -> str:
    return SCRIPT.format(
        rows=ROWS,
        prompt_tokens=prompt_tokens(job.settings, job.size_multiple),
        response_tokens=response_tokens(job.settings, job.size_multiple),
        dataset=shlex.quote(job.source),
        model=shlex.quote(job.model),
        name=shlex.quote(job.name),
    )
