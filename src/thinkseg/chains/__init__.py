"""Protocols between a question and a policy. A chain never touches a model: it yields turns and receives replies."""

from thinkseg.chains.revseg import revseg
from thinkseg.chains.veason import veason
from thinkseg.types import ChainFn

CHAINS: dict[str, ChainFn] = {"veason": veason, "revseg": revseg}
"""Every chain by the name a user gives it."""

__all__ = ["CHAINS", "revseg", "veason"]
