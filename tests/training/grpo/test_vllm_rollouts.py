from collections.abc import Iterator
from typing import Any

import pytest

from scriptedvllm import LOGPROB, ScriptedVllm, images_of
from thinkseg.chains import CHAINS
from thinkseg.data.shapes import load
from thinkseg.errors import ModelError
from thinkseg.models.policies.qwen.encoder import Encoder, GeneratedText
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.models.policies.vllm import GENERATE
from thinkseg.rewards import Prompt
from thinkseg.training.grpo.rollouts import roll_out
from thinkseg.training.grpo.servers import ServerPool
from thinkseg.training.grpo.vllm_rollouts import VllmRollouts
from thinkseg.types import Outcome, View

LIMIT = 30
WHEN = '<think>There.</think><answer>[{"frame_idx": 1, "object description": "a ball"}]</answer>'
WHERE = '[{"bbox_2d": [1, 2, 30, 40]}]'


class NoSync:
    """Weights that servers have already."""

    def __init__(self, pool: ServerPool) -> None:
        self.pool = pool


@pytest.fixture(params=["qwen2_5", "qwen3"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return Encoder.load(request.getfixturevalue(request.param))


@pytest.fixture
def servers(encoder: Encoder) -> Iterator[list[ScriptedVllm]]:
    with ScriptedVllm(encoder) as one, ScriptedVllm(encoder) as other:
        yield [one, other]


def rolled_out(servers: list[ScriptedVllm], chain: str = "veason", count: int = 2) -> list[list[Outcome]]:
    """Groups of 3."""
    encoder = servers[0].encoder
    side = 2 * encoder.size_multiple
    view = View(2, (side, side), "pixels", closeup_wh=(2 * side, side))
    pool: Any = ServerPool([server.url for server in servers], [GENERATE], 10.0)
    policy = VllmRollouts(NoSync(pool), encoder, view, SamplingParams(0.7, LIMIT))  # type: ignore[arg-type]
    samples = [load("train", index, (64, 64)) for index in range(count)]
    prompts = [Prompt(sample, (1, len(sample.video) // 2)) for sample in samples]
    return roll_out(prompts, CHAINS[chain], policy, view, 3, seeds=range(count))


def test_roll_out_group_is_one_request(servers: list[ScriptedVllm]) -> None:
    groups = rolled_out(servers)
    encoder = servers[0].encoder
    assert [len(server.asked) for server in servers] == [1, 1]
    sampling = servers[0].asked[0]["sampling_params"]
    assert (sampling["n"], sampling["temperature"], sampling["max_tokens"]) == (3, 0.7, LIMIT)
    assert sampling["stop_token_ids"] == [encoder.end_id]
    assert set(sampling["logit_bias"]) == {str(token) for token in encoder.suppressed_ids()}
    for group in groups:
        assert len({id(outcome.dialogue[0]) for outcome in group}) == 1
        for outcome in group:
            reply = outcome.dialogue[1]
            assert isinstance(reply, GeneratedText)
            assert reply == "Here."
            assert reply.token_ids == (*encoder.content_ids("Here."), encoder.end_id)
            assert reply.logprobs == (LOGPROB,) * len(reply.token_ids)
            assert outcome.num_tokens == len(reply.token_ids) - 1
            assert outcome.num_prompt_tokens == len(encoder.encode(outcome.dialogue[:1]).input_ids)


def test_roll_out_revseg_second_turns_have_sampled_tokens_and_new_image(servers: list[ScriptedVllm]) -> None:
    """One rollout of each group ends after one turn. Second turns go to the server of the first."""

    def replies(body: dict[str, Any]) -> list[str]:
        n = body["sampling_params"]["n"]
        return [WHEN, "no tags", WHEN] if n == 3 else [WHERE] * n

    for server in servers:
        server.replies = replies
    groups = rolled_out(servers, "revseg")
    assert [[len(outcome.replies) for outcome in group] for group in groups] == [[2, 1, 2]] * 2
    encoder = servers[0].encoder
    when = (*encoder.content_ids(WHEN), encoder.end_id)
    for server, group in zip(servers, groups, strict=True):
        first, *second = server.asked
        assert len(second) == 2
        for body in second:
            assert body["token_ids"][: len(first["token_ids"])] == first["token_ids"]
            assert tuple(body["token_ids"][len(first["token_ids"]) :][: len(when)]) == when
            assert [image.shape[1] // encoder.size_multiple for image in images_of(body)] == [2, 2, 4]
            assert body["content_parts"][:2] == first["content_parts"]
        assert group[0].num_tokens == len(when) - 1 + len(encoder.content_ids(WHERE))


def test_roll_out_other_prompt_raises_with_both_texts(servers: list[ScriptedVllm]) -> None:
    extra = servers[0].encoder.content_ids("surprise")
    servers[0].extra_prompt = extra
    with pytest.raises(ModelError, match=r"differs at token \d+: '.*' here, '.*surprise' there \(\d+ and \d+ tokens"):
        rolled_out(servers)


def test_roll_out_short_context_raises_with_length(servers: list[ScriptedVllm]) -> None:
    servers[1].max_model_len = LIMIT + 1
    with pytest.raises(ModelError, match=r"--max-model-len is 31; start the servers with \d+ or more"):
        rolled_out(servers)
    assert not servers[0].asked


def test_roll_out_reply_at_limit_is_truncated(servers: list[ScriptedVllm]) -> None:
    servers[0].changes = {"finish_reason": "length"}
    outcomes = rolled_out(servers)[0]
    assert [outcome.truncated for outcome in outcomes] == [True, False, False]


def test_roll_out_reply_without_end_of_turn_raises(servers: list[ScriptedVllm]) -> None:
    servers[0].changes = {"token_ids": [41], "logprobs": {"content": [{"logprob": 0.0}]}}
    with pytest.raises(ModelError, match=r"vLLM ended a reply with .*--generation-config vllm"):
        rolled_out(servers)
