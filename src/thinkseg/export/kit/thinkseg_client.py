"""Rewards from a server, which adds the reward that needs a tracker ("consistency"). Copied by `thinkseg export`.

    thinkseg reward-server revos:train=datasets/ReVOS --tracker facebook/sam2.1-hiera-large
    export THINKSEG_REWARD_URL=http://127.0.0.1:8787     the server; without it, rewards are computed in the trainer
    export THINKSEG_TOKEN=...                            its token, if it has one
    python thinkseg_client.py revos:train                checks that it answers, and scores this data set

Plain Python 3.10 without dependencies. Replies are scored as data, whatever they are. Everything else that prevents a
score raises RewardServerError, which must end the training: a score of 0 would be wrong.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

RESPONSE_SECONDS = 600.0
"""Time for one response, which waits for its turn in the tracker."""

RETRY_SECONDS = 60.0
"""Time in which a server that refuses connections, or is busy, is tried again during training."""

CONNECTIONS = 32
MAX_RESPONSE_BYTES = 1 << 20
QUESTION = ("dataset", "id", "chain", "indices", "labels", "frame_wh", "source_wh", "coordinates")
"""Fields of a ground truth that a request contains."""

Scores = tuple[float, dict[str, "float | None"]]


class RewardServerError(RuntimeError):
    """The server does not answer, or not with rewards."""


class _BusyError(Exception):
    """A request may be sent again."""


def server_url() -> str:
    """Returns the address of the server; "" for none."""
    return os.environ.get("THINKSEG_REWARD_URL", "").strip()


def score(replies: list[str], truth: dict[str, Any], weights: dict[str, float]) -> Scores:
    """Returns the weighted sum of the rewards of one rollout, and the rewards, which are None where they do not apply.

    replies: of all turns, complete. Raises RewardServerError.
    """
    if missing := [name for name in QUESTION if name not in truth]:
        raise RewardServerError(
            f"the ground truth has no {missing[0]!r}: repeat the export with this version of ThinkSeg"
        )
    asked = {**{name: truth[name] for name in QUESTION}, "replies": replies, "weights": weights}
    answer = _request("POST", "/score", asked, RETRY_SECONDS)
    try:
        return float(answer["total"]), {name: answer["terms"][name] for name in weights}
    except (KeyError, TypeError, ValueError):
        raise _not_a_reward_server() from None


def score_all(rollouts: Sequence[tuple[list[str], dict[str, Any], dict[str, float]]]) -> list[Scores]:
    """Returns `score` of each rollout, requested concurrently."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(lambda rollout: score(*rollout), rollouts))


def check(*datasets: str) -> dict[str, Any]:
    """Returns the status of the server: its tracker and data sets.

    Raises RewardServerError if it does not answer now, or does not score one of `datasets`.
    """
    status = _request("GET", "/status")
    try:
        missing = [name for name in datasets if name not in status["datasets"]]
    except (KeyError, TypeError):
        raise _not_a_reward_server() from None
    if missing:
        served = ", ".join(status["datasets"])
        raise RewardServerError(
            f"{server_url()}: scores {served}, not {missing[0]}; start thinkseg reward-server with it"
        )
    return status


def _not_a_reward_server() -> RewardServerError:
    return RewardServerError(f"{server_url()}: not thinkseg reward-server; correct THINKSEG_REWARD_URL")


def _request(method: str, path: str, content: Any = None, retry_seconds: float = 0.0) -> Any:
    """Returns the content of a response. Tries again for some time if there is no connection or the server is busy."""
    started, pause = time.monotonic(), 0.1
    while True:
        try:
            return _request_once(method, path, content)
        except (_BusyError, ConnectionError) as error:
            if time.monotonic() - started + pause > retry_seconds:
                raise RewardServerError(
                    f"{server_url()}: no answer ({error}); start thinkseg reward-server there, "
                    "or correct THINKSEG_REWARD_URL"
                ) from None
        except (OSError, HTTPException, ValueError) as error:
            raise RewardServerError(f"{server_url()}: the request failed ({type(error).__name__}: {error})") from None
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


def _request_once(method: str, path: str, content: Any) -> Any:
    """Sends one request, directly and without following redirects, so that nobody else receives the token."""
    url = urlsplit(server_url())
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RewardServerError(f"THINKSEG_REWARD_URL: {server_url()!r} is not an address like http://127.0.0.1:8787")
    # A reply can have characters that are not valid Unicode, which no question mark could worsen.
    body = None if content is None else json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"Content-Type": "application/json", **_authorization()}
    connection_type = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = connection_type(url.hostname, url.port, timeout=RESPONSE_SECONDS)
    try:
        connection.request(method, url.path.rstrip("/") + path, body, headers)
        response = connection.getresponse()
        text = response.read(MAX_RESPONSE_BYTES)
    finally:
        connection.close()
    if response.status == 503:
        raise _BusyError("status 503, it is busy")
    if response.status != 200:
        raise RewardServerError(f"{server_url()}: status {response.status}: {_message(text)}")
    return json.loads(text)


def _authorization() -> dict[str, str]:
    """Returns the header with the token, if there is one."""
    token = os.environ.get("THINKSEG_TOKEN", "").strip()
    if not re.fullmatch("[!-~]*", token):
        raise RewardServerError("THINKSEG_TOKEN: the token has spaces or characters beyond ASCII; correct it")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _message(text: bytes) -> str:
    """Returns the error in a response, on one line."""
    try:
        return " ".join(str(json.loads(text)["error"]).split())
    except (ValueError, KeyError, TypeError):
        return "not from thinkseg reward-server"


if __name__ == "__main__":
    try:
        print(f"{server_url()}: {json.dumps(check(*sys.argv[1:]))}")
    except RewardServerError as error:
        sys.exit(str(error))
