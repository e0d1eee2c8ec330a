"""The chat template of a checkpoint: what it puts around turns and at the start of a reply.

A template is read once, by rendering a probe dialogue, so that a template that a dialogue cannot be encoded with is an
error when the model is loaded. Replies are never rendered: the tokens of a reply follow those of its prompt, and the
next turn follows the reply. So the thinking stays in the dialogue, also with a template that removes earlier thinking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from thinkseg.errors import ModelError
from thinkseg.models.model_files import summary
from thinkseg.ops.chat_text import THINK, THINK_END
from thinkseg.types import Turn

IMAGE_PAD = "<|image_pad|>"
END_OF_TURN = "<|im_end|>"
ASSISTANT = "<|im_start|>assistant\n"

# The part of Qwen's own for dialogues of texts and images.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

REPLY = "<|reply|>"
"""Stands for a reply in a rendered dialogue. The encoder escapes it in texts, like a control token."""

_OPENING = re.compile(rf"({THINK}\s*({THINK_END}\s*)?)?")
"""What a template may put before a reply: nothing, an opened thinking block, or an empty one."""

_MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "role": "user",
        "content": [{"type": "text", "text": "first"}, {"type": "image"}, {"type": "text", "text": "second"}],
    },
    {"role": "assistant", "content": [{"type": "text", "text": REPLY}]},
    {"role": "user", "content": [{"type": "text", "text": "third"}]},
)
"""The probe dialogue."""


class ChatTemplate:
    """The chat template of a tokenizer.

    opening: the start of every reply if the template opens the thinking, such as "<think>\\n"; "" otherwise.
    Raises ModelError if dialogues cannot be encoded with the template.
    """

    def __init__(self, tokenizer: Any) -> None:
        from jinja2 import TemplateError

        self._tokenizer = tokenizer
        try:
            first, both = self._render(_MESSAGES[:1]), self._render(_MESSAGES)
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A template is a program, which can raise all of these.
            raise self._error(f"cannot render a dialogue with an image: {summary(error)}") from None
        opening = self._start_of_reply(first)
        if not re.search(f"first.*{re.escape(IMAGE_PAD)}.*second", first, re.DOTALL) or first.count(IMAGE_PAD) != 1:
            raise self._error(f"does not show an image as one {IMAGE_PAD} between the texts of its turn")
        self._check_second_turn(first.removesuffix(ASSISTANT + opening), both, opening)
        self.opening = opening if opening.rstrip() == THINK else ""

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text from the end of the last reply to the start of the next one, with one `IMAGE_PAD` per image.

        turns: of the dialogue so far. Begins with `END_OF_TURN` except in the first turn.
        """
        messages = [_message(turns[0])]
        for turn in turns[1:]:
            messages += [_MESSAGES[1], _message(turn)]
        return self._render(messages).rpartition(REPLY)[2]

    def continuation(self, reply: str) -> str:
        """The text of a reply from the end of its prompt: without `opening`, or with the end of an empty block."""
        if not self.opening:
            return reply
        if reply.startswith(THINK):
            return reply.removeprefix(THINK).removeprefix(self.opening.removeprefix(THINK))
        return f"\n{THINK_END}\n\n{reply}"

    def _start_of_reply(self, text: str) -> str:
        """What follows `ASSISTANT` at the end of a rendered prompt."""
        _, header, opening = text.rpartition(ASSISTANT)
        if not header or not _OPENING.fullmatch(opening):
            raise self._error(
                f"a prompt ends with {text[-60:]!r}; supported are {ASSISTANT!r} and a {THINK} block, open or empty"
            )
        return opening

    def _check_second_turn(self, turn: str, both: str, opening: str) -> None:
        """turn: the rendered first turn. both: the probe. opening: what the first prompt ends with."""
        before, _, after = both.partition(REPLY)
        if not before.startswith(turn + ASSISTANT) or not _OPENING.fullmatch(before[len(turn + ASSISTANT) :]):
            raise self._error("changes earlier turns of a dialogue; give a model whose template only appends")
        if not after.startswith(END_OF_TURN) or REPLY in after:
            raise self._error(f"a reply is followed by {after[:60]!r}, must be {END_OF_TURN!r}")
        if self._start_of_reply(after) != opening:
            raise self._error("starts the replies of the first and the second turn differently")

    def _render(self, messages: Sequence[dict[str, Any]]) -> str:
        return self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)

    def _error(self, problem: str) -> ModelError:
        where = self._tokenizer.name_or_path or "tokenizer"
        return ModelError(f"{where}: chat template: {problem}")


def _message(turn: Turn) -> dict[str, Any]:
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in turn.content]
    return {"role": "user", "content": content}
