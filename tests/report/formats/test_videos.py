from dataclasses import replace

import av
import numpy as np
import pytest

from thinkseg.ops import draw
from thinkseg.ops.masks import from_stacks
from thinkseg.ops.video import ArrayFrames, open_video
from thinkseg.report.formats.videos import MARGIN, cut_out, overlaid
from thinkseg.types import VideoSample


@pytest.fixture
def colored(result):
    """Two frames of 96x80 with an object in the palette's first color, and one that is hidden in the first frame."""
    frames, masks = np.full((2, 80, 96, 3), 40, np.uint8), np.zeros((2, 2, 80, 96), bool)
    masks[0, :, 20:60, 10:40], masks[1, 1, 20:60, 60:90] = True, True
    frames[masks.any(axis=0)] = draw.PALETTE[0]
    sample = VideoSample("clip", ArrayFrames(frames, fps=10.0), "it")
    return replace(result, sample=sample, masklets=from_stacks(masks))


def rgba(path):
    """The frames of a file with transparency."""
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(path)) as container:
        packets = list(container.demux(container.streams.video[0]))
        return [frame.to_ndarray(format="rgba") for packet in packets for frame in decoder.decode(packet)]


def test_overlaid_objects_are_numbered_in_colors_unlike_what_they_cover(colored):
    colors = draw.ObjectColors(2)
    images = [
        overlaid(colored, number, colored.sample.video[number], colored.masklets.masks(number), colors)
        for number in range(2)
    ]
    for image in images:
        difference = np.abs(image[40, 20].astype(int) - draw.PALETTE[0])
        assert difference.max() > 50
    assert (images[0][40, 20] == images[1][40, 20]).all()
    assert (images[1][40, 20] != images[1][40, 75]).any()
    # A tag above the object has its number.
    assert (images[1][5:18, 60:72] != 40).any()


def test_cutout_is_opaque_inside_the_masks_alone(write, colored):
    path = write(colored, "cutout")
    frames = rgba(path)
    assert len(frames) == 2
    for number, frame in enumerate(frames):
        assert ((frame[..., 3] > 127) == colored.masklets.union(number)).all()
    assert np.abs(frames[0][30:50, 20:30, :3].astype(int) - draw.PALETTE[0]).mean() < 8
    # On white, as this package shows transparency.
    assert open_video(path)[0][5, 90].tolist() == [255, 255, 255]


def test_cut_out_keeps_no_color_far_from_the_object():
    mask = np.zeros((40, 40), bool)
    mask[:5, :5] = True
    cut = cut_out(np.full((40, 40, 3), 99, np.uint8), mask)
    assert (cut[..., 3] == 255 * mask).all()
    assert cut[4 + MARGIN, 4].tolist() == [99, 99, 99, 0]
    assert not cut[5 + MARGIN :].any()
