"""Many questions in Python: what is decoded once, what is yielded, and what an unreadable video does."""

import pytest

from thinkseg.data.readers.video_window import Window
from thinkseg.errors import SettingsError, VideoError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.video import write_video
from thinkseg.report.result import Result
from thinkseg.segmenter import Segmenter
from thinkseg.segmenter.many import Clip, answer_clips
from thinkseg.types import View

VIEW = View(num_frames=3, frame_wh=(8, 6))
FOUND = '<think>grey</think><answer>{"keyframe_timestamp": 1.0, "bbox_2d_list": [[1, 2, 4, 5]]}</answer>'


@pytest.fixture
def segmenter(box_tracker):
    return Segmenter(ScriptedPolicy(lambda dialogue: FOUND, view=VIEW), box_tracker)


def test_segment_many_asks_each_query_about_each_video(segmenter, film):
    films = [film(21), film(11)]
    results = list(segmenter.segment_many(films, ["the grey one", "the  other"]))
    assert [(type(one), len(one), one.sample.query) for one in results] == [
        *((Result, 21, "the grey one"), (Result, 21, "the other")),
        *((Result, 11, "the grey one"), (Result, 11, "the other")),
    ]
    assert [len(one.reads) for one in films] == [21, 11]


def test_segment_many_takes_a_folder_of_videos(segmenter, film, tmp_path):
    for name in ("b", "a"):
        write_video(tmp_path / f"{name}.mp4", film(21, (16, 16)), 10.0)
    assert [one.sample.id for one in segmenter.segment_many(tmp_path, "it")] == ["a", "b"]


def test_segment_many_skips_videos_that_cannot_be_used(segmenter, film, tmp_path):
    videos, errors = [film(21), tmp_path / "nowhere.mp4", film(11)], []
    found = segmenter.segment_many(videos, "it", on_error=lambda video, error: errors.append((video, error)))
    assert [len(one) for one in found] == [21, 11]
    assert [(video, type(error)) for video, error in errors] == [(videos[1], VideoError)]
    with pytest.raises(VideoError, match=r"nowhere.mp4"):
        list(segmenter.segment_many(videos, "it"))


def test_segment_many_uses_a_window_of_each_video(segmenter, film):
    (result,) = segmenter.segment_many([film(21)], "it", window=Window(start=0.5, end=2.0, stride=5))
    assert (len(result), result.answer.keyframe) == (3, 2)
    assert "keyframe 15 (1.50 s)" in repr(result)
    again = segmenter(film(21), "it", window=Window(start=0.5, end=2.0, stride=5))
    assert again.answer.keyframe == 2


def test_segment_many_invalid_query_raises_at_once(segmenter, film):
    with pytest.raises(SettingsError, match=r"fps: -1.0 is not a frame rate"):
        segmenter.segment_many([film(21)], "it", fps=-1.0)
    with pytest.raises(SettingsError, match="the query is empty"):
        segmenter.segment_many([film(21)], ["it", " "])


def test_answer_clips_a_frame_that_fails_later_fails_the_rest_of_its_clip(film):
    def ask(samples, times):
        yield samples[0].query
        if len(samples[0].video) == 2:
            raise VideoError("frame 1 cannot be decoded")
        yield samples[1].query

    clips = [Clip(lambda: film(2), ["a", "b", "c"]), Clip(lambda: film(3), ["d", "e"])]
    answers = list(answer_clips(clips, ask))
    assert [str(one) for one in answers] == ["a", *["frame 1 cannot be decoded"] * 2, "d", "e"]
