"""Colors and positions of drawn pixels, and that other pixels do not change."""

import numpy as np
import pytest

from thinkseg.ops import draw

GREY = np.full((90, 120, 3), 128, np.uint8)


def block(y0, y1, x0, x1, shape=(90, 120)):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def differs(picture, frame=GREY):
    return (picture != frame).any(axis=2)


def test_tint_stays_on_the_mask_and_its_outline():
    mask = block(20, 60, 30, 80)
    picture = draw.overlay(GREY, mask[None])
    changed = differs(picture)
    assert changed[mask].all()
    assert not changed[~block(18, 62, 28, 82)].any()
    assert picture.dtype == np.uint8
    assert (GREY == 128).all()


def test_tint_is_the_share_asked_for():
    inner = draw.overlay(GREY, block(20, 60, 30, 80)[None], alpha=0.25)[40, 55]
    expected = 0.75 * 128 + 0.25 * np.array(draw.color_of(0))
    assert np.abs(inner - expected).max() <= 1


def test_outline_has_the_full_color():
    picture = draw.overlay(GREY, block(20, 60, 30, 80)[None], alpha=0)
    assert tuple(picture[20, 55]) == draw.color_of(0)
    assert tuple(picture[40, 30]) == draw.color_of(0)
    assert tuple(picture[40, 55]) == (128, 128, 128)


def test_holes_stay_clear():
    mask = block(20, 60, 30, 80)
    mask[35:45, 50:60] = False
    assert not differs(draw.overlay(GREY, mask[None]))[37:43, 52:58].any()


def test_each_object_has_its_own_color():
    picture = draw.overlay(GREY, np.stack([block(0, 40, 0, 50), block(50, 90, 60, 120)]), alpha=1)
    assert tuple(picture[20, 20]) == draw.color_of(0)
    assert tuple(picture[70, 90]) == draw.color_of(1)
    assert len(set(draw.PALETTE)) == len(draw.PALETTE)
    assert draw.color_of(len(draw.PALETTE)) == draw.color_of(0)


def test_nothing_to_draw_gives_an_equal_copy():
    picture = draw.overlay(GREY, np.zeros((2, 90, 120), bool), np.zeros((0, 4), np.float32))
    assert np.array_equal(picture, GREY)
    assert not np.shares_memory(picture, GREY)
    assert np.array_equal(draw.overlay(GREY, np.zeros((0, 90, 120), bool)), GREY)


def test_a_box_is_drawn_along_its_edges():
    picture = draw.overlay(GREY, np.zeros((0, 90, 120), bool), np.array([[20, 30, 80, 70]], np.float32))
    color = draw.color_of(0)
    assert tuple(picture[50, 20]) == tuple(picture[50, 79]) == tuple(picture[30, 50]) == tuple(picture[69, 50]) == color
    assert not differs(picture)[40:60, 30:70].any()


@pytest.mark.parametrize("box", [[-50, -50, 500, 500], [119, 89, 120, 90], [200, 200, 300, 300], [5, 5, 5, 5]])
def test_boxes_at_and_beyond_the_edge_are_drawn_within(box):
    picture = draw.overlay(GREY, np.zeros((0, 90, 120), bool), np.array([box], np.float32))
    assert picture.shape == GREY.shape
    assert differs(picture).any()


@pytest.mark.parametrize("corner", [(0, 0), (60, 80), (119, 89)])
def test_labels_stay_inside_the_picture(corner):
    x, y = corner
    mask = block(y, 90, x, 120)
    plain = draw.overlay(GREY, mask[None])
    named = draw.overlay(GREY, mask[None], labels=["star"])
    ys, xs = np.nonzero(differs(named, plain))
    assert len(ys) > 50
    assert tuple(draw.color_of(0)) in {tuple(pixel) for pixel in named[ys, xs]}


def test_a_label_needs_its_object_to_be_seen():
    unseen = np.zeros((1, 90, 120), bool)
    assert np.array_equal(draw.overlay(GREY, unseen, labels=["gone"]), GREY)


def test_overlay_masks_of_other_size_raise():
    with pytest.raises(ValueError, match=r"masks must have the shape \(N, 90, 120\)"):
        draw.overlay(GREY, np.zeros((1, 120, 90), bool))


def test_read_only_frames_and_any_memory_order_will_do():
    frame = np.asfortranarray(GREY)
    frame.flags.writeable = False
    masks = np.asfortranarray(np.stack([block(20, 60, 30, 80)]))
    assert np.array_equal(draw.overlay(frame, masks), draw.overlay(GREY, masks))


def colors_of(picture):
    return {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


def test_strip_frames_the_keyframe_and_only_it():
    frames = [GREY] * 4
    plain = draw.film_strip(frames, list("abcd"), width=600)
    lit = draw.film_strip(frames, list("abcd"), highlight=1, width=600)
    assert plain.shape == lit.shape
    assert draw.ACCENT not in colors_of(plain)
    columns = np.flatnonzero((lit == draw.ACCENT).all(axis=2).any(axis=0))
    assert lit.shape[1] * 0.2 < columns.min() < columns.max() < lit.shape[1] * 0.52


def test_strip_draws_boxes_on_the_keyframe_and_masks_below():
    frames, box = [GREY] * 3, np.array([[20, 20, 100, 70]], np.float32)
    masks = [np.stack([block(20, 70, 20, 100)])] * 3
    bare = draw.film_strip(frames, list("abc"), highlight=2, width=600)
    boxed = draw.film_strip(frames, list("abc"), highlight=2, boxes=box, width=600)
    full = draw.film_strip(frames, list("abc"), highlight=2, boxes=box, masks=masks, width=600)
    changed = differs(boxed, bare)
    assert changed.any()
    assert np.flatnonzero(changed.any(axis=0)).min() > boxed.shape[1] * 0.6
    assert full.shape[0] > boxed.shape[0] + 90
    assert draw.color_of(0) in colors_of(full[boxed.shape[0] :])


def test_strip_grows_with_its_text():
    heights = [
        draw.film_strip([GREY] * 3, list("abc"), title=title, thinking=thinking, width=600).shape[0]
        for title, thinking in [("", ""), ("a title", ""), ("a title", "short"), ("a title", "long words " * 60)]
    ]
    assert heights == sorted(set(heights))


def test_words_without_end_are_broken_to_the_width():
    strip = draw.film_strip([GREY], ["a"], thinking="x" * 3000 + "\n\ny", width=600)
    assert strip.shape[1] < 700
    margin = strip[:, -10:]
    assert (margin == draw.PAPER).all()


def test_strip_of_many_frames_keeps_its_width():
    strip = draw.film_strip([GREY] * 16, [str(i) for i in range(16)], width=1600)
    assert 1400 < strip.shape[1] <= 1650


@pytest.mark.parametrize(("frames", "labels", "masks"), [([], [], None), ([GREY], [], None), ([GREY], ["a"], [])])
def test_strip_needs_as_many_of_each(frames, labels, masks):
    with pytest.raises(ValueError, match="at least one frame"):
        draw.film_strip(frames, labels, masks=masks)


def test_object_colors_differ_from_what_they_cover_and_stay():
    frame = np.full((90, 120, 3), draw.PALETTE[2], np.uint8)
    masks, hidden = np.stack([block(0, 40, 0, 50), block(50, 90, 60, 120)]), np.zeros((2, 90, 120), bool)
    colors = draw.ObjectColors(2)
    assert colors.of(frame, hidden) == [draw.color_of(0), draw.color_of(1)]
    first, second = colors.of(frame, masks)
    assert len({first, second, draw.PALETTE[2]}) == 3
    assert colors.of(GREY, masks) == [first, second]
    assert np.abs(np.subtract(first, draw.PALETTE[2])).max() > 100


def test_object_colors_more_objects_than_colors_repeat_evenly():
    count = 2 * len(draw.PALETTE)
    colors = draw.ObjectColors(count).of(GREY, np.ones((count, 90, 120), bool))
    assert sorted(colors) == sorted(2 * draw.PALETTE)


def test_overlay_takes_colors():
    picture = draw.overlay(GREY, block(20, 60, 30, 80)[None], alpha=1, colors=[(1, 2, 3)])
    assert picture[40, 50].tolist() == [1, 2, 3]


@pytest.mark.parametrize("level", [0, 90, 160, 255])
def test_ruled_grid_is_visible_on_any_level(level: int) -> None:
    picture = draw.ruled(np.full((240, 480, 3), level, np.uint8)).astype(int)
    zoom, margin = 2, (picture.shape[1] - 960) // 2
    inside = picture[margin:-margin, margin:-margin]
    assert inside.shape == (480, 960, 3)
    assert abs(inside[5, 100 * zoom, 0] - level) >= 45
    assert (inside[5, 101 * zoom] == level).all()


def test_ruled_large_frame_keeps_its_pixels() -> None:
    picture = draw.ruled(np.zeros((30, 2000, 3), np.uint8))
    assert picture.shape[1] - 2000 == picture.shape[0] - 30
