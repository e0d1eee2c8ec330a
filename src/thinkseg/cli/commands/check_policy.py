"""`thinkseg check-policy`: checks the coordinates and the reply format of a policy."""

from __future__ import annotations

from typing import Annotated

import typer

from thinkseg.cli import model_options, parsers
from thinkseg.cli.declare import argument, command, option, text
from thinkseg.console import Progress

WRONG = 1
"""Exit status if the boxes fit no convention, or not the one that the policy is set up for."""

app = typer.Typer()


@command(app, "check whether a policy's boxes are read correctly", "check-policy")
def check_policy(
    policy: Annotated[
        str, argument(text, "POLICY", "shapes, shapes-revseg, a folder, a hub name or openai:MODEL@BASE_URL")
    ],
    asking: model_options.PolicyOptions,
    clips: Annotated[int, option(parsers.count, "N", "number of clips, each prompted twice")] = 4,
) -> int:
    """Prompts POLICY with a few clips of the shapes world.

    Reports whether its boxes fit in pixels of the frames shown, or normalized to 0..1000, and whether its
    replies have the format requested. The status is 1 if the policy is set up for the wrong convention.
    """
    from thinkseg.evaluation.policy_check import check

    chain = asking.chain_function()
    settings = asking.settings()
    if policy.startswith("openai:"):
        settings["fallback_coordinates"] = "pixels"
    with Progress() as progress:
        loaded = model_options.load_policy(policy, progress, **settings)
        progress.show("prompting")
        view = asking.view(loaded)
        found = check(loaded, chain, clips, view, progress, asking.reading)
    width, height = view.frame_wh
    print(f"{loaded.name}: IoU with the targets on {found.clips} clips, {view.num_frames} frames of {width}x{height}")
    print(found.table())
    print(found.verdict())
    if found.repairs:
        print(f"read after repair: {', '.join(f'{name} {count}' for name, count in found.repairs.items())}")
    if not found.matching:
        return WRONG
    best = found.matching[0]
    if not getattr(loaded, "coordinates_known", True):
        print(f"give --coordinates {best}")
        return 0
    fits = loaded.coordinates in found.matching
    print(f"it is set up for {loaded.coordinates}" + ("" if fits else f": give --coordinates {best}"))
    return 0 if fits else WRONG
