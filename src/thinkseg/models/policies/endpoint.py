"""A served model as a policy, over any OpenAI-compatible API (vLLM, SGLang, a cloud).

Its name is `openai:MODEL@BASE_URL`. Requests and errors are in `thinkseg.models.policies.client`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from thinkseg.errors import SettingsError
from thinkseg.models.policies import families
from thinkseg.models.policies.chat_format import check_quality, messages_of, served_origin
from thinkseg.models.policies.client import KEY, ChatClient, ClientSettings
from thinkseg.models.policies.families import Traits
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import Coordinates, Dialogue, Reply, ReplyListener

SCHEME = "openai:"


class EndpointPolicy:
    """Answers turns with a served model; see `thinkseg.types.Policy`. `EndpointPolicy.connect` makes one.

    jpeg_quality: of the images sent, 1 to 100; None sends lossless PNG.
    coordinates_known: False if `coordinates` are only the fallback that was passed to `connect`.
    """

    coordinates_known = True

    def __init__(
        self,
        client: ChatClient,
        model: str,
        traits: Traits,
        sampling: SamplingParams | None = None,
        jpeg_quality: int | None = None,
    ) -> None:
        self.name = f"{SCHEME}{model}@{client.base_url}"
        self.client = client
        self.model = model
        self.view = traits.view
        self.coordinates = traits.view.coordinates
        self.size_multiple = traits.size_multiple
        self.sampling = sampling or SamplingParams()
        self.jpeg_quality = check_quality(jpeg_quality)
        self.fingerprint: dict[str, str] = {}

    @classmethod
    def connect(
        cls,
        name: str,
        coordinates: Coordinates | None = None,
        *,
        fallback_coordinates: Coordinates | None = None,
        jpeg_quality: int | None = None,
        concurrency: int = 16,
        timeout: float = 600.0,
        max_retries: int = 8,
        **sampling: Any,
    ) -> EndpointPolicy:
        """Returns the policy named openai:MODEL@BASE_URL, after a first request to its server.

        coordinates: how the model writes boxes (default: as its family does). fallback_coordinates: used if the family
            is unknown. concurrency, timeout, max_retries: see `thinkseg.models.policies.client.ClientSettings`.
        sampling: fields of `SamplingParams`.
        Raises SettingsError if the coordinates are unknown, ModelError if the server cannot be used.
        """
        model, base_url = parse_name(name)
        check_quality(jpeg_quality)
        params = SamplingParams(**sampling)
        client = ChatClient(base_url, ClientSettings(concurrency, timeout, max_retries))
        models = client.check()
        family = families.family_of(model)
        known = (family and family.view.coordinates) if coordinates is None else coordinates
        chosen = known or fallback_coordinates
        if chosen is None:
            raise SettingsError(
                f"{model}: unknown box coordinates; give --coordinates pixels or --coordinates normalized_1000"
                f" (thinkseg check-policy {name} finds out which)"
            )
        policy = cls(client, model, (family or families.UNKNOWN).with_coordinates(chosen), params, jpeg_quality)
        policy.coordinates_known = known is not None
        policy.fingerprint = served_origin(models, model)
        return policy

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue, several concurrently. Raises ModelError if the server fails."""
        return self.stream(dialogues, seeds)

    def stream(
        self,
        dialogues: Sequence[Dialogue],
        seeds: Sequence[int] | None = None,
        listener: ReplyListener | None = None,
    ) -> list[Reply]:
        """Answers like `reply`, and passes on the text that arrives, as far as the server streams."""
        seeds = self.sampling.seeds(range(len(dialogues)) if seeds is None else seeds)
        pairs = zip(dialogues, seeds, strict=True)
        return self.client.complete([partial(self._request, dialogue, seed) for dialogue, seed in pairs], listener)

    def clear(self) -> None:
        """Does nothing: the server manages its own cache."""

    def submit(self, dialogue: Dialogue, seed: int = 0) -> Future[Reply]:
        """Sends one dialogue and returns a future of the reply. seed: sent as it is at a temperature above 0."""
        return self.client.submit(partial(self._request, dialogue, seed))

    def _request(self, dialogue: Dialogue, seed: int) -> dict[str, Any]:
        """The fields of a request. At temperature 0, optional fields are omitted: some servers refuse them."""
        limit = "max_completion_tokens" if self.client.is_openai else "max_tokens"
        sampled = {"top_p": 1.0, "seed": seed} if self.sampling.temperature > 0 else {}
        return {
            "model": self.model,
            "messages": messages_of(dialogue, self.jpeg_quality),
            "temperature": self.sampling.temperature,
            limit: self.sampling.max_new_tokens,
            **sampled,
        }


def parse_name(name: str) -> tuple[str, str]:
    """Model and base URL of "openai:MODEL@BASE_URL". Raises SettingsError for another form or a URL with a secret."""
    match = re.fullmatch(rf"{SCHEME}(\S+?)@(https?://\S+)", name)
    if not match:
        raise SettingsError(
            f"{without_secrets(name)!r} is not a served model: give openai:MODEL@BASE_URL, e.g."
            " openai:Qwen/Qwen2.5-VL-7B-Instruct@http://localhost:8000/v1"
        )
    model, base_url = match[1], match[2].rstrip("/")
    try:
        parts = urlsplit(base_url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{without_secrets(base_url)!r} is not the base URL of a server: give e.g. http://localhost:8000/v1"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        # The message does not repeat the URL, which may hold a secret.
        raise SettingsError(f"a base URL must not have a user, query or fragment: set {KEY} in the environment instead")
    return model, base_url


def without_secrets(name: str) -> str:
    """A name for a message, without what a URL in it has before a host or after a path, which may be secret."""
    return re.sub(r"(?<=[?#]).*", "...", re.sub(r"(?<=//).*@", "...@", name))
