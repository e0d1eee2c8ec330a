"""Chains: multi-turn protocols that yield turns, receive replies and return an answer. They never call a model."""

from thinkseg.chains.revseg import revseg
from thinkseg.chains.veason import veason
from thinkseg.errors import SettingsError
from thinkseg.types import ChainFn

CHAINS: dict[str, ChainFn] = {"veason": veason, "revseg": revseg}
"""All chains, by the name of `--chain`."""

__all__ = ["CHAINS", "revseg", "veason"]


def get_chain(name: str) -> ChainFn:
    """Returns the chain of a name. Raises SettingsError for an unknown name."""
    if name not in CHAINS:
        raise SettingsError(f"unknown chain {name!r}; must be one of {', '.join(sorted(CHAINS))}")
    return CHAINS[name]
