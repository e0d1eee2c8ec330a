import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from thinkseg.data import shapes
from thinkseg.data.shapes import CATEGORIES, SPLITS, Episode, episode, load
from thinkseg.data.shapes import episodes as module
from thinkseg.data.shapes.episodes import CATEGORY_WEIGHTS, SCENARIOS
from thinkseg.data.shapes.simulation import TRAINING_PATHS, UNSEEN_PATHS
from thinkseg.data.shapes.wordings import UNSEEN_WORDINGS, WORDINGS
from thinkseg.errors import DatasetError
from thinkseg.types import VideoSample


def digest(sample: VideoSample) -> str:
    """Hash of query, frames and masks."""
    said = hashlib.sha256(f"{sample.id} {sample.query} {sample.category}".encode())
    for frame in sample.video.read(range(0, len(sample.video), 7)):
        said.update(frame.tobytes())
    assert sample.truth is not None
    said.update(str(sample.truth.rles).encode())
    return said.hexdigest()


def state(one: Episode) -> tuple:
    clip = one.clip
    return (
        one.id,
        one.questions,
        one.texts,
        clip.colors,
        clip.shapes,
        clip.appearance_seed,
        clip.xy.tobytes(),
        clip.radius.tobytes(),
    )


@pytest.mark.parametrize("split", SPLITS)
def test_load_same_split_and_index_is_equal(split: str) -> None:
    assert digest(load(split, 5, (56, 56))) == digest(load(split, 5, (56, 56)))
    assert digest(load(split, 5, (56, 56))) != digest(load(split, 6, (56, 56)))


def test_load_other_process_is_equal() -> None:
    """Another process has another string hash seed and an empty random state."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_episodes import digest, load\n"
        "print(digest(load('val', 11, (56, 56))))"
    )
    for index in range(3):
        load("val", index, (56, 56))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == digest(load("val", 11, (56, 56)))


def test_episode_clips_are_all_different() -> None:
    """In all splits: neither clips nor backgrounds repeat."""
    clips = [episode(split, index).clip for split in SPLITS for index in range(60)]
    assert len({clip.appearance_seed for clip in clips}) == len(clips)
    assert len({clip.xy.tobytes() for clip in clips}) == len(clips)


def test_episode_num_questions_keeps_clip_and_first_question() -> None:
    for index in range(20):
        alone, many = episode("train", index), episode("train", index, 6)
        assert state(alone)[3:] == state(many)[3:]
        assert many.questions[0] == alone.questions[0]
        assert len(alone.questions) == len(alone.texts) == 1
        assert 1 < len(many.questions) <= 6
        assert len(set(many.questions)) == len(many.questions) == len(many.texts)


def test_episode_zero_weight_excludes_category() -> None:
    shares = CATEGORY_WEIGHTS | dict.fromkeys(("motion", "time", "cause"), 0)
    clips = [episode("train", index, 5, shares) for index in range(30)]
    assert {q.category for one in clips for q in one.questions} == set(CATEGORIES) - {"motion", "time", "cause"}
    alone = episode("train", 0, 6, dict.fromkeys(CATEGORIES, 0) | {"none": 1})
    assert {q.category for q in alone.questions} == {"none"}


def test_episode_texts_are_unique() -> None:
    for index in range(40):
        one = episode("train", index, 8)
        assert len(set(one.texts)) == len(one.texts)


def test_episode_categories_follow_weights() -> None:
    count = 1000
    assert sum(CATEGORY_WEIGHTS.values()) == pytest.approx(1)
    assert CATEGORY_WEIGHTS.keys() == SCENARIOS.keys() == set(CATEGORIES)
    found = Counter(episode("val", index).questions[0].category for index in range(count))
    for category, share in CATEGORY_WEIGHTS.items():
        assert abs(found[category] / count - share) < 4 * np.sqrt(share * (1 - share) / count)
    assert found["none"] / count == pytest.approx(0.08, abs=0.03)


def possible(table: dict[str, tuple[str, ...]], one: Episode) -> bool:
    return all(
        text in {wording.format(**dict(question.slots)) for wording in table[question.kind]}
        for question, text in zip(one.questions, one.texts, strict=True)
    )


def test_episode_zeroshot_has_own_wordings_and_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[tuple[str, ...]] = []
    simulate = module.simulate

    def watching(rng: np.random.Generator, scenario: str, ways: tuple[str, ...]) -> shapes.Episode:
        paths.append(ways)
        return simulate(rng, scenario, ways)

    monkeypatch.setattr(module, "simulate", watching)
    for split in SPLITS:
        paths.clear()
        clips = [episode(split, index, 3) for index in range(25)]
        unseen = split == "zeroshot"
        assert set(paths) == {UNSEEN_PATHS if unseen else TRAINING_PATHS}
        assert all(possible(UNSEEN_WORDINGS if unseen else WORDINGS, one) for one in clips)
        assert not any(possible(WORDINGS if unseen else UNSEEN_WORDINGS, one) for one in clips)
    assert not set(UNSEEN_PATHS) & set(TRAINING_PATHS)


def test_episode_all_wordings_occur() -> None:
    texts = {text for index in range(400) for text in episode("train", index, 6).texts}
    for kind, wordings in WORDINGS.items():
        for wording in wordings:
            start = wording.partition("{")[0]
            assert any(text.startswith(start) for text in texts), (kind, wording)


def test_load_matches_episode() -> None:
    for index in range(30):
        sample, one = load("val", index, (64, 48)), episode("val", index)
        assert sample.truth is not None
        assert (sample.id, sample.query, sample.category) == (one.id, one.texts[0], one.questions[0].category)
        assert sample.truth.num_objects == len(one.questions[0].targets)
        assert (sample.category == "none") == (sample.truth.num_objects == 0)
        assert sample.truth.num_frames == len(sample.video)
        assert sample.truth.size_wh == sample.video.size_wh == (64, 48)


def test_episode_id_has_split_and_index() -> None:
    assert episode("zeroshot", 12).id == load("zeroshot", 12, (28, 28)).id == "zeroshot-000012"


def test_load_large_index() -> None:
    """Training stages start ten million clips apart."""
    assert len(load("train", 30_000_005, (28, 28)).video) >= 24


@pytest.mark.parametrize(
    ("split", "index", "complaint"), [("test", 0, "unknown split 'test'"), ("val", -1, "invalid index -1")]
)
def test_load_invalid_split_or_index_raises(split: str, index: int, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        load(split, index)
