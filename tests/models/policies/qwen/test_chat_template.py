"""Chat templates: what they put before a reply, and templates that are refused when a checkpoint is loaded."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chattemplates import THINKING, with_opening
from thinkseg.chains import revseg, veason
from thinkseg.errors import ModelError
from thinkseg.models.policies.qwen.checkpoint import load_model, load_view
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder, GeneratedText
from thinkseg.models.policies.qwen.generation import Completion, Engine
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.pipeline import run_chains
from tinymodels import asked, labelled_text, picture

A, B = picture(0), picture(1)
ANSWER = '<answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[1, 2, 30, 40]]}</answer>'
CHOICE = '<answer>[{"frame_idx": 1, "object description": "the star"}]</answer>'
BOXES = '[{"bbox_2d": [0, 0, 28, 28]}]'


def with_template(encoder: Encoder, template: str) -> Encoder:
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.chat_template = template
    return Encoder(tokenizer, encoder.image_processor)


@pytest.fixture(scope="module")
def thinking(encoder: Encoder) -> Encoder:
    return with_template(encoder, THINKING)


def text_of(encoder: Encoder, dialogue: tuple) -> str:
    return encoder.tokenizer.decode(encoder.encode(dialogue).input_ids).replace("<|image_pad|>" * 4, "<|image_pad|>")


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        (THINKING, "<think>\n"),
        (with_opening(""), ""),
        (with_opening("<think>"), "<think>"),
        (with_opening("<think>\n\n</think>\n\n"), ""),
    ],
    ids=["thinking", "plain", "no line break", "empty block"],
)
def test_opening_is_that_of_the_template(encoder: Encoder, template: str, opening: str) -> None:
    assert with_template(encoder, template).template.opening == opening


def test_prompt_ends_as_the_template_does(encoder: Encoder, thinking: Encoder) -> None:
    assert text_of(thinking, (asked("Where?", [A]),)).endswith("Where?<|im_end|>\n<|im_start|>assistant\n<think>\n")
    empty = with_template(encoder, with_opening("<think>\n\n</think>\n\n"))
    dialogue = (asked("Where?", [A]), f"<think>So.</think>{ANSWER}")
    assert text_of(empty, dialogue[:1]).endswith("assistant\n<think>\n\n</think>\n\n")
    assert labelled_text(empty, dialogue) == [f"<think>So.</think>{ANSWER}<|im_end|>"]


@pytest.mark.parametrize(
    ("reply", "learnt"),
    [
        (f"<think>So.</think>{ANSWER}", f"So.</think>{ANSWER}<|im_end|>"),
        (f"<think>\nSo.\n</think>\n\n{ANSWER}", f"So.\n</think>\n\n{ANSWER}<|im_end|>"),
        (f"<think></think>{ANSWER}", f"</think>{ANSWER}<|im_end|>"),
        (BOXES, f"\n</think>\n\n{BOXES}<|im_end|>"),
    ],
    ids=["thinking", "with line breaks", "no thinking", "no tags"],
)
def test_labels_do_not_repeat_the_opening(thinking: Encoder, reply: str, learnt: str) -> None:
    assert labelled_text(thinking, (asked("Where?", [A]), reply)) == [learnt]
    assert text_of(thinking, (asked("Where?", [A]), reply)).endswith(f"assistant\n<think>\n{learnt}")


def test_second_turn_continues_the_first_with_its_thinking(thinking: Encoder) -> None:
    """Although the template removes earlier thinking: cached tokens cannot be changed."""
    first = (asked("When?", [A]), f"<think>So.</think>{CHOICE}")
    both = (*first, asked("Where?", [B]), BOXES)
    assert text_of(thinking, both) == (
        text_of(thinking, first)
        + "\n<|im_start|>user\n0.0 s:<|vision_start|><|image_pad|><|vision_end|>Where?<|im_end|>\n"
        f"<|im_start|>assistant\n<think>\n\n</think>\n\n{BOXES}<|im_end|>"
    )
    assert labelled_text(thinking, both) == [f"So.</think>{CHOICE}<|im_end|>", f"\n</think>\n\n{BOXES}<|im_end|>"]


def test_turn_after_a_truncated_reply_has_the_end_of_the_reply(encoder: Encoder) -> None:
    ids = encoder.content_ids("Here.")
    whole, cut = (
        encoder.encode((asked("When?", [A]), GeneratedText("Here.", tokens), asked("Where?", [B])))
        for tokens in ([*ids, encoder.end_id], ids)
    )
    assert whole.input_ids.tolist() == cut.input_ids.tolist()
    assert (whole.labels != IGNORED).sum() == (cut.labels != IGNORED).sum() + 1


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (with_opening("Sure: "), "a prompt ends with .*assistant.nSure: "),
        (with_opening("<think>I"), "a prompt ends with"),
        (with_opening("", after_user="<|vision_start|><|image_pad|><|vision_end|>"), "does not show an image as one"),
        ("{% for m in messages %}{{ m.content + 'x' }}{% endfor %}", "cannot render a dialogue"),
        ("{% for m in messages %}", "cannot render a dialogue"),
        ("{{ raise_exception('no images') }}", "cannot render a dialogue with an image: no images"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}", "a prompt ends with"),
        (THINKING.replace("for m in messages %}", "for m in messages[-1:] %}"), "changes earlier turns"),
        (THINKING.replace("'<|im_end|>\\n'", "'</s>'"), "a reply is followed by '</s>"),
        (THINKING.replace("<think>\\n' }}", "' + ('<think>' if messages|length == 1 else '') }}"), "differently"),
    ],
)
def test_other_template_raises_one_line_when_loaded(encoder: Encoder, template: str, problem: str) -> None:
    with pytest.raises(ModelError, match=f"qwen2_5: chat template: .*{problem}") as caught:
        with_template(encoder, template)
    assert "\n" not in str(caught.value)


def test_load_other_template_raises_with_the_folder(qwen2_5: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(qwen2_5, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(with_opening("Sure: "))
    with pytest.raises(ModelError, match=f"^{folder}: chat template: a prompt ends with"):
        Encoder.load(folder)


@pytest.fixture(scope="module")
def policy(qwen2_5: Path, thinking: Encoder) -> QwenPolicy:
    return QwenPolicy(load_model(qwen2_5), thinking, load_view(qwen2_5), sampling=SamplingParams(max_new_tokens=12))


def scripted(policy: QwenPolicy, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the engine decode these texts, one per call."""
    waiting = iter(texts)

    def decode(self: Engine, prefix: Any, rows: list[int], *_: Any) -> list[Completion]:
        ids = self.encoder.tokenizer(next(waiting), add_special_tokens=False)["input_ids"]
        return [Completion((*ids, self.encoder.end_id), False) for _ in rows]

    monkeypatch.setattr(Engine, "decode", decode)


def test_veason_reply_that_begins_inside_the_thinking_is_parsed(
    policy: QwenPolicy, question: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(policy, [f"So it is.\n</think>\n\n{ANSWER}"], monkeypatch)
    (outcome,) = run_chains([veason(question("red"), policy.view)], policy)
    assert outcome.answer is not None
    assert (outcome.answer.thinking, outcome.answer.keyframe) == ("So it is.", 0)
    assert outcome.replies == (f"<think>\nSo it is.\n</think>\n\n{ANSWER}",)


def test_revseg_replies_that_begin_inside_the_thinking_are_parsed(
    policy: QwenPolicy, question: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of the outcome are those that were sampled, each after the prompt that it was sampled from."""
    scripted(policy, [f"So.</think>{CHOICE}", f"\n</think>\n\n{BOXES}"], monkeypatch)
    (outcome,) = run_chains([revseg(question("red"), policy.view)], policy)
    assert (outcome.failure, outcome.keyframe) == (None, 3)
    assert outcome.replies[1] == f"<think>\n\n</think>\n\n{BOXES}"
    assert labelled_text(policy.encoder, outcome.dialogue) == [
        f"So.</think>{CHOICE}<|im_end|>",
        f"\n</think>\n\n{BOXES}<|im_end|>",
    ]
    plain = tuple(str(part) if isinstance(part, str) else part for part in outcome.dialogue)
    assert policy.encoder.encode(plain).input_ids.tolist() == policy.encoder.encode(outcome.dialogue).input_ids.tolist()


def test_sampled_tokens_are_the_most_likely_ones_where_training_sees_them(policy: QwenPolicy) -> None:
    """The update computes log-probabilities of exactly the sampled tokens, after the prompt they were decoded from."""
    first = (asked("When is it?", [A]),)
    second = (*first, policy.reply([first])[0].text, asked("Where?", [B]))
    dialogue = (*second, policy.reply([second])[0].text)
    one = policy.encoder.encode(dialogue)
    ids = torch.from_numpy(one.input_ids)[None]
    with torch.no_grad():
        logits = policy.model(
            input_ids=ids,
            position_ids=torch.from_numpy(one.position_ids)[:, None],
            mm_token_type_ids=(ids == policy.encoder.image_pad_id).int(),
            pixel_values=one.pixel_values,
            image_grid_thw=one.image_grid_thw,
        ).logits[0]
    logits[:, policy.encoder.suppressed_ids()] = -torch.inf
    trained = np.flatnonzero(one.labels != IGNORED)
    assert len(trained) == sum(len(reply.token_ids) for reply in (dialogue[1], dialogue[3]))
    assert logits.argmax(-1).numpy()[trained - 1].tolist() == one.labels[trained].tolist()
