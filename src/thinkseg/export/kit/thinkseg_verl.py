"""ThinkSeg's prompts in verl: where their pictures are, and the dialogue in two turns. Written for verl 0.9.1.

This file, thinkseg_rewards.py and the pictures stay in the folder of the export, which is on PYTHONPATH: see run.sh.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import thinkseg_rewards
from PIL import Image
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.profiler import simple_timer

FOLDER = Path(__file__).resolve().parent


class Prompts(RLHFDataset):
    """verl's own data set, whose pictures are files below this folder, wherever it is moved."""

    def _build_messages(self, example: dict[str, Any], key: str) -> list[dict[str, Any]]:
        images = [str(FOLDER / name) for name in example[self.image_key]]
        return super()._build_messages({**example, self.image_key: images}, key=key)


class TwoTurns(AgentLoopBase):
    """First when, then where: the frame that the first reply chooses is shown again, alone and larger.

    max_tokens: of one reply. The rewards are given the replies as they were written, one by one.
    """

    def __init__(self, *args: Any, max_tokens: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_tokens = max_tokens

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """One rollout. kwargs: the columns of the prompt's row, "raw_prompt" among them."""
        talk = _Talk(list(kwargs["raw_prompt"]), {**sampling_params, "max_tokens": self.max_tokens})
        self._assert_mm_supported(True)
        talk.images = (await self.process_multi_modal_info(talk.messages))["images"]
        talk.ids = await self.ct_build_initial_tokens(talk.messages, images=talk.images)
        await self._reply(talk)
        if closeup := self._closeup(talk.replies[0], kwargs):
            await self._ask(talk, *closeup)
            if len(talk.mask) < self.rollout_config.response_length:
                await self._reply(talk)
            else:
                # No room is left for a second reply: there is one, and it is empty.
                talk.replies.append("")
        return self._output(talk)

    async def _reply(self, talk: _Talk) -> None:
        """Lets the policy say its next reply."""
        with simple_timer("generate_sequences", talk.metrics):
            said = await self.server_manager.generate(
                request_id=talk.id,
                prompt_ids=talk.ids,
                sampling_params=dict(talk.sampling),
                image_data=talk.images,
            )
        merged, talk.mask, logprobs = await self.ct_merge_assistant_token(
            talk.ids,
            said.token_ids,
            talk.mask,
            talk.logprobs if said.log_probs else None,
            assistant_logprobs=said.log_probs or None,
        )
        talk.ids, talk.logprobs = merged.token_ids, logprobs or []
        talk.extra.update(said.extra_fields)
        talk.replies.append(self.tokenizer.decode(said.token_ids, skip_special_tokens=True))
        talk.messages.append({"role": "assistant", "content": talk.replies[-1]})

    def _closeup(self, reply: str, row: dict[str, Any]) -> tuple[Image.Image, str] | None:
        """The frame that a first reply chooses, and what is asked about it; None if it chooses none."""
        truth = json.loads(row["reward_model"]["ground_truth"])
        try:
            place, description = thinkseg_rewards.parse_choice(reply, truth)
        except thinkseg_rewards.UnusableError:
            return None
        if place is None:
            return None
        image = Image.open(FOLDER / row["extra_info"]["closeups"][place]).convert("RGB")
        return image, row["extra_info"]["where"].replace("{description}", description)

    async def _ask(self, talk: _Talk, image: Image.Image, text: str) -> None:
        """Adds the second turn to what the policy reads."""
        before = list(talk.messages)
        talk.messages.append(
            {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}
        )
        merged, talk.mask, logprobs = await self.ct_merge_context_msg(
            before, talk.messages, talk.ids, talk.mask, talk.logprobs or None
        )
        talk.ids, talk.logprobs = merged.token_ids, logprobs or []
        talk.images = [*talk.images, image]

    def _output(self, talk: _Talk) -> AgentLoopOutput:
        most = self.rollout_config.response_length
        start = len(talk.ids) - len(talk.mask)
        return AgentLoopOutput(
            prompt_ids=talk.ids[:start],
            response_ids=talk.ids[start:][:most],
            response_mask=talk.mask[:most],
            response_logprobs=talk.logprobs[:most] or None,
            multi_modal_data={"images": talk.images},
            num_turns=2 * len(talk.replies),
            metrics=talk.metrics,
            extra_fields={**talk.extra, "replies": talk.replies, "turn_scores": [], "tool_rewards": []},
        )


class _Talk:
    """A dialogue on its way: what was said, and the tokens of it.

    mask, logprobs: of the tokens after the prompt; 1 where the policy wrote them.
    """

    def __init__(self, messages: list[dict[str, Any]], sampling: dict[str, Any]) -> None:
        self.id = uuid4().hex
        self.messages = messages
        self.sampling = sampling
        self.images: list[Image.Image] = []
        self.ids: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] = []
        self.replies: list[str] = []
        self.metrics: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
