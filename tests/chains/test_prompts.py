from dataclasses import replace

import pytest

from thinkseg.chains import CHAINS, revseg, veason
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.types import Turn, View

VIEW = View(4, (28, 28))


@pytest.mark.parametrize(
    ("chain", "name"), [(veason, "INSTRUCTION"), (veason, "LABELS"), (revseg, "WHEN"), (revseg, "WHERE")]
)
def test_prompt_fingerprint_changes_with_each_text(chain, name, monkeypatch):
    before = prompt_fingerprint(chain, VIEW)
    old = chain.__globals__[name]
    new = old | {"index": "no. {}:"} if isinstance(old, dict) else f"{old} Please."
    monkeypatch.setitem(chain.__globals__, name, new)
    assert prompt_fingerprint(chain, VIEW) != before


def test_prompt_fingerprint_depends_on_chain_and_coordinates():
    views = (VIEW, replace(VIEW, coordinates="normalized_1000"))
    assert len({prompt_fingerprint(chain, view) for chain in CHAINS.values() for view in views}) == 4


def test_prompt_fingerprint_of_endless_chain_ends():
    def endless(sample, view, indices=None):
        while True:
            yield Turn(("more?",))

    assert prompt_fingerprint(endless, VIEW)
