"""`thinkseg check-policy`: whether a policy's boxes are read as it means them, and whether it keeps the format."""

from __future__ import annotations

import argparse
from typing import Any

from thinkseg.cli import options
from thinkseg.console import Progress

WRONG = 1
"""Exit status when the boxes make no sense in the convention that the policy is set up for."""


def add_to(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "check-policy",
        help="see whether a policy's boxes make sense",
        description="Shows POLICY a few clips of the shapes world and tells whether its boxes make sense in pixels of "
        "the frames it is shown or in thousandths of their sides, and whether its replies keep the format.",
    )
    parser.add_argument(
        "policy", metavar="POLICY", help="shapes, shapes-revseg, a folder, a hub name or openai:MODEL@BASE_URL"
    )
    parser.add_argument("--clips", type=options.count, default=4, metavar="N", help="asked about twice (default: 4)")
    options.add_asking(parser)
    parser.set_defaults(run=check_policy)


def check_policy(arguments: argparse.Namespace) -> int:
    """Checks a policy and prints what it found. The status is 1 if it is set up wrong."""
    from thinkseg.chains import get_chain
    from thinkseg.evaluation.policy_check import check

    chain = get_chain(arguments.chain)
    settings = options.running(arguments)
    if arguments.policy.startswith("openai:"):
        settings["assumed"] = "pixels"
    with Progress() as progress:
        policy = options.load_policy(arguments, progress, **settings)
        progress.say("asking")
        view = options.view_of(arguments, policy)
        found = check(policy, chain, arguments.clips, view, progress)
    width, height = view.frame_wh
    print(f"{policy.name}: overlap with the truth on {found.clips} clips, {view.num_frames} frames of {width}x{height}")
    print(found.table())
    print(found.verdict())
    if not found.sound:
        return WRONG
    best = found.sound[0]
    if getattr(policy, "assumed", False):
        print(f"give --coordinates {best}")
        return 0
    fits = policy.coordinates in found.sound
    print(f"it is set up for {policy.coordinates}" + ("" if fits else f": give --coordinates {best}"))
    return 0 if fits else WRONG
