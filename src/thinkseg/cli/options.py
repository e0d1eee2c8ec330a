"""Arguments that several commands share: how they are declared, read, and turned into models and views."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.data import BENCHMARKS

if TYPE_CHECKING:
    from thinkseg.console import Progress
    from thinkseg.data.benchmarks.base import Benchmark
    from thinkseg.types import Policy, Tracker, View

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
COORDINATES = ("pixels", "thousandths")

MAX_SIDE = 4096
"""Longest side of a picture that can be asked for; a larger one is a slip of the finger that would fill the memory."""


def add_models(parser: argparse.ArgumentParser) -> None:
    """Which models answer and follow."""
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="model that answers: a folder, a hub name, openai:MODEL@BASE_URL, or one that comes along: shapes "
        "(default), or shapes-revseg (default with --chain revseg)",
    )
    parser.add_argument(
        "--tracker",
        default="flow",
        metavar="NAME",
        help="what follows the boxes: flow (default), or a SAM 2 by folder or hub name",
    )


def add_chain(parser: argparse.ArgumentParser) -> None:
    """How the policy is asked."""
    parser.add_argument(
        "--chain", default="veason", metavar="NAME", help="how the policy is asked: veason (default) or revseg"
    )


def add_asking(parser: argparse.ArgumentParser) -> None:
    """How the policy is asked, run and shown a video."""
    add_chain(parser)
    add_view(parser)
    add_device(parser)
    parser.add_argument("--temperature", type=temperature, default=0.0, metavar="T", help="0 (default) is greedy")
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="for a temperature above 0 (default: 0)")
    parser.add_argument("--max-tokens", type=count, metavar="N", help="longest reply, in tokens (default: 1024)")
    add_coordinates(parser)
    parser.add_argument(
        "--jpeg-quality", type=count, metavar="Q", help="send frames to a server as JPEG, 1 to 100 (default: as PNG)"
    )


def add_view(parser: argparse.ArgumentParser) -> None:
    """How videos are shown."""
    parser.add_argument(
        "--frames", type=count, metavar="N", help="frames shown to the policy (default: its own choice)"
    )
    parser.add_argument("--frame-size", type=size, metavar="WxH", help="size the frames are shown at, e.g. 560x560")
    parser.add_argument(
        "--closeup-size", type=size, metavar="WxH", help="size the one frame is shown at again by the chain revseg"
    )


def add_coordinates(parser: argparse.ArgumentParser) -> None:
    """How boxes are written."""
    parser.add_argument(
        "--coordinates", choices=COORDINATES, help="how the policy writes boxes (default: as is known of it)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where and how a model in this process computes."""
    parser.add_argument("--device", type=device, metavar="NAME", help="cpu, cuda or cuda:1 (default: a GPU if any)")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="of the weights (default: auto)")


def add_split(parser: argparse.ArgumentParser) -> None:
    """Which samples of the shapes world."""
    parser.add_argument("--split", default="val", metavar="NAME", help="train, val or zeroshot (default: val)")
    parser.add_argument("--start", type=whole, default=0, metavar="I", help="index of the first sample (default: 0)")


def add_out(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Where results go."""
    suffix = f" (default: {default})" if default else ""
    parser.add_argument(
        "--out",
        type=Path,
        default=None if default is None else Path(default),
        required=default is None,
        metavar="DIR",
        help=f"folder for the results{suffix}",
    )


def add_benchmark(
    sets: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    summary: str = "{title}",
    preferred: str | None = None,
) -> argparse.ArgumentParser:
    """The parser of a command's words for one benchmark: where it is, and which part of it.

    description, summary: what the long and the short help say, with {title} for the benchmark.
    preferred: the split that is taken unless another is asked for, where there is one of that name; else the first.
    """
    source = BENCHMARKS[name]
    default = preferred if preferred in source.splits else source.splits[0]
    parser: argparse.ArgumentParser = sets.add_parser(
        name, help=summary.format(title=source.title), description=description.format(title=source.title)
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="folder that holds the data set")
    splits = ", ".join(source.splits)
    parser.add_argument("--split", default=default, metavar="NAME", help=f"{splits} (default: {default})")
    parser.set_defaults(run=run, name=name)
    return parser


def add_keep_going(parser: argparse.ArgumentParser) -> None:
    """What to do about a broken data set."""
    parser.add_argument("--keep-going", action="store_true", help="count what is broken and pass over it")


def add_predictions(parser: argparse.ArgumentParser) -> None:
    """Where predicted masks are."""
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="DIR", help="folder of pictures, or of an evaluation"
    )


def add_fixed(parser: argparse.ArgumentParser, name: str) -> None:
    """How the tracks of ViCaS are scored; other benchmarks have no such choice."""
    if name == "vicas":
        parser.add_argument("--fixed", action="store_true", help="AP of tracks without the official evaluator's quirks")
    else:
        parser.set_defaults(fixed=False)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """How many processes do the work."""
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=count, default=cores, metavar="N", help="processes (default: one for each core)"
    )


def open_benchmark(arguments: argparse.Namespace, progress: Progress) -> Benchmark:
    """The benchmark that the arguments name, split and root included; says that it takes a while."""
    from thinkseg.data import open_benchmark
    from thinkseg.data.readers.issues import DatasetIssues

    progress.say("reading the lists")
    return open_benchmark(arguments.name, arguments.root, arguments.split, DatasetIssues(arguments.keep_going))


def tell_problems(benchmark: Benchmark) -> None:
    """Says on standard error what was passed over."""
    for kind, count in benchmark.issues.counts.most_common():
        for example in benchmark.issues.examples[kind]:
            print(f"thinkseg: {kind} ({count}): {' '.join(example.split())}", file=sys.stderr)


def running(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the policy is run: keyword arguments of `thinkseg.models.load_policy`, and settings worth keeping."""
    settings = {name: getattr(arguments, name) for name in ("device", "precision", "temperature", "seed")}
    more = {"max_new_tokens": "max_tokens", "coordinates": "coordinates", "jpeg_quality": "jpeg_quality"}
    # Only those that were given: folders of earlier results do not know of them, and are gone on with.
    given = {name: getattr(arguments, option, None) for name, option in more.items()}
    return settings | {name: value for name, value in given.items() if value is not None}


def load_policy(arguments: argparse.Namespace, progress: Progress, **settings: Any) -> Policy:
    """The policy asked for, or the one that comes along for the chain.

    A bar shows downloads on a terminal; loading from disk goes without one.
    """
    from thinkseg import models

    name = policy_name(arguments)
    progress.say(f"loading {name}")
    _hide_bars(name)
    return models.load_policy(name, **settings)


def policy_name(arguments: argparse.Namespace) -> str:
    """Which policy answers."""
    from thinkseg.models import bundled_policy_for

    return bundled_policy_for(arguments.chain) if arguments.policy is None else str(arguments.policy)


def load_tracker(arguments: argparse.Namespace, **settings: Any) -> Tracker:
    """The tracker asked for, run like the policy where it is a model too. settings: what else it should know."""
    from thinkseg import models

    if arguments.tracker != "flow":
        _hide_bars(arguments.tracker, policy_name(arguments))
    running = {option: getattr(arguments, option) for option in ("device", "precision") if option in arguments}
    return models.load_tracker(arguments.tracker, **running, **settings)


def _hide_bars(*names: str) -> None:
    """Hides the bars of the libraries that load models, if none of these is downloaded or nobody looks."""
    from thinkseg import models

    if not sys.stderr.isatty() or all(name in models.BUNDLED or os.path.isdir(name) for name in names):
        # Read once, when the hub's library is first imported, which loading a model does.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def view_of(arguments: argparse.Namespace, policy: Policy) -> View:
    """The view asked for; what was not asked for is the policy's choice."""
    from thinkseg.pipeline import resolve_view

    view = policy.view
    if arguments.frames:
        view = replace(view, num_frames=arguments.frames)
    if arguments.frame_size:
        view = replace(view, frame_wh=arguments.frame_size, overview_wh=None)
    if arguments.closeup_size:
        view = replace(view, closeup_wh=arguments.closeup_size)
    return resolve_view(policy, view)


def count(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, least=1)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, least=0)


def device(text: str) -> str:
    """A device as torch names it."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device: give cpu, cuda or cuda:1")
    return text


def temperature(text: str) -> float:
    """A finite number of at least 0."""
    value = _number(text)
    if value is None or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a temperature: give a number of at least 0")
    return value


def rate(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate: give frames a second, e.g. 24")
    return value


def size(text: str) -> tuple[int, int]:
    """(width, height) of "560x420"."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", text)
    if not found or max(int(found[1]), int(found[2])) > MAX_SIDE:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size: give width x height, e.g. 560x420, of at most {MAX_SIDE} each"
        )
    return int(found[1]), int(found[2])


def box(text: str) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) of "10,20,110.5,90", with x1 < x2 and y1 < y2."""
    sides = [_number(part) for part in text.split(",")]
    if len(sides) != 4 or any(side is None for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not a box: give x1,y1,x2,y2 in pixels, e.g. 10,20,110,90")
    x1, y1, x2, y2 = (float(side) for side in sides if side is not None)
    if x1 >= x2 or y1 >= y2:
        raise argparse.ArgumentTypeError(f"{text!r} has no area: give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def moment(text: str) -> int | float:
    """An int, the index of a frame ("57"), or a float, a time in seconds ("2.4s")."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    seconds = _number(text.removesuffix("s")) if text.endswith("s") else None
    if seconds is None or seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment: give a time like 2.4s, or a frame index like 57")
    return seconds


def _whole(text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least {least}")
    return int(text)


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
