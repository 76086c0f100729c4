"""The door of the HTTP server: which hosts, origins, content types and sizes may enter at all.

A page the owner visits elsewhere must not be able to use the studio: foreign Host names (DNS rebinding), foreign
origins (CSRF) and cross-site loads end here, before FastAPI or Gradio see the request.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from fastapi.exceptions import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import NotAllowed, SignetError
from backend.settings import Settings
from webui.api.replies import ProblemReply, http_problem
from webui.messages import problem_of

API = "/api/v1"
UI = "/ui"
VERIFY = f"{API}/verify"
TAKE_PICTURES = frozenset({VERIFY, f"{API}/inputs", f"{API}/read"})
"""Addresses that take a picture as the body."""
BODY_LIMIT = 2 << 20
"""Bytes of any body but a picture."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
PICTURES = frozenset(
    {f"image/{kind}" for kind in ("png", "jpeg", "webp", "avif", "gif", "bmp", "tiff")} | {"application/octet-stream"}
)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_GRADIO = re.compile(
    UI + r"/?(|config|theme\.css|favicon\.ico|(assets|static)/[\w.@/-]+"
    r"|gradio_api/(queue/(join|data)|run/predict|cancel|reset|theme\.css|startup-events|heartbeat/\w+))/?"
)
"""All of Gradio that our pages use. Uploads, files, proxying, login, monitoring stay shut until a tab needs them."""


class Gate:
    """ASGI middleware. Also the edge where an unexpected exception becomes a Problem with a trace number."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.origins = frozenset(origin.rstrip("/").casefold() for origin in settings.allowed_origins)
        own = () if settings.host in ("0.0.0.0", "::") else (settings.host,)  # noqa: S104
        self.hosts = LOOPBACK | {_bracketed(host.casefold()) for host in (*settings.allowed_hosts, *own)}
        self.upload_limit = settings.upload_limit_mb << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            limit = self.admit(scope)
            await self.app(scope, _limited(receive, limit), watched)
        except Exception as error:
            problem = problem_of(error)
            if started:
                raise
            await ProblemReply(problem)(scope, receive, send)

    def admit(self, scope: Scope) -> int:
        """Raise SignetError unless the request may enter; the most bytes its body may have."""
        headers = Headers(scope=scope)
        self._host(headers)
        self._origin(scope["method"], headers)
        path: str = scope["path"]
        if path.startswith(UI + "/") and not _GRADIO.fullmatch(path):
            raise http_problem(404)
        limit = self.upload_limit + (64 << 10) if path in TAKE_PICTURES else BODY_LIMIT
        if scope["method"] in ("POST", "PUT", "PATCH") and path.startswith("/api/"):
            _content_type(path, headers)
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise http_problem(400, "Content-Length is not a number.")
        if len(length) > 15 or int(length) > limit:
            raise too_large(limit)
        return limit

    def _host(self, headers: Headers) -> None:
        named = headers.getlist("host")
        match = _HOST.fullmatch(named[0].casefold()) if len(named) == 1 else None
        if match is None or match[1] not in self.hosts:
            raise NotAllowed(
                "The studio does not answer under this host name.",
                "Use http://127.0.0.1, or name the host in the setting allowed_hosts.",
            )

    def _origin(self, method: str, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is not None:
            if origin.casefold() in self.origins or _same(origin, headers["host"]):
                return
            if method in SAFE_METHODS and headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
                return
            raise NotAllowed(
                "Another web site asked for this.", "Name its origin in the setting allowed_origins if that is wanted."
            )
        site = headers.get("sec-fetch-site", "none")
        opened = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not opened:
            raise NotAllowed("Another web site asked for this.")


def too_large(limit: int) -> SignetError:
    return http_problem(413, f"At most {limit / 2**20:.0f} MiB are read.", hint="Send a smaller file.")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _same(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.casefold() == host.casefold()


def _content_type(path: str, headers: Headers) -> None:
    """JSON only; some addresses take a picture. A form that any web page can send must show where it comes from."""
    kind = headers.get("content-type", "").split(";")[0].strip().casefold()
    if path not in TAKE_PICTURES:
        if kind != "application/json":
            raise http_problem(415, f'Send "application/json", not "{kind[:80]}".')
        return
    if kind in PICTURES:
        return
    if kind != "multipart/form-data":
        raise http_problem(415, "Send a PNG, JPEG or WebP file as the body, or a form with the field file.")
    if "origin" not in headers and "x-requested-with" not in headers:
        raise NotAllowed("A form without an Origin needs the header X-Requested-With.", "Or send the file as the body.")


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, too_large(limit).problem.detail)
        return message

    return counted
