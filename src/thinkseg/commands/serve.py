"""`thinkseg serve`: a policy behind OpenAI's API, until it is interrupted."""

from __future__ import annotations

import argparse
from typing import Any

from thinkseg.commands import options
from thinkseg.console import Progress
from thinkseg.errors import SettingsError


def add_to(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "serve",
        help="serve a policy over OpenAI's API",
        description="Answers chat completions (texts, pictures as data URLs, n, temperature, max_tokens, seed, stream) "
        "with a policy in this process. It listens to this machine alone unless told otherwise; to others, only with a "
        "key in THINKSEG_API_KEY, which they must send.",
    )
    parser.add_argument("--policy", default="shapes", metavar="NAME", help="shapes (default), a folder or a hub name")
    parser.add_argument("--name", metavar="NAME", help="what clients call the model (default: as the policy)")
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="where to listen (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=options.whole, default=8000, metavar="P", help="0 takes a free one (default: 8000)"
    )
    options.add_device(parser)
    parser.set_defaults(run=serve)


def serve(arguments: argparse.Namespace) -> int:
    """Serves until it is interrupted."""
    from thinkseg.models.policy import QwenPolicy
    from thinkseg.server.run import check_packages, checked_key, serve, served_name

    if arguments.policy.startswith("openai:"):
        raise SettingsError(f"{arguments.policy} is served already: name a model that runs here")
    check_packages()
    checked_key(arguments.host)
    with Progress() as progress:
        policy = options.load_policy(arguments, progress, device=arguments.device, precision=arguments.precision)
    assert isinstance(policy, QwenPolicy)
    name = arguments.name or served_name(arguments.policy)

    def ready(base_url: str) -> None:
        print(f"serving {name} at {base_url}", f"ask it with --policy openai:{name}@{base_url}", sep="\n", flush=True)

    serve(policy, name, arguments.host, arguments.port, ready)
    return 0
