"""ThinkSeg's prompts and dialogues in two turns for verl. Written for verl 0.9.1.

This file, thinkseg_rewards.py and the images must stay in the folder of the export, which run.sh adds to PYTHONPATH.
"""

from __future__ import annotations

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
    """verl's data set with image paths relative to this folder, which may be moved."""

    def _build_messages(self, example: dict[str, Any], key: str) -> list[dict[str, Any]]:
        images = [str(FOLDER / name) for name in example[self.image_key]]
        return super()._build_messages({**example, self.image_key: images}, key=key)


class TwoTurns(AgentLoopBase):
    """Two turns: the frame that the first reply chooses is shown again, alone and larger.

    max_tokens: limit of one reply. The rewards get the separate replies as "replies".
    """

    def __init__(self, *args: Any, max_tokens: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_tokens = max_tokens

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        """Samples one rollout. kwargs: the columns of the prompt's row, with "raw_prompt"."""
        dialogue = _Dialogue(list(kwargs["raw_prompt"]), {**sampling_params, "max_tokens": self.max_tokens})
        self._assert_mm_supported(True)
        dialogue.images = (await self.process_multi_modal_info(dialogue.messages))["images"]
        dialogue.ids = await self.ct_build_initial_tokens(dialogue.messages, images=dialogue.images)
        await self._reply(dialogue)
        if closeup := self._closeup(dialogue.replies[0], kwargs):
            await self._add_turn(dialogue, *closeup)
            if len(dialogue.mask) < self.rollout_config.response_length:
                await self._reply(dialogue)
            else:
                # No tokens are left for the second reply, so it is empty.
                dialogue.replies.append("")
        return self._output(dialogue)

    async def _reply(self, dialogue: _Dialogue) -> None:
        """Samples the next reply."""
        with simple_timer("generate_sequences", dialogue.metrics):
            completion = await self.server_manager.generate(
                request_id=dialogue.id,
                prompt_ids=dialogue.ids,
                sampling_params=dict(dialogue.sampling),
                image_data=dialogue.images,
            )
        merged, dialogue.mask, logprobs = await self.ct_merge_assistant_token(
            dialogue.ids,
            completion.token_ids,
            dialogue.mask,
            dialogue.logprobs if completion.log_probs else None,
            assistant_logprobs=completion.log_probs or None,
        )
        dialogue.ids, dialogue.logprobs = merged.token_ids, logprobs or []
        dialogue.extra.update(completion.extra_fields)
        dialogue.replies.append(self.tokenizer.decode(completion.token_ids, skip_special_tokens=True))
        dialogue.messages.append({"role": "assistant", "content": dialogue.replies[-1]})

    def _closeup(self, reply: str, row: dict[str, Any]) -> tuple[Image.Image, str] | None:
        """Returns the image and the text of the second turn, with "<image>" in the place of the image.

        None if the first reply chooses no frame.
        """
        truth = thinkseg_rewards.read_truth(row["reward_model"]["ground_truth"])
        try:
            frame, description = thinkseg_rewards.parse_choice(thinkseg_rewards.complete_reply(reply, truth), truth)
        except thinkseg_rewards.AnswerError:
            return None
        if frame is None:
            return None
        image = Image.open(FOLDER / row["extra_info"]["closeups"][frame]).convert("RGB")
        description = thinkseg_rewards.escape_control_tokens(description)
        return image, row["extra_info"]["closeup_text"].replace("{description}", description)

    async def _add_turn(self, dialogue: _Dialogue, image: Image.Image, text: str) -> None:
        """Adds the second turn to the dialogue."""
        before = list(dialogue.messages)
        before, after = ([{"type": "text", "text": part}] if part else [] for part in text.split("<image>"))
        content = [*before, {"type": "image", "image": image}, *after]
        dialogue.messages.append({"role": "user", "content": content})
        merged, dialogue.mask, logprobs = await self.ct_merge_context_msg(
            before, dialogue.messages, dialogue.ids, dialogue.mask, dialogue.logprobs or None
        )
        dialogue.ids, dialogue.logprobs = merged.token_ids, logprobs or []
        dialogue.images = [*dialogue.images, image]

    def _output(self, dialogue: _Dialogue) -> AgentLoopOutput:
        limit = self.rollout_config.response_length
        start = len(dialogue.ids) - len(dialogue.mask)
        return AgentLoopOutput(
            prompt_ids=dialogue.ids[:start],
            response_ids=dialogue.ids[start:][:limit],
            response_mask=dialogue.mask[:limit],
            response_logprobs=dialogue.logprobs[:limit] or None,
            multi_modal_data={"images": dialogue.images},
            num_turns=2 * len(dialogue.replies),
            metrics=dialogue.metrics,
            extra_fields={**dialogue.extra, "replies": dialogue.replies, "turn_scores": [], "tool_rewards": []},
        )


class _Dialogue:
    """The state of one rollout.

    ids: all tokens so far. mask, logprobs: of the tokens after the prompt; the mask is 1 where the policy wrote them.
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
