"""Files that go along with an export: names of the package's own, or texts with blanks, in; files out."""

from __future__ import annotations

import shutil
from pathlib import Path

KIT = Path(__file__).parent / "kit"


def copy_kit(folder: Path, *names: str) -> None:
    """Copies files of the kit into a folder."""
    for name in names:
        shutil.copyfile(KIT / name, folder / name)


def write_script(text: str, path: Path) -> None:
    """Writes a text as a file that can be run."""
    path.write_text(text, "utf-8")
    path.chmod(0o755)
