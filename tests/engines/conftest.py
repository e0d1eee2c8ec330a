"""A real vLLM for the tests of this folder, which `make test-engines` runs; all other runs skip them."""

import os
import signal
from collections.abc import Iterator

import pytest

from thinkseg.training.grpo.serving import ServerProcess
from vllmprocess import ENVIRONMENT, running_server

if ENVIRONMENT not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the server too
    with running_server(tmp_path_factory.mktemp("vllm") / "vllm.log") as server:
        yield server
