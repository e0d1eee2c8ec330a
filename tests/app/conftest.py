"""An app with a scripted model, served to a client in this process; its own processes are real."""

from collections.abc import Iterator

import numpy as np
import pytest

from appclient import AppClient, new_service
from thinkseg.app.serve import create_app
from thinkseg.ops.video import write_video


@pytest.fixture(scope="package")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppClient]:
    service = new_service(tmp_path_factory.mktemp("app") / "data")
    with AppClient(create_app(service), base_url="http://localhost:8787") as client:
        client.service = service
        yield client


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video file of 40 frames of 64x48, in gray levels that rise."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, (np.full((48, 64, 3), 5 * index, np.uint8) for index in range(40)), 10)
    return path.read_bytes()


@pytest.fixture(scope="package")
def video(client: AppClient, clip: bytes) -> str:
    """The id of that video."""
    return str(client.post("/api/videos?name=clip.mp4", content=clip).json()["id"])
