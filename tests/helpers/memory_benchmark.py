"""Benchmarks of samples in memory."""

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.readers.issues import DatasetIssues


class MemoryFiles:
    """Frames and masks of samples (`Files`)."""

    def __init__(self, samples):
        self.samples = {sample.id: sample for sample in samples}

    def frame_paths(self, video):
        return ()

    def frames(self, video):
        return self.samples[video.id].video

    def track(self, video, obj, size_wh):
        return self.samples[video.id].truth.rles[int(obj)]

    def foreground(self, video, size_wh):
        return None

    def frame_fingerprint(self, video):
        return ""

    def mask_fingerprint(self, video, obj):
        return obj


def benchmark_of(samples):
    """Returns a benchmark with one expression per sample, whose key is the sample's id and "/0"; all frames count."""
    videos = {
        sample.id: Video(sample.id, tuple(f"{frame:05d}" for frame in range(len(sample.video)))) for sample in samples
    }
    files, expressions = MemoryFiles(samples), tuple(map(_expression, samples))
    return Benchmark("memory", "all", None, videos, expressions, files, DatasetIssues())


def _expression(sample):
    objects = None if sample.truth is None else tuple(map(str, range(sample.truth.num_objects)))
    scored = range(len(sample.video))
    return Expression(sample.id, "0", sample.query, sample.category, objects, scored, (f"{sample.id}/0",))
