"""A served model as a policy: dialogues in, replies out, over any OpenAI-compatible API (vLLM, SGLang, a cloud).

`openai:MODEL@BASE_URL` names one. All that has to do with asking a server is in `thinkseg.models.policies.client`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from thinkseg.errors import SettingsError
from thinkseg.models.policies import families as known
from thinkseg.models.policies.chat_format import checked_quality, messages_of
from thinkseg.models.policies.client import KEY, ChatClient, ClientSettings, RetryPolicy
from thinkseg.models.policies.families import Traits
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import Coordinates, Dialogue, Reply

SCHEME = "openai:"


class EndpointPolicy:
    """Answers turns with a served model; see `thinkseg.types.Policy`. Make one with `EndpointPolicy.connect`.

    jpeg_quality: of the pictures sent, 1 to 100; they are sent as PNG, without any loss, if None.
    assumed: nobody has told how the model writes boxes, see `connect`.
    """

    assumed = False

    def __init__(
        self,
        service: ChatClient,
        model: str,
        traits: Traits,
        sampling: SamplingParams | None = None,
        jpeg_quality: int | None = None,
    ) -> None:
        self.name = f"{SCHEME}{model}@{service.base_url}"
        self.service = service
        self.model = model
        self.view = traits.view
        self.coordinates = traits.view.coordinates
        self.size_multiple = traits.size_multiple
        self.sampling = sampling or SamplingParams()
        self.jpeg_quality = checked_quality(jpeg_quality)

    @classmethod
    def connect(
        cls,
        name: str,
        coordinates: Coordinates | None = None,
        *,
        assumed: Coordinates | None = None,
        jpeg_quality: int | None = None,
        concurrency: int = 16,
        timeout: float = 600.0,
        patience: RetryPolicy | None = None,
        **sampling: Any,
    ) -> EndpointPolicy:
        """The policy that a name of the form openai:MODEL@BASE_URL stands for, once its server has answered.

        coordinates: how the model writes boxes, whatever its name says; assumed: the same where neither does, for those
        who want to find out. concurrency, timeout, patience: see `thinkseg.models.policies.client.ClientSettings`.
        sampling: see `SamplingParams`.
        Raises SettingsError if nobody tells the coordinates, ModelError if the server cannot be used.
        """
        model, base_url = parse_name(name)
        checked_quality(jpeg_quality)
        settings = SamplingParams(**sampling)
        service = ChatClient(base_url, ClientSettings(concurrency, timeout, patience or RetryPolicy()))
        service.check()
        traits = known.family_of(model)
        untold = traits is None and coordinates is None
        if untold and assumed is None:
            raise SettingsError(
                f"{model}: how it writes boxes is not known; give --coordinates pixels or --coordinates normalized_1000"
                f" (thinkseg check-policy {name} finds out which)"
            )
        traits = (traits or known.UNKNOWN).with_coordinates(coordinates or (assumed if untold else None))
        policy = cls(service, model, traits, settings, jpeg_quality)
        policy.assumed = untold
        return policy

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue, many concurrently. Raises ModelError if the server cannot be used."""
        seeds = self.sampling.seeds(range(len(dialogues)) if seeds is None else seeds)
        pairs = zip(dialogues, seeds, strict=True)
        return self.service.complete([partial(self._request, dialogue, seed) for dialogue, seed in pairs])

    def clear(self) -> None:
        """Does nothing: the server manages its own cache."""

    def submit(self, dialogue: Dialogue, seed: int = 0) -> Future[Reply]:
        """Sends one dialogue and returns a future of the reply. seed: sent as it is at a temperature above 0."""
        return self.service.submit(partial(self._request, dialogue, seed))

    def _request(self, dialogue: Dialogue, seed: int) -> dict[str, Any]:
        """The fields of a request. None is there that the likeliest reply does not need: some servers refuse them."""
        limit = "max_completion_tokens" if self.service.is_openai else "max_tokens"
        drawn = {"top_p": 1.0, "seed": seed} if self.sampling.temperature > 0 else {}
        return {
            "model": self.model,
            "messages": messages_of(dialogue, self.jpeg_quality),
            "temperature": self.sampling.temperature,
            limit: self.sampling.max_new_tokens,
            **drawn,
        }


def parse_name(name: str) -> tuple[str, str]:
    """Model and base URL of "openai:MODEL@BASE_URL". Raises SettingsError if it is not one, or holds a secret."""
    found = re.fullmatch(rf"{SCHEME}(\S+?)@(https?://\S+)", name)
    if not found:
        raise SettingsError(
            f"{name!r} is not a served model: give openai:MODEL@BASE_URL, e.g."
            " openai:Qwen/Qwen2.5-VL-7B-Instruct@http://localhost:8000/v1"
        )
    model, base_url = found[1], found[2].rstrip("/")
    try:
        parts = urlsplit(base_url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{base_url!r} is not the base URL of a server: give e.g. http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not repeated: whatever stands there may be what must not be seen.
        raise SettingsError(f"a base URL has no user, query or fragment; a key belongs into the environment, as {KEY}")
    return model, base_url
