"""The folder of a model by name: a local folder, or that of a model of the hub in the local cache.

Everything after this reads local files only: no library connects to the hub while it loads a model.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from thinkseg.errors import ModelError

DESCRIPTION = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    "adapter_config.json",
    "thinkseg.json",
    "thinkseg-prompts.yaml",
)
"""All files that may be read of a model besides its weights."""

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")

ANSWER_SECONDS = 5.0
"""How long the hub may take to answer the first request."""


def model_folder(name: str | Path, weights: bool = True) -> Path:
    """The folder of a model; files that the cache lacks are downloaded. weights: whether they are needed.

    A model in the cache is used as it is, without a connection. Raises ModelError if there is no such model.
    """
    if os.path.isdir(name):
        return Path(name)
    if os.path.lexists(name):
        raise ModelError(f"{name}: is not a folder; give the folder of a model, with its config.json")
    repository = str(name)
    if repository.count("/") != 1:
        raise ModelError(f"{name}: no such folder; a name on the hub has the form owner/model")
    patterns = [*DESCRIPTION, *WEIGHTS] if weights else list(DESCRIPTION)
    return _cached(repository, patterns, weights) or _downloaded(repository, patterns)


def is_complete(name: str) -> bool:
    """Returns whether a model is a local folder, or completely in the cache. Connects to nothing."""
    try:
        return os.path.isdir(name) or _cached(name, [*DESCRIPTION, *WEIGHTS], weights=True) is not None
    except ModelError:  # It has the name of neither.
        return False


def fetch(name: str, on_start: Callable[[int], None]) -> None:
    """Downloads what the cache lacks of a model. Of a download that was interrupted, complete files are kept.

    on_start: called with the number of bytes before they are downloaded; not called if nothing is missing.
    Raises ModelError if there is no such model, and if it cannot be reached or does not fit on the disk.
    """
    if _cached(name, [*DESCRIPTION, *WEIGHTS], weights=True):
        return
    needed = _missing_bytes(name)
    _check_space(name, needed)
    on_start(needed)
    _downloaded(name, [*DESCRIPTION, *WEIGHTS])
    if not is_complete(name):
        raise ModelError(f"{name}: the hub has no config.json or no weights in safetensors of it; choose another model")


def _missing_bytes(name: str) -> int:
    from huggingface_hub import snapshot_download

    with _reaching_the_hub(name), _without_download_bars():
        files = snapshot_download(name, allow_patterns=[*DESCRIPTION, *WEIGHTS], dry_run=True)
    return sum(file.file_size or 0 for file in files if file.will_download)


def _check_space(name: str, needed: int) -> None:
    """Raises ModelError if the disk of the cache has less than a number of bytes."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).absolute()
    free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free
    if needed > free:
        raise ModelError(
            f"{name}: needs {needed / 1e9:.1f} GB, and {cache} has {free / 1e9:.1f} GB free; free some space,"
            " or set HF_HOME to a folder on another disk"
        )


def _cached(name: str, patterns: list[str], weights: bool) -> Path | None:
    """The folder in the cache, unless a download of it was interrupted."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise ModelError(f"{name}: no such folder, and not a name on the hub; give owner/model") from None
    # Earlier versions of the hub's library do not record which files there are.
    complete = (folder / "config.json").exists() and (not weights or _has_weights(folder))
    return folder if complete else None


def _has_weights(folder: Path) -> bool:
    """Whether a folder has its weights: one file, or as many as the name of one of them says (-00001-of-00002)."""
    shards = [path.stem for path in folder.glob("model-*-of-*.safetensors")]
    complete = any(stem.rpartition("-")[2] == f"{len(shards):05}" for stem in shards)
    return complete or (folder / "model.safetensors").exists()


def _downloaded(name: str, patterns: list[str]) -> Path:
    """Downloads a model. Ctrl-C ends it within a part of a file, for which the hub's own threads would go on."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm

    stopped = threading.Event()

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            if stopped.is_set():
                raise KeyboardInterrupt
            shown: bool | None = super().update(n)
            return shown

    with _reaching_the_hub(name), ThreadPoolExecutor(1) as thread:
        download = thread.submit(snapshot_download, name, allow_patterns=patterns, tqdm_class=Bar)
        try:
            return Path(download.result())
        except KeyboardInterrupt:
            stopped.set()
            raise


@contextmanager
def _reaching_the_hub(name: str) -> Iterator[None]:
    """Explains errors of the hub, its HTTP library, the network and the disk as a ModelError."""
    from huggingface_hub import HfApi

    try:
        with quiet_libraries():
            # Asked once with a time limit first, because downloads repeat failed requests for minutes.
            HfApi().model_info(name, timeout=ANSWER_SECONDS)
            yield
    except Exception as error:
        raise ModelError(f"{name}: no such folder, and {_explanation(error)}") from error


def _explanation(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of the cache is full; free some space, or set HF_HOME to a folder on another disk"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and the cache has no complete copy; download it first, or give a local folder"
    if isinstance(error, GatedRepoError) or status == 403:
        return "the hub restricts access to this model; request access on its page, then set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return "the hub has no such public model; check the name, or set HF_TOKEN if it is private"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return (
        f"the hub ({endpoint}) cannot be reached ({type(error).__name__}); give a local folder, or download the model"
        " elsewhere and set HF_HUB_OFFLINE=1"
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences the logs of the hub and of `transformers`, whose warnings would surround the one line of an error."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_download_bars() -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hides the progress bars of `transformers`, for weights that are read or written."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
