"""Video files and folders of images, read as `thinkseg segment` reads them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

import cv2
from PIL import Image

from footage import CODINGS, clip, grainy
from fuzzing import WrongError, allowing
from mutation import mutated_bytes
from thinkseg.errors import VideoError
from thinkseg.ops.video import open_video

SKIPPED_CODINGS = {"h264 all keyframes", "hevc 10 bit"}
"""Codings whose encoder is slow, or whose files are like those of another one."""


class Videos:
    name = "videos"
    count = 10_000

    def prepare(self, folder: Path) -> None:
        cv2.setNumThreads(1)
        self.clips: list[tuple[str, bytes]] = []
        for coding in sorted(CODINGS.keys() - SKIPPED_CODINGS):
            path = clip(folder, coding, count=12)
            self.clips.append((path.suffix, path.read_bytes()))
        for suffix in (".png", ".jpg"):
            Image.fromarray(grainy(7)).save(folder / f"image{suffix}")
            self.clips.append((suffix, (folder / f"image{suffix}").read_bytes()))

    def run(self, rng: Random, folder: Path) -> None:
        suffix, data = rng.choice(self.clips)
        other = rng.choice(self.clips)[1]
        damaged = mutated_bytes(rng, data, other) if rng.random() < 0.9 else _resized(rng, data)
        path = folder / f"clip{rng.choice([suffix] * 9 + ['.mp4'])}"
        if suffix in (".png", ".jpg"):
            path = folder
            (folder / f"0{suffix}").write_bytes(data)
            (folder / f"1{suffix}").write_bytes(damaged)
            (folder / f"2{suffix}").write_bytes(rng.choice([data, damaged]))
        else:
            path.write_bytes(damaged)
        with allowing(VideoError):
            _read(path, rng)


def _resized(rng: Random, data: bytes) -> bytes:
    """Returns an image or a video of images with another size in its headers, and valid checksums."""
    width, height = (rng.choice([0, 1, 47, 65, 4000, 30_000, 60_000, 65_535]) for _ in range(2))
    jpeg_header = b"\xff\xc0\x00\x11\x08"
    if jpeg_header in data:
        start, *rest = data.split(jpeg_header)
        return start + b"".join(jpeg_header + struct.pack(">HH", height, width) + part[4:] for part in rest)
    if data.startswith(b"GIF"):
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    return mutated_bytes(rng, data)


def _read(path: Path, rng: Random) -> None:
    video = open_video(path)
    width, height = video.size_wh
    last = len(video) - 1
    for index in (0, last, *(rng.randint(0, last) for _ in range(3))):
        with allowing(VideoError):
            frame = video[index]
            if frame.shape != (height, width, 3) or frame.dtype != "uint8":
                raise WrongError(f"frame {index} is {frame.dtype} {frame.shape}, the video {video.size_wh}")
            video.time_of(index)
