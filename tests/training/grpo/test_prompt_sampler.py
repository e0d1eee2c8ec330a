import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thinkseg.data import open_benchmark, shapes
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.errors import DatasetError
from thinkseg.selection.files import write_selection
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import PromptSource


def test_prompt_dataset_shapes_starts_at_clip_offset() -> None:
    prompts = PromptDataset([PromptSource(name="shapes", clip_offset=1_000)], num_frames=4, seed=0)
    for number in (0, 7, 123_456):
        prompt = prompts[number]
        assert prompt.sample.id == shapes.load("train", 1_000 + number).id
        assert len(prompt.frame_indices) == 4
        assert (prompt.frame_indices[0], prompt.frame_indices[-1]) == (0, len(prompt.sample.video) - 1)


def test_prompt_dataset_category_weights_set_frequencies() -> None:
    prompts = PromptDataset([PromptSource(name="shapes", category_weights={"none": 8.0})], num_frames=4, seed=0)
    assert sum(prompts[number].sample.category == "none" for number in range(40)) > 28


@pytest.fixture(scope="module")
def revos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("revos")
    write_dataset(root, "val", range(6))
    return root


def test_prompt_dataset_each_epoch_has_new_order(revos: Path) -> None:
    prompts = PromptDataset([PromptSource(name="revos", root=str(revos), split="valid")], num_frames=3, seed=1)
    rounds = [[prompts[number].sample.id for number in range(start, start + 6)] for start in (0, 6, 12)]
    assert all(sorted(one) == sorted(rounds[0]) and len(set(one)) == 6 for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    again = PromptDataset([PromptSource(name="revos", root=str(revos), split="valid")], num_frames=3, seed=1)
    assert [again[number].sample.id for number in (14, 3)] == [rounds[2][2], rounds[0][3]]
    other = PromptDataset([PromptSource(name="revos", root=str(revos), split="valid")], num_frames=3, seed=2)
    assert [other[number].sample.id for number in range(6)] != rounds[0]


def test_prompt_dataset_selection_alone_is_prompted_and_fingerprinted(revos: Path, tmp_path: Path) -> None:
    chosen = [one.key for one in open_benchmark("revos", revos).expressions[:2]]
    write_selection(open_benchmark("revos", revos), chosen, {}, tmp_path / "select.json")
    whole = PromptSource(name="revos", root=str(revos), split="valid")
    part = PromptDataset([whole.model_copy(update={"select": str(tmp_path / "select.json")})], num_frames=3, seed=0)
    assert sorted(part[number].sample.id for number in range(2)) == sorted(chosen)
    assert part.fingerprint() != PromptDataset([whole], num_frames=3, seed=0).fingerprint()


def test_prompt_source_selection_of_shapes_raises() -> None:
    with pytest.raises(ValueError, match="`select` is for benchmarks with files"):
        PromptSource(name="shapes", select="select.json")


def test_prompt_dataset_two_sources_are_shuffled_together(revos: Path) -> None:
    twice = PromptDataset([PromptSource(name="revos", root=str(revos), split="valid")] * 2, num_frames=3, seed=0)
    found = [twice[number].sample.id for number in range(12)]
    assert sorted(found) == sorted(2 * sorted(set(found)))


def test_prompt_dataset_frames_have_ground_truth(revos: Path) -> None:
    prompts = PromptDataset([PromptSource(name="revos", root=str(revos), split="valid")], num_frames=3, seed=0)
    prompt = prompts[0]
    assert prompt.sample.truth is not None
    assert len(prompt.frame_indices) == 3
    assert prompt.areas.keys() == set(prompt.frame_indices)


@pytest.mark.parametrize("source", ["shapes", "revos"])
def test_prompt_dataset_repeated_reads_decode_once(source: str, revos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = PromptDataset(
        [
            PromptSource(name=source)
            if source == "shapes"
            else PromptSource(name=source, root=str(revos), split="valid")
        ],
        3,
        0,
    )[0]
    video = prompt.sample.video
    decoded: list[int] = []
    inner = video._inner  # type: ignore[attr-defined]
    read = type(inner).read

    def counted(self: Any, indices: Sequence[int]) -> Any:
        decoded.extend(indices)
        return read(self, indices)

    monkeypatch.setattr(type(inner), "read", counted)
    first = list(video.read(prompt.frame_indices))
    again = [video[frame] for frame in reversed(prompt.frame_indices)][::-1]
    assert decoded == list(prompt.frame_indices)
    for one, other, frame in zip(first, again, prompt.frame_indices, strict=True):
        assert one is other
        assert np.array_equal(one, inner[frame])
        assert video.time_of(frame) == inner.time_of(frame)


def test_prompt_dataset_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        PromptDataset([PromptSource(name="revos", root=str(tmp_path / "nowhere"), split="valid")], 3, 0)


def test_prompt_dataset_fingerprint_changes_with_data(revos: Path, tmp_path: Path) -> None:
    def fingerprint(root: Path) -> dict[str, str]:
        sources = [PromptSource(name="revos", root=str(folder), split="valid") for folder in (revos, root)]
        return PromptDataset(sources, num_frames=3, seed=0).fingerprint()

    shutil.copytree(revos, tmp_path / "copy")
    before = fingerprint(revos)
    assert fingerprint(tmp_path / "copy") == before
    masks = tmp_path / "copy" / "mask_dict.json"
    masks.write_text(masks.read_text() + " ")
    assert [fingerprint(tmp_path / "copy")[name] == value for name, value in before.items()] == [True, False]
    assert PromptDataset([PromptSource(name="shapes")], num_frames=3, seed=0).fingerprint() == {}
