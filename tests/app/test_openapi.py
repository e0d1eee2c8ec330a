"""Requests made from the OpenAPI description: none is answered with a bug, and all answers are as described."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from thinkseg.app.api import router
from thinkseg.app.limits import Limits
from thinkseg.app.serve import create_app
from thinkseg.app.service import Service

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class IdleService(Service):
    """A service whose processes never run: questions stay in the queue."""

    async def run(self) -> None:
        pass

    async def _run(self, task, seconds):
        from thinkseg.web.errors import RequestError

        raise RequestError(422, "the file is not a readable video")


@pytest.fixture
def schema(tmp_path):
    from scriptedapp import NAMES

    app = create_app(IdleService(tmp_path, NAMES, Limits(max_queued=5), examples=()))
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "localhost"})


lazy = schemathesis.pytest.from_fixture("schema")


@lazy.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_generated_requests_get_described_answers(case):
    case.call_and_validate(checks=CHECKS, headers={"Host": "localhost"})


def test_every_route_is_described_with_its_errors():
    described = [route.responses for route in router.routes]
    assert all(401 in one and 403 in one and 422 in one for one in described)
