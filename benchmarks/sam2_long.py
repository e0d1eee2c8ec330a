"""Memory of SAM 2 on long videos: `python benchmarks/sam2_long.py --frames 500 20000`.

Writes one video at 720p per length, and tracks two boxes from its middle to both ends in a process of its own, with the
small SAM 2 of the tests and without a feature cache, as `thinkseg segment` does. Prints the peak memory of each
process, its memory before the first frame, the seconds per frame, and the time to read a mask at a random frame. Ends
with one JSON line, which contains the memory over time. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from thinkseg.cli.parsers import count

WIDTH, HEIGHT, FPS = 1280, 720, 25.0

CLIP = 500
"""Frames that are encoded. Longer videos repeat them: encoding two hours would take as long as tracking them."""

POINTS = 200
"""Measurements of memory, in equal steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    lengths = f"lengths, multiples of {CLIP} (default: 500 20000)"
    parser.add_argument("--frames", type=count, nargs="+", default=[500, 20000], help=lengths)
    parser.add_argument("--boxes", type=int, choices=(1, 2), default=2, help="objects to track (default: 2)")
    parser.add_argument("--track", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.track:
        print(json.dumps(track(arguments.track, arguments.boxes)))
        return
    rows = []
    for num_frames in arguments.frames:
        if num_frames % CLIP:
            parser.error(f"--frames {num_frames} is not a multiple of {CLIP}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.mp4"
            write(path, num_frames)
            command = [sys.executable, __file__, "--track", str(path), "--boxes", str(arguments.boxes)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("{frames:,} frames: {peak_mb:.0f} MB peak, {start_mb:.0f} MB before the first frame".format(**rows[-1]))
        print("    {frame_s:.4f} s per frame, {mask_ms:.1f} ms to read a mask".format(**rows[-1]))
    print(json.dumps({"lengths": rows, "ratio": rows[-1]["peak_mb"] / rows[0]["peak_mb"]}))


def write(path: Path, num_frames: int) -> None:
    """Writes a video of large colored squares that drift."""
    from thinkseg.ops.video import write_video

    squares = np.random.default_rng(0).integers(0, 256, (9, 16, 3))
    image = np.kron(squares, np.ones((80, 80, 1))).astype(np.uint8)

    def frames() -> Iterator[np.ndarray]:
        for index in range(CLIP):
            yield np.roll(image, (index % HEIGHT, 2 * index % WIDTH), (0, 1))

    clip = path.with_name("clip.mp4")
    write_video(clip, frames(), FPS)
    repeat(clip, path, num_frames // CLIP)


def repeat(clip: Path, path: Path, times: int) -> None:
    """Writes a video that repeats a clip, without encoding it again."""
    import av

    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        coded = source.streams.video[0]
        stream = target.add_stream_from_template(coded)
        assert coded.time_base is not None  # `write_video` sets it
        length = round(CLIP / (FPS * coded.time_base))
        for turn in range(times):
            source.seek(0)
            for packet in source.demux(coded):
                if packet.pts is not None and packet.dts is not None:
                    packet.pts += turn * length
                    packet.dts += turn * length
                    packet.stream = stream
                    target.mux(packet)


def track(path: Path, num_boxes: int) -> dict[str, object]:
    """Tracks the video at `path` in this process, and returns time and memory."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
    import torch

    from thinkseg.models.trackers.sam2 import Sam2Tracker
    from thinkseg.ops.video import open_video
    from tinytrackers import create_sam2

    torch.set_num_threads(1)
    video = open_video(path)
    boxes = np.array([[200, 100, 500, 400], [600, 300, 1000, 700]], np.float32)[:num_boxes]
    tracker = Sam2Tracker(create_sam2(), feature_cache_bytes=0)
    held: list[tuple[int, float]] = []

    def record(done: int, total: int) -> None:
        if done * POINTS // total > (done - 1) * POINTS // total:
            held.append((done, memory_mb("VmRSS")))
            print(f"{done}/{total}: {held[-1][1]:.0f} MB", file=sys.stderr, flush=True)

    start = memory_mb("VmHWM")
    started = time.process_time()
    masklets = tracker.track(video, len(video) // 2, boxes, record)
    tracked = time.process_time()
    sampled = np.random.default_rng(1).integers(0, len(video), 50)
    visible = sum(int(masklets.mask(int(frame), 0).any()) for frame in sampled)
    read = time.process_time()
    return {
        "frames": len(video),
        "boxes": num_boxes,
        "start_mb": start,
        "peak_mb": memory_mb("VmHWM"),
        "frame_s": (tracked - started) / len(video),
        "mask_ms": 1000 * (read - tracked) / len(sampled),
        "visible": visible / len(sampled),
        "held_mb": held,
    }


def memory_mb(field: str) -> float:
    """Memory of this process in MB, now ("VmRSS") or at its peak ("VmHWM")."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) / 1024


if __name__ == "__main__":
    main()
