"""Who explains: tasks in, replies out, each as soon as it is there."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from thinkseg.annotate.prompts import ask
from thinkseg.annotate.strata import chance
from thinkseg.annotate.tasks import Task
from thinkseg.errors import SettingsError
from thinkseg.types import Reply, View

if TYPE_CHECKING:
    from thinkseg.models.endpoint import EndpointPolicy

RULES = "rules"


class Annotator(Protocol):
    """Explains how one comes from a question to its answer, in the form of `annotate.prompts`.

    tells_boxes: its texts hold boxes in the units of the view. at_once: questions that may be on their way together.
    longest_reply: tokens that a reply has at most.
    """

    name: str
    tells_boxes: bool
    at_once: int
    longest_reply: int

    def ask(self, task: Task, template: int) -> Future[Reply]:
        """The reply, once it has come, or a ModelError if none can be had. template: one of several wordings."""
        ...


class Served:
    """A vision-language model behind an OpenAI-compatible API."""

    tells_boxes = False

    def __init__(self, policy: EndpointPolicy, seed: int) -> None:
        self.name = policy.name
        self.at_once = policy.service.manners.concurrency
        self.longest_reply = policy.sampling.max_new_tokens
        self._policy = policy
        self._seed = seed

    def ask(self, task: Task, template: int) -> Future[Reply]:
        seed = chance(self._seed, "reply", task.draft.id) % 2**31
        return self._policy.submit((ask(task, template),), seed)


def connect(name: str, view: View, seed: int, **settings: Any) -> Annotator:
    """The annotator that a name stands for: "rules", or a served model, "openai:MODEL@BASE_URL".

    settings: of a served model, as `thinkseg.models.endpoint.EndpointPolicy.connect` takes them.
    Raises SettingsError for other names, ModelError if its server does not answer.
    """
    from thinkseg.annotate.rules import Rules
    from thinkseg.models.endpoint import SCHEME, EndpointPolicy

    if name == RULES:
        return Rules(view)
    if not name.startswith(SCHEME):
        raise SettingsError(f"no annotator {name!r}: give {RULES} (for shapes) or openai:MODEL@BASE_URL")
    # It writes no boxes, so how it would write them does not matter.
    return Served(EndpointPolicy.connect(name, assumed="pixels", seed=seed, **settings), seed)
