"""The app as one application: the page, the API, and what protects both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from thinkseg import __version__
from thinkseg.app.api import router
from thinkseg.app.limits import Guard
from thinkseg.app.service import Service
from thinkseg.web.errors import add_error_handlers

STATIC = Path(__file__).parent / "static"
STYLE = files("thinkseg.report") / "templates" / "report.css"
"""The style of reports, which the page shares."""

SUMMARY = "Upload a video, ask what to segment, follow the answer, correct it, and download masks."


def create_app(service: Service, token: str | None = None) -> FastAPI:
    """Returns the application, which answers questions while it is served. token: of all requests, see `Guard`."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    # Without the pages of documentation, which load scripts from elsewhere.
    app = FastAPI(
        title="ThinkSeg", summary=SUMMARY, version=__version__, lifespan=running, docs_url=None, redoc_url=None
    )
    app.state.service = service
    app.add_middleware(Guard, limits=service.limits, token=token)
    app.include_router(router)
    add_error_handlers(app)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/static/report.css", include_in_schema=False)
    async def shared_style() -> FileResponse:
        return FileResponse(str(STYLE))

    app.mount("/static", StaticFiles(directory=STATIC))
    return app
