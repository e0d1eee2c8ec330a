"""Requests made from the OpenAPI description: none is answered with a bug, and all answers are as described."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scriptedapp import NAMES
from thinkseg.app.api import router
from thinkseg.app.limits import Limits
from thinkseg.app.serve import create_app
from thinkseg.app.service import Service
from thinkseg.web.errors import RequestError

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class IdleService(Service):
    """A service whose processes never run: questions stay in the queue."""

    async def run(self) -> None:
        pass

    async def _run(self, task, seconds):
        raise RequestError(422, "the file is not a readable video")


def test_generated_requests_get_described_answers(tmp_path):
    app = create_app(IdleService(tmp_path, NAMES, Limits(max_queued=5), examples=()))
    host = {"Host": "localhost"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=host)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == len(router.routes)

    for operation in operations:

        @given(operation.as_strategy())
        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def check(case):
            case.call_and_validate(checks=CHECKS, headers=host)

        check()


def test_every_route_is_described_with_its_errors():
    described = [route.responses for route in router.routes]
    assert all(401 in one and 403 in one and 422 in one for one in described)
