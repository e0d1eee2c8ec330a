"""A real vLLM server as a process, from the environment that `tests/engines/install_vllm.py` makes."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from thinkseg.models import bundled_policy_for, resolve_model

ENVIRONMENT = "THINKSEG_ENGINES"
"""Variable with the environment that `install_vllm.py` makes."""

START_SECONDS = 600

VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
}
ARGUMENTS = (
    *("--served-model-name", "shapes", "--host", "127.0.0.1", "--dtype", "float32", "--generation-config", "vllm"),
    *("--max-model-len", "2048", "--limit-mm-per-prompt", '{"image": 32}', "--enforce-eager", "--max-num-seqs", "64"),
    *("--enable-scale-out", "--enable-lora", "--max-lora-rank", "16", "--logprobs-mode", "processed_logprobs"),
)


class VllmProcess:
    """A server on a free port, which can be killed and started again."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns at once."""
        command = Path(os.environ[ENVIRONMENT]).absolute() / "bin" / "vllm"
        policy = str(resolve_model(bundled_policy_for("veason")))
        with self.log.open("ab") as log:
            # A process group of its own, so that the processes of the engine end with the server.
            self._process = subprocess.Popen(
                [command, "serve", policy, "--port", str(self.port), *ARGUMENTS],
                env={**os.environ, **VARIABLES},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Returns once the server replies."""
        for _ in range(START_SECONDS):
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            try:
                urlopen(f"{self.url}/health", timeout=5).close()
            except (URLError, OSError):
                time.sleep(1)
            else:
                return
        raise TimeoutError(self.log.read_text()[-3000:])

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
