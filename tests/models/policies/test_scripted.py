import pytest

from thinkseg.errors import ModelError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.types import Policy, Reply, Turn, View

ONE, TWO = (Turn(("one",)),), (Turn(("two",)),)


def test_scripted_policy_replies_in_order_and_records_dialogues():
    policy: Policy = ScriptedPolicy(["first one", "second", "third"])
    assert [reply.text for reply in policy.reply([ONE, TWO])] == ["first one", "second"]
    assert policy.reply([TWO]) == [Reply("third", num_tokens=1)]
    assert policy.dialogues == [ONE, TWO, TWO]


def test_scripted_policy_function_replies_to_dialogue():
    policy = ScriptedPolicy(lambda dialogue: f"echo {dialogue[-1].content[0]}")
    assert [reply.text for reply in policy.reply([ONE, TWO])] == ["echo one", "echo two"]


def test_scripted_policy_accepts_replies_with_counts():
    cut = Reply("and so", num_tokens=512, truncated=True)
    assert ScriptedPolicy([cut]).reply([ONE]) == [cut]


@pytest.mark.parametrize("lines", [[], ["only one"]])
def test_scripted_policy_end_of_script_raises(lines):
    policy = ScriptedPolicy(lines)
    policy.reply([ONE] * len(lines))
    with pytest.raises(ModelError, match=f"all {len(lines)} replies"):
        policy.reply([TWO])


def test_scripted_policy_has_given_traits():
    policy = ScriptedPolicy([], coordinates="normalized_1000", size_multiple=28, view=View(2, (56, 56)))
    assert (policy.coordinates, policy.size_multiple, policy.view.num_frames) == ("normalized_1000", 28, 2)
    assert ScriptedPolicy([], coordinates="normalized_1000").view.coordinates == "normalized_1000"


def test_scripted_policy_streams_word_by_word():
    heard = []

    class Listener:
        def text(self, index, text):
            heard.append((index, text))

    policy = ScriptedPolicy(["it  moves\n", "", " no"])
    replies = policy.stream([ONE, TWO, ONE], None, Listener())
    assert [reply.text for reply in replies] == ["it  moves\n", "", " no"]
    assert heard == [(0, "it  "), (0, "it  moves\n"), (2, " no")]
