import pytest

from thinkseg.errors import ModelError
from thinkseg.models.policies.qwen.chat_template import CHAT_TEMPLATE
from thinkseg.models.policies.qwen.template_check import MAX_CHARACTERS, check_template


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, "{{ raise_exception('as where it is used') }}"])
def test_check_template_that_ends_passes(template: str) -> None:
    check_template("m", template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        "{{ 'x' * 10**6 }}",
        "x" * (MAX_CHARACTERS + 1),
    ],
    ids=["nested loops", "memory", "long text", "long template"],
)
def test_check_template_without_bounds_raises(template: str) -> None:
    with pytest.raises(ModelError, match=r"^m: its chat template takes too much time or memory; give a model with"):
        check_template("m", template)
