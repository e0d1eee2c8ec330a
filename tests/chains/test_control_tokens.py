"""Queries and descriptions with control tokens: in the prompts of both chains, and in their tokens."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from thinkseg.chains import CHAINS, revseg
from thinkseg.models.policies.chat_format import messages_of
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.types import Turn, VideoSample, View

VIEW = View(2, (56, 56))
TOKENS = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
TOKENS += ["<image>", "<video>", "<think>", "</think>", "<answer>", "</answer>"]
QUERIES = st.lists(
    st.sampled_from([*TOKENS, "<", ">", "|", "\u200b", "\uff1c", "im_end", "star ", "{query}"]), min_size=1
)


@limits(max_examples=25)
@given(QUERIES.map("".join), st.sampled_from(list(CHAINS)))
def test_prompt_has_the_tokens_of_its_images_only(encoder: Encoder, film: Any, query: str, chain: str) -> None:
    special = set(encoder.suppressed_ids()) | {encoder.end_id}

    def structure(query: str) -> list[int]:
        turn = next(CHAINS[chain](VideoSample("a", film(4, (8, 6)), f"the {query}"), VIEW))
        return [i for i in encoder.encode((turn,)).input_ids.tolist() if i in special]

    ids = structure(query)
    assert ids == structure("star")
    assert ids.count(encoder.image_pad_id) == 2 * 4


@pytest.mark.parametrize("chain", CHAINS)
def test_prompt_to_a_server_has_no_control_tokens_of_the_query(film: Any, chain: str) -> None:
    sample = VideoSample("a", film(4, (8, 6)), f"the {''.join(TOKENS)}")
    (message,) = messages_of((next(CHAINS[chain](sample, VIEW)),))
    question = message["content"][-1]["text"]
    assert question.startswith("Question: the < |image_pad|>< |video_pad|>")
    assert not any(token in question for token in TOKENS)
    assert sample.query == f"the {''.join(TOKENS)}"


def test_second_turn_has_no_control_tokens_of_the_description(film: Any) -> None:
    described = f"it {''.join(TOKENS[:8])}"
    choice = f'<think></think><answer>[{{"frame_idx": 1, "object description": "{described}"}}]</answer>'
    policy = ScriptedPolicy([choice, '[{"bbox_2d": [1, 1, 9, 9]}]'])
    (outcome,) = run_chains([revseg(VideoSample("a", film(4, (8, 6)), "it"), VIEW)], policy)
    assert outcome.replies[0] == choice
    turn = outcome.dialogue[2]
    assert isinstance(turn, Turn)
    text = str(turn.content[-1])
    assert 'Find "it < |image_pad|>' in text
    assert not any(token in text for token in TOKENS)
