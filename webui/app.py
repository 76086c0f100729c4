"""The studio's web application: our doors around our API, our static files and one mounted Gradio page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from backend.errors import SignetError
from backend.netguard import keep_quiet
from backend.version import NAME, VERSION
from webui.api.native import native_routes
from webui.api.replies import ProblemReply, http_problem
from webui.desk import Desk
from webui.gate import UI, Gate
from webui.headers import SecurityHeaders
from webui.messages import from_validation
from webui.pillow_guard import reduce_readers

STATIC = Path(__file__).parent / "static"


def create_app(services: Any) -> FastAPI:
    """The application for a front desk, or for anything that has one as `.service`. Imports no torch."""
    desk = cast(Desk, getattr(services, "service", services))
    app = api_app(desk)
    keep_quiet()  # before Gradio is imported, which reads the environment then
    _mount_gradio(app, desk)
    reduce_readers()
    return app


def api_app(desk: Desk) -> FastAPI:
    """Everything but Gradio: enough for the API and its contract tests."""
    app = FastAPI(
        title=f"{NAME} API", version=VERSION, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None
    )
    app.include_router(native_routes(desk))
    app.mount("/signet", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def home() -> RedirectResponse:
        return RedirectResponse(UI + "/", 307)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> RedirectResponse:
        return RedirectResponse("/signet/icon.png", 308)

    _middleware(app, desk)
    _handlers(app)
    return app


def _middleware(app: FastAPI, desk: Desk) -> None:
    """The last one added is the outermost. Gradio stands back from CORS because the application has its own."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(desk.settings.allowed_origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["content-type", "last-event-id", "x-requested-with"],
    )
    app.add_middleware(Gate, settings=desk.settings)
    app.add_middleware(SecurityHeaders)


def _handlers(app: FastAPI) -> None:
    @app.exception_handler(SignetError)
    async def expected(request: Request, error: SignetError) -> Response:
        return ProblemReply(error.problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return ProblemReply(from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        detail = "" if error.status_code in (404, 405) else str(error.detail)
        return ProblemReply(http_problem(error.status_code, detail).problem)


def _mount_gradio(app: FastAPI, desk: Desk) -> None:
    import gradio as gr

    from webui.page import build, theme

    gr.mount_gradio_app(
        app,
        build(desk),
        UI,
        show_error=False,
        max_file_size=f"{desk.settings.upload_limit_mb}mb",
        allowed_paths=[],
        blocked_paths=[str(desk.settings.data)],
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        theme=theme(),
    )
