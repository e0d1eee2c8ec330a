"""Protocols between a question and a policy. A chain never touches a model: it yields turns and receives replies."""

from thinkseg.chains.revseg import revseg
from thinkseg.chains.veason import veason
from thinkseg.errors import SettingsError
from thinkseg.types import ChainFn

CHAINS: dict[str, ChainFn] = {"veason": veason, "revseg": revseg}
"""Every chain by the name a user gives it."""

__all__ = ["CHAINS", "revseg", "veason"]


def get_chain(name: str) -> ChainFn:
    """The chain of that name. Raises SettingsError, naming the chains there are."""
    if name not in CHAINS:
        raise SettingsError(f"there is no chain {name!r}; there are: {', '.join(sorted(CHAINS))}")
    return CHAINS[name]
