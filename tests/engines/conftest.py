"""A real vLLM for the tests of this folder, which `make test-engines` runs; all other runs skip them."""

import os
from collections.abc import Iterator

import pytest

from vllmprocess import ENVIRONMENT, VllmProcess

if ENVIRONMENT not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    server = VllmProcess(tmp_path_factory.mktemp("vllm") / "vllm.log")
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()
