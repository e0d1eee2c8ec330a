"""The sound of a video file, for another file of the same video: copied, or as AAC if players expect no such codec."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from thinkseg.ops.videofile import open_container

_COPIED = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}
"""Codecs that players expect in MP4 files."""


class Sound:
    """The first audio track of a file, added to an open output as its track. Nothing happens without an audio track.

    start, end: the part of it, in seconds since the first frame of the video track. The start is at 0 in the output.
    """

    def __init__(self, source: Path, output: Any, start: float = 0.0, end: float = math.inf) -> None:
        self._begin, self._length = start, end - start
        self._input = open_container(source)
        self._output = output
        self._stream: Any = next(iter(self._input.streams.audio), None)
        self._packets: Iterator[tuple[float, Any]] = iter(())
        self._waiting: tuple[float, Any] | None = None
        if self._stream is None or self._stream.codec_context is None:
            return
        if self._stream.codec_context.codec.canonical_name in _COPIED:
            self._track = output.add_stream_from_template(self._stream)
            self._packets = self._copied()
        else:
            self._track = output.add_stream("aac", rate=self._stream.codec_context.sample_rate)
            self._packets = self._encoded()

    def write(self, until: float = math.inf) -> None:
        """Writes the packets up to a time in seconds."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = packet
            if packet[0] > until or packet[0] >= self._length:
                return
            self._output.mux(packet[1])
            self._waiting = None

    def close(self) -> None:
        self._input.close()

    def _start(self, unit: Any) -> int:
        """The time of the start, in units of a track."""
        video = self._input.streams.video[0]
        return round(((video.start_time or 0) * video.time_base + Fraction(self._begin)) / unit)

    def _copied(self) -> Iterator[tuple[float, Any]]:
        unit = self._stream.time_base
        start = self._start(unit)
        for packet in self._demuxed():
            if packet.pts is None or packet.dts is None or packet.pts + (packet.duration or 0) <= start:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, self._track
            yield float(packet.pts * unit), packet

    def _encoded(self) -> Iterator[tuple[float, Any]]:
        for frame in self._decoded():
            for packet in self._track.encode(frame):
                yield float(packet.pts * packet.time_base), packet
        for packet in self._track.encode(None):
            yield float(packet.pts * packet.time_base), packet

    def _decoded(self) -> Iterator[av.AudioFrame]:
        for packet in self._demuxed():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                start = self._start(frame.time_base)
                if frame.pts is not None and frame.pts >= start:
                    frame.pts -= start
                    yield frame

    def _demuxed(self) -> Iterator[Any]:
        """The packets up to the end, or up to where the file is damaged."""
        try:
            yield from (packet for packet in self._input.demux(self._stream) if packet.size)
        except av.FFmpegError:
            return
