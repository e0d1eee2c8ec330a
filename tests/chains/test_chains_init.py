"""Chains by name: the built-in ones, and those of installed packages, with and without faults."""

from pathlib import Path

import pytest

from thinkseg.chains import CHAINS, get_chain, takes_indices
from thinkseg.errors import SettingsError

MODULE = """
def chain(sample, view, indices=None):
    yield None

def fixed(sample, view):
    yield None

NUMBER = 3
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch):
    """Installs packages that have entry points, given as NAME = VALUE."""

    def installed(package: str, *entries: str) -> None:
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("[thinkseg.chains]\n" + "\n".join(entries))
        (tmp_path / f"{package}.py").write_text(MODULE)

    monkeypatch.syspath_prepend(tmp_path)
    return installed


def test_get_chain_of_installed_package_returns_its_function(install):
    install("first_chains", "mine = first_chains:chain", "veason = first_chains:chain")
    assert get_chain("mine").__module__ == "first_chains"
    assert get_chain("veason") is CHAINS["veason"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mine = broken_chains:nothing", "chain 'mine': broken_chains:nothing cannot be loaded (AttributeError: "),
        ("mine = no_such_module:chain", "chain 'mine': no_such_module:chain cannot be loaded (ModuleNotFoundError: "),
        ("mine = broken_chains:NUMBER", "chain 'mine': broken_chains:NUMBER is not a function; "),
        ("other = broken_chains:chain", "unknown chain 'mine'; must be one of other, revseg, veason"),
    ],
)
def test_get_chain_faulty_package_raises_one_line(install, entry, message):
    install("broken_chains", entry)
    with pytest.raises(SettingsError) as caught:
        get_chain("mine")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_get_chain_of_two_packages_raises(install):
    install("one_chains", "mine = one_chains:chain")
    install("two_chains", "mine = two_chains:chain")
    with pytest.raises(SettingsError, match="is in one_chains:chain and two_chains:chain; uninstall all but one"):
        get_chain("mine")


def test_takes_indices_tells_chains_for_grpo(install):
    install("grpo_chains", "mine = grpo_chains:chain", "fixed = grpo_chains:fixed")
    assert all(takes_indices(get_chain(name)) for name in ("veason", "revseg", "mine"))
    assert not takes_indices(get_chain("fixed"))
