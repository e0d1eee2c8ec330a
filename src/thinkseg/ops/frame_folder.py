"""Folders of image files as videos: which files are frames, in which order, and how frames are named.

`frame_files` lists the frames of a folder, or says what makes the list ambiguous. `FrameFolder` reads them.
`frame_names` names the files that are written per frame.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np

from thinkseg.errors import VideoError
from thinkseg.ops.pictures import SUFFIXES, is_image, picture_size, read_picture
from thinkseg.types import Frames, part_of

_UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jxl", ".exr", ".hdr", ".dpx", ".psd", ".svg", ".ico", ".tga", ".jpx", ".j2k"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Suffixes of images that are not read, in lower case."""

_VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".3gp", ".ogv", ".mxf", ".y4m", ".h264", ".hevc"),
)


class FrameFolder:
    """Image files as a video without times, in the given order. Implements `thinkseg.types.Frames`.

    path: of the folder, or of the single image; None for files that were listed.
    Files are read when their frames are, except for the header of the first one.
    Raises VideoError without files, and for an unreadable file or one of another size than the first.
    """

    fps: float | None = None

    def __init__(self, paths: Sequence[str | Path], name: str | None = None, path: Path | None = None) -> None:
        if not paths:
            raise VideoError("a folder of frames needs at least one image")
        self.path = path
        self.paths = tuple(Path(path) for path in paths)
        self.name = self.paths[0].parent.name if name is None else name
        self.size_wh = picture_size(self.paths[0])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        path = self.paths[checked_index(index, len(self))]
        image = read_picture(path)
        self.check_size(path, (image.shape[1], image.shape[0]))
        return image

    @property
    def file_names(self) -> tuple[str, ...]:
        """The name of each frame's file."""
        return tuple(path.name for path in self.paths)

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        checked_index(index, len(self))
        return None

    def check_sizes(self) -> None:
        """Reads all headers: an image of another size is reported now, not in the middle of the work."""
        for path in self.paths:
            self.check_size(path, picture_size(path))

    def check_size(self, path: Path, size_wh: tuple[int, int]) -> None:
        """Raises VideoError if an image has another size than this video."""
        if size_wh != self.size_wh:
            found, expected = "{}x{}".format(*size_wh), "{}x{}".format(*self.size_wh)
            raise VideoError(f"{path} is {found}, but {self.paths[0].name} is {expected}; give frames of one size")


def open_folder(folder: Path) -> FrameFolder:
    """Opens the frames of a folder. Raises VideoError as `frame_files`, and for images of different sizes."""
    video = FrameFolder(frame_files(folder), folder.name, folder)
    video.check_sizes()
    return video


def frame_files(folder: Path) -> list[Path]:
    """Returns the images in a folder in natural order (2.jpg before 10.jpg), skipping hidden files and other files.

    Raises VideoError if the folder cannot be listed or has no image, and where it is unclear which files are frames:
    next to images that cannot be read, to videos, or to images of the same name or number.
    """
    files, subfolders = _entries(folder)
    images = [path for path in files if is_image(path.name)]
    _check_others(folder, files)
    if not images:
        inside = f" itself, only the folders {_few(subfolders)}; give one of them" if subfolders else ""
        raise VideoError(f"folder {folder} has no frames{inside or f'; put {_few(SUFFIXES, 5)} files in it'}")
    _check_images(folder, images)
    return images


def video_files(folder: Path) -> list[Path]:
    """Returns the video files in a folder in natural order, skipping hidden files and other files; [] if it has none.

    Raises VideoError if the folder cannot be listed, or has images as well.
    """
    files, _ = _entries(folder)
    _check_unmixed(folder, files)
    return [path for path in files if _is_video(path)]


def frame_names(video: Frames) -> tuple[str, ...]:
    """Returns the name, without suffix, of what is written for each frame of a video: unique, and in order.

    A frame of a folder has the name of its file; others have their index in the source, with at least five digits.
    """
    names = tuple(PurePath(name).stem for name in _file_names(video))
    if names and len(set(names)) == len(names):
        return names
    part = part_of(video)
    digits = max(5, len(str(part.num_frames - 1)))
    return tuple(f"{index:0{digits}d}" for index in part.indices)


def image_names(video: Frames) -> tuple[str, ...]:
    """Returns the file names of a video's frames as images: those it has, else those of `frame_names` with .jpg."""
    return _file_names(video) or tuple(f"{name}.jpg" for name in frame_names(video))


def _file_names(video: Frames) -> tuple[str, ...]:
    """The names of the files of frames, with suffixes; () for frames without files."""
    return getattr(video, "file_names", None) or ()


def checked_index(index: int, length: int) -> int:
    """Returns the index of a frame as an int. Raises IndexError outside 0..length-1."""
    index = operator.index(index)
    if not 0 <= index < length:
        raise IndexError(f"frame {index} is not in the video; give an index from 0 to {length - 1}")
    return index


def _entries(folder: Path) -> tuple[list[Path], list[str]]:
    """Returns the files of a folder in natural order, and the names of its subfolders; hidden files are skipped."""
    try:
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        subfolders = sorted(path.name for path in files if path.is_dir())
    except OSError as error:
        raise VideoError(f"folder {folder} cannot be listed: {error.strerror}; check its permissions") from None
    return sorted((path for path in files if path.name not in subfolders), key=_natural_order), subfolders


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEO_SUFFIXES


def _check_unmixed(folder: Path, files: Sequence[Path]) -> None:
    """Raises VideoError for videos among images."""
    videos = [path.name for path in files if _is_video(path)]
    if videos and any(is_image(path.name) for path in files):
        raise VideoError(
            f"folder {folder} holds images and videos ({_few(videos)}); give one video, or move the videos"
        )


def _check_others(folder: Path, files: Sequence[Path]) -> None:
    """Raises VideoError for videos and for images that are not read."""
    _check_unmixed(folder, files)
    if videos := [path.name for path in files if _is_video(path)]:
        raise VideoError(f"folder {folder} holds videos ({_few(videos)}), not frames; give one of them")
    if unread := [path.name for path in files if path.suffix.lower() in _UNREAD_SUFFIXES]:
        raise VideoError(f"folder {folder}: images of this type are not read ({_few(unread)}); convert them to .png")


def _check_images(folder: Path, images: Sequence[Path]) -> None:
    """Raises VideoError unless all images are files, and those of one series of frames."""
    if broken := [path.name for path in images if not path.is_file()]:
        raise VideoError(f"folder {folder}: not a file, or a broken link ({_few(broken)}); replace or remove it")
    if pair := _first_pair(images, _folded_stem):
        raise VideoError(f"folder {folder}: {pair} differ only in suffix or case; keep one file per frame")
    if pair := _first_pair(images, _numbers):
        raise VideoError(f"folder {folder}: {pair} have the same number; keep one series of frames in the folder")


def _first_pair(images: Sequence[Path], key_of: Callable[[Path], Hashable]) -> str:
    """Returns the names of the first two images with the same key; "" if there are none. A key of () is unique."""
    found: dict[Hashable, Path] = {}
    for path in images:
        if (key := key_of(path)) != () and (other := found.setdefault(key, path)) is not path:
            return f"{other.name} and {path.name}"
    return ""


def _folded_stem(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem).casefold()


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall("[0-9]+", path.stem))


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Returns a sort key that compares numbers in names by value, and names if these are equal (1.jpg, 01.jpg)."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.stem.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
