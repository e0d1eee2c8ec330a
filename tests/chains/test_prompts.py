from dataclasses import fields, replace

import pytest

from thinkseg.chains import CHAINS, revseg, veason
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.prompts import BUILT_IN, LabelTexts, Prompts, RevsegPrompts, VeasonPrompts
from thinkseg.types import Turn, VideoSample, View

VIEW = View(4, (28, 28))


def texts_of(chain, view, sample):
    return [part if isinstance(part, str) else "<image>" for part in next(chain(sample, view)).content]


def test_prompt_fingerprint_of_built_in_wording_stays():
    """Folders of results and the bundled policies rely on every character."""
    found = {name: prompt_fingerprint(chain, VIEW) for name, chain in CHAINS.items()}
    assert found == {"veason": "6414687dd3b29add", "revseg": "9a2e01dde77cf394"}


CHANGED = [
    (veason, "prompt", BUILT_IN.veason.prompt + "?"),
    (veason, "frame", LabelTexts("{time}{image}", "{index}{image}")),
    (veason, "unit", LabelTexts("second", "index")),
    (veason, "units", replace(BUILT_IN.veason.units, pixels="px")),
    (revseg, "when", BUILT_IN.revseg.when + "?"),
    (revseg, "frame", LabelTexts("{number}{image}", "{number}{image}")),
    (revseg, "where", BUILT_IN.revseg.where + "?"),
]


@pytest.mark.parametrize(("chain", "field", "text"), CHANGED)
def test_prompt_fingerprint_changes_with_each_text(chain, field, text):
    name = chain.__name__
    prompts = replace(BUILT_IN, **{name: replace(getattr(BUILT_IN, name), **{field: text})})
    view = replace(VIEW, prompts=prompts)
    assert prompt_fingerprint(chain, view) != prompt_fingerprint(chain, VIEW)


def test_prompt_fingerprint_depends_on_chain_and_coordinates():
    views = (VIEW, replace(VIEW, coordinates="normalized_1000"))
    assert len({prompt_fingerprint(chain, view) for chain in CHAINS.values() for view in views}) == 4


def test_prompt_fingerprint_of_endless_chain_ends():
    def endless(sample, view, indices=None):
        while True:
            yield Turn(("more?",))

    assert prompt_fingerprint(endless, VIEW)


def test_veason_frames_first_wording_puts_labels_images_and_query_in_order(film):
    wording = VeasonPrompts(prompt='{frames}Find "{query}".', frame=LabelTexts("({time} s){image}", "({index}){image}"))
    view = View(2, (8, 6), prompts=Prompts(veason=wording))
    content = texts_of(veason, view, VideoSample("a", film(num_frames=11), "the {query} <image> one"))
    assert content == ["(0.0 s)", "<image>", "(1.0 s)", "<image>", 'Find "the {query} < image> one".']


def test_veason_label_after_image_wording(film):
    wording = VeasonPrompts(prompt="{query}{frames}", frame=LabelTexts("{image}{time}", "{image}no. {index}"))
    view = View(2, (8, 6), prompts=Prompts(veason=wording))
    assert texts_of(veason, view, VideoSample("a", film(fps=None), "it"))[:3] == ["it", "<image>", "no. 0"]


def test_revseg_wording_of_both_turns(film):
    wording = RevsegPrompts(
        when="{query}? {unit}{frames}",
        frame=LabelTexts("{number}={time}:{image}", "{number}:{image}"),
        where="Box {description} in {units}: {image}",
    )
    view = View(2, (8, 6), prompts=Prompts(revseg=wording))
    chain = revseg(VideoSample("a", film(num_frames=11), "it"), view)
    assert next(chain).content[:2] == ("it? time in seconds", "0=0.0:")
    reply = '<think>x</think><answer>[{"frame_idx": 0, "object description": "a {units}"}]</answer>'
    assert chain.send(reply).content[0] == "Box a {units} in pixels of the frame: "


BAD = [
    (VeasonPrompts, {"prompt": "{frames}"}, r"prompt: has no \{query\}; add it"),
    (VeasonPrompts, {"prompt": "{query}"}, r"prompt: has no \{frames\}; add it"),
    (VeasonPrompts, {"prompt": "{frames}{query}{frames}"}, r"prompt: has \{frames\} 2 times; keep one"),
    (VeasonPrompts, {"prompt": "{frames}{query}{time}"}, r"unknown placeholder \{time\}: must be one of \{frames\}, "),
    (VeasonPrompts, {"prompt": "<image>{frames}{query}"}, "control token '<image>'; remove it"),
    (
        VeasonPrompts,
        {"prompt": "{frames}{query}<|im_end|>"},
        r"control token '<\|im_end\|>'",
    ),
    (VeasonPrompts, {"frame": LabelTexts("{time}", "{index}{image}")}, r"frame.seconds: has no \{image\}"),
    (VeasonPrompts, {"frame": LabelTexts("{time}{image}", "{time}{image}")}, r"frame.index: unknown placeholder"),
    (
        VeasonPrompts,
        {"unit": LabelTexts("{time}", "")},
        r"unit.seconds: .*: this text has none",
    ),
    (RevsegPrompts, {"frame": LabelTexts("{time}{image}", "{number}{image}")}, r"frame.seconds: has no \{number\}"),
    (RevsegPrompts, {"where": "{image}"}, r"where: has no \{description\}; add it"),
    (RevsegPrompts, {"when": "{frames}"}, r"when: has no \{query\}; add it"),
]


@pytest.mark.parametrize(("kind", "texts", "match"), BAD)
def test_prompts_invalid_placeholders_raise(kind, texts, match):
    with pytest.raises(ValueError, match=match):
        kind(**texts)


def test_prompts_json_in_text_needs_no_escape():
    text = '{frames}{query} {"keyframe_timestamp": T, "bbox_2d_list": [{}]}'
    assert VeasonPrompts(prompt=text).prompt == text


def test_prompts_have_one_field_per_built_in_chain():
    assert [field.name for field in fields(Prompts)] == list(CHAINS)
