"""`thinkseg prompts ...`: the wording of the chains, as files for --prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from thinkseg.cli import options
from thinkseg.cli.declare import argument, chosen_argument, command, new_group, option, path, text

if TYPE_CHECKING:
    from thinkseg.prompts import Prompts
    from thinkseg.types import Turn

EXAMPLE_FPS = {"frames with times": 1.0, "frames without times": None}
"""Frames per second of the example videos, by their headings."""

EXAMPLE_FRAMES, EXAMPLE_QUERY = 2, "the red car that turns left"

app = new_group("prompts", "show or check the wording of chains", "Shows or checks the wording of chains.", "ACTION")


@command(app, "print the wording in force")
def show(
    chain: Annotated[str | None, chosen_argument(options.CHAINS, "CHAIN")] = None,
    policy: Annotated[
        str | None, option(text, "NAME", "a folder, a hub name, or a bundled policy (default: the built-in wording)")
    ] = None,
) -> int:
    """Prints the wording of CHAIN (default: of all chains) as YAML: the policy's own, else the built-in one.

    A changed copy is a file for --prompts.
    """
    from thinkseg.models import check_policy, resolve_model
    from thinkseg.prompts import BUILT_IN
    from thinkseg.storage.prompt_file import prompts_yaml

    wording: Prompts | None = None
    if policy and not policy.startswith("openai:"):
        from thinkseg.models.policies.qwen.checkpoint import load_prompts

        check_policy(policy)
        wording = load_prompts(resolve_model(policy))
    print(prompts_yaml(wording or BUILT_IN, [chain] if chain else options.CHAINS), end="")
    return 0


@command(app, "check a file with the wording of chains")
def check(file: Annotated[Path, argument(path, "FILE", "wording of chains, YAML")]) -> int:
    """Checks FILE, and prints the turns about two frames of a video in its wording."""
    from thinkseg.export.samples import turn_text
    from thinkseg.storage.prompt_file import read_prompts, worded_chains

    prompts = read_prompts(file)
    for chain in worded_chains(file):
        for heading, fps in EXAMPLE_FPS.items():
            print(f"# {chain}, {heading}\n")
            for number, turn in enumerate(_example_turns(chain, prompts, fps), start=1):
                print(f"turn {number}: {turn_text(turn)}\n")
    return 0


def _example_turns(chain: str, prompts: Prompts, fps: float | None) -> Iterator[Turn]:
    from thinkseg.chains import get_chain
    from thinkseg.chains.prompts import turns_of
    from thinkseg.types import View

    view = View(EXAMPLE_FRAMES, (56, 56), prompts=prompts)
    return turns_of(get_chain(chain), view, fps, EXAMPLE_QUERY)
