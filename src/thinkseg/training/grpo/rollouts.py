"""Groups of attempts at prompts, as GRPO wants them: prompts in, outcomes out, with the very tokens that were written.

The chains are those of inference, driven in the same way, and so are the replies
(`models.policies.qwen.prefix_sharing`): the prompt of a
group is read once, whatever the size of the group, and a second turn is read on top of it. A reply remembers its tokens
(`models.policies.qwen.encoder.GeneratedText`), so that what is trained on later is what was sampled, to the token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator, shared
from thinkseg.models.policies.sampling import Drawing
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.types import Chain, Dialogue, Outcome, Reply, View


def roll_out(
    prompts: Sequence[Prompt],
    chain: Callable[..., Chain],
    engine: Engine,
    view: View,
    copies: int,
    drawing: Drawing,
    seed: int,
) -> list[list[Outcome]]:
    """For each prompt a group of outcomes of its chain, `copies` of them.

    chain: called with a sample, a view and the `indices` of the frames to show, as all of `thinkseg.chains.CHAINS` are.

    The dialogues of a group begin with the very same turn. The same seed draws the same rollouts, whatever was drawn
    before. Runs the model as it is, without gradients.
    """
    chains = [chain(prompt.sample, view, indices=prompt.shown) for prompt in prompts for _ in range(copies)]
    outcomes = run_chains(chains, _Sampled(engine, view, drawing, seed))
    dialogues = shared([outcome.dialogue for outcome in outcomes])
    outcomes = [replace(one, dialogue=dialogue) for one, dialogue in zip(outcomes, dialogues, strict=True)]
    return [outcomes[i : i + copies] for i in range(0, len(outcomes), copies)]


class _Sampled:
    """A `thinkseg.types.Policy` that draws its replies from one stream of random numbers."""

    name = "policy in training"

    def __init__(self, engine: Engine, view: View, drawing: Drawing, seed: int) -> None:
        import torch

        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = engine.encoder.size_multiple
        self._answering = ChatGenerator(engine, drawing)
        self._generator = torch.Generator(engine.model.device).manual_seed(seed)

    def reply(self, dialogues: Sequence[Dialogue]) -> list[Reply]:
        """Answers the last turn of each dialogue."""
        import torch

        with torch.no_grad():
            return self._answering.reply(dialogues, self._generator)
