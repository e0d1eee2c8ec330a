"""Files with the wording of chains (`thinkseg.prompts`) as YAML: one mapping per chain.

What a file omits is built in.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from thinkseg.errors import SettingsError
from thinkseg.prompts import Prompts
from thinkseg.storage.settings_file import read_content, read_yaml

PROMPTS_FILE = "thinkseg-prompts.yaml"
"""Name of the file in the folder of a checkpoint."""


def read_prompts(path: str | Path, chain: str | None = None) -> Prompts:
    """Reads a file. Raises SettingsError if it is invalid, or does not word `chain`."""
    prompts = read_yaml(Prompts, path)
    if chain and chain not in (worded := worded_chains(path)):
        raise SettingsError(f"{path}: words {', '.join(worded) or 'no chain'}, not {chain!r}; add {chain}, or drop it")
    return prompts


def worded_chains(path: str | Path) -> list[str]:
    """Returns the names of the chains that a file words."""
    return list(read_content(path))


def prompts_yaml(prompts: Prompts, chains: Collection[str] = ("veason", "revseg")) -> str:
    """Returns the wording of chains as the content of a file."""
    content = {chain: asdict(getattr(prompts, chain)) for chain in chains}
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def write_prompts(prompts: Prompts, path: Path) -> None:
    """Writes the wording of all chains."""
    path.write_text(prompts_yaml(prompts), "utf-8")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
    return node


_Dumper.add_representer(str, _represent_text)
