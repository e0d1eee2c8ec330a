"""Chains: multi-turn protocols that yield turns, receive replies and return an answer. They never call a model.

Other packages add chains as entry points of the group `GROUP`.
"""

from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import Any

from thinkseg.chains.revseg import revseg
from thinkseg.chains.veason import veason
from thinkseg.errors import SettingsError
from thinkseg.types import ChainFn

CHAINS: dict[str, ChainFn] = {"veason": veason, "revseg": revseg}
"""The built-in chains, by the name of `--chain`."""

GROUP = "thinkseg.chains"

__all__ = ["CHAINS", "GROUP", "get_chain", "revseg", "takes_indices", "veason"]


def get_chain(name: str) -> ChainFn:
    """Returns the chain of a name. Raises SettingsError if it is unknown, or is in a package and cannot be loaded."""
    if name in CHAINS:
        return CHAINS[name]
    installed = entry_points(group=GROUP)
    # A package on two paths, as in an editable installation, is listed twice.
    found = sorted({entry.value: entry for entry in installed if entry.name == name}.items())
    if not found:
        known = sorted({*CHAINS, *installed.names})
        raise SettingsError(f"unknown chain {name!r}; must be one of {', '.join(known)}")
    if len(found) > 1:
        raise SettingsError(f"chain {name!r}: is in {' and '.join(dict(found))}; uninstall all but one of the packages")
    return _loaded(found[0][1])


def takes_indices(chain: ChainFn) -> bool:
    """Returns whether a chain has a parameter `indices`, the frames to show, which GRPO chooses."""
    parameters = signature(chain).parameters
    return "indices" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _loaded(entry: EntryPoint) -> ChainFn:
    """Loads a chain. Its package is code of others, which may raise anything."""
    try:
        chain: Any = entry.load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SettingsError(
            f"chain {entry.name!r}: {entry.value} cannot be loaded ({reason}); mend or uninstall its package"
        ) from error
    if not callable(chain):
        raise SettingsError(f"chain {entry.name!r}: {entry.value} is not a function; mend or uninstall its package")
    return chain
