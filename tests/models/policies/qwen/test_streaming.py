"""Replies of a local model while they are generated: texts, and leaving the work by an exception."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.layer_progress import layer_progress
from thinkseg.models.policies.qwen.live_texts import LiveTexts
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.types import Dialogue
from tinymodels import asked, picture


class CancelledError(Exception):
    pass


class Listener:
    """Lists what it receives, and raises an error when it has received so many of one kind."""

    def __init__(self, waits: int | None = None, texts: int | None = None) -> None:
        self.layers: list[tuple[int, int]] = []
        self.texts: dict[int, list[str]] = {}
        self._limits = waits, texts

    def waiting(self, done: int, total: int) -> None:
        self.layers.append((done, total))
        if len(self.layers) == self._limits[0]:
            raise CancelledError

    def text(self, index: int, text: str) -> None:
        self.texts.setdefault(index, []).append(text)
        if sum(map(len, self.texts.values())) == self._limits[1]:
            raise CancelledError


@pytest.fixture(params=["qwen2_5", "qwen3"])
def policy(request: Any) -> QwenPolicy:
    folder: Path = request.getfixturevalue(request.param)
    return QwenPolicy.load(folder, device="cpu", max_new_tokens=12, temperature=1.0)


@pytest.fixture
def dialogues(policy: QwenPolicy) -> list[Dialogue]:
    side = policy.size_multiple
    images = picture(0, (2 * side, 2 * side)), picture(1, (4 * side, side))
    return [
        (asked("Where?", list(images)),),
        (asked("?", [images[1]]),),
        (asked("When?", list(images)), "Now.", asked("?", [])),
    ]


def test_stream_equals_reply_and_ends_with_its_texts(policy: QwenPolicy, dialogues: list[Dialogue]) -> None:
    listener = Listener()
    replies = policy.stream(dialogues, None, listener)
    policy.clear()
    assert replies == policy.reply(dialogues)
    for index, reply in enumerate(replies):
        texts = listener.texts[index]
        assert len(texts) >= reply.num_tokens
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
        assert reply.text.startswith(texts[-1])
        assert len(reply.text) - len(texts[-1]) <= 3  # bytes of an incomplete character at the end


def test_stream_reports_layers_in_order(policy: QwenPolicy, dialogues: list[Dialogue]) -> None:
    listener = Listener()
    policy.stream(dialogues[:1], None, listener)
    done = [done for done, _ in listener.layers]
    (total,) = {total for _, total in listener.layers}
    linear = [module for module in policy.model.modules() if isinstance(module, torch.nn.Linear)]
    assert done == sorted(done)
    assert (done[0], done[-1], total) == (0, total - 1, len(linear))


@pytest.mark.parametrize("limits", [{"waits": 1}, {"waits": 9}, {"waits": 25}, {"texts": 1}, {"texts": 7}])
def test_stream_listener_raises_leaves_policy_usable(
    policy: QwenPolicy, dialogues: list[Dialogue], limits: dict[str, int]
) -> None:
    expected = policy.reply(dialogues)
    policy.clear()
    listener = Listener(**limits)
    with pytest.raises(CancelledError):
        policy.stream(dialogues, None, listener)
    assert len(listener.layers) == limits.get("waits", len(listener.layers))
    assert not any(module._forward_pre_hooks for module in policy.model.modules())
    policy.clear()
    assert policy.reply(dialogues) == expected


def test_layer_progress_without_callback_adds_no_hooks() -> None:
    model = torch.nn.Linear(2, 2)
    with layer_progress(model, None):
        assert not model._forward_pre_hooks


def heard(encoder: Encoder, token_ids: list[int]) -> list[str]:
    listener = Listener()
    live = LiveTexts(encoder, [3], listener)
    for token_id in token_ids:
        live.add(0, token_id)
    return listener.texts[3]


def test_live_texts_never_split_a_character(encoder: Encoder) -> None:
    ids = encoder.content_ids("Die Tür — 🐢 läuft, 走る")
    assert len(ids) > len("Die Tür — 🐢 läuft, 走る")  # some characters have several tokens
    texts = heard(encoder, [*ids, encoder.end_id])
    assert not any("\ufffd" in text for text in texts)
    assert texts[-1] == "Die Tür — 🐢 läuft, 走る"


def test_live_texts_of_any_tokens_start_their_text(encoder: Encoder) -> None:
    for seed in range(200):
        rng = Random(seed)
        ids = [rng.randrange(len(encoder.tokenizer)) for _ in range(20)]
        assert encoder.text(ids).startswith(heard(encoder, ids)[-1])


@pytest.mark.parametrize(("max_bytes", "encodings"), [(1 << 20, 1), (0, 2)])
def test_reply_keeps_image_features_up_to_a_limit(qwen2_5: Path, max_bytes: int, encodings: int) -> None:
    one = QwenPolicy.load(qwen2_5, device="cpu", max_new_tokens=3, feature_cache_bytes=max_bytes)
    calls = []
    one.model.model.visual.register_forward_hook(lambda *_: calls.append(1))
    images = [picture(0), picture(1)]
    replies = [one.reply([(asked(text, images),)]) for text in ("Where?", "Who?")]
    assert len(calls) == encodings
    assert replies[1] == QwenPolicy.load(qwen2_5, device="cpu", max_new_tokens=3).reply([(asked("Who?", images),)])


def test_image_feature_cache_trim_frees_what_was_used_longest_ago(qwen2_5: Path) -> None:
    one = QwenPolicy.load(qwen2_5, device="cpu")
    cache = one._engine.vision
    images, grids = one.encoder.patches([picture(i) for i in range(3)])
    patches = images.split(grids.prod(-1).tolist())
    cache.features(patches, list(grids))
    cache.features(patches[:1], list(grids[:1]))
    sizes = [sum(image.nbytes + found.nbytes for image, found in group) for group in cache._cached.values()]
    cache.trim(sizes[0] + 1)
    assert cache._find(patches[0]) is not None
    assert cache._find(patches[1]) is cache._find(patches[2]) is None
