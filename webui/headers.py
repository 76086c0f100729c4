"""Security headers on every reply, and a nonce on every script of a page.

Scripts run only from our own files or with the nonce of this very reply; nothing may be loaded from another host.
Styles may be inline because Gradio's components set them. Gradio's `js=` events and gr.HTML would need eval: not used.
"""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PLAIN_POLICY = "default-src 'none'; frame-ancestors 'self'"
_FOREIGN_META = re.compile(rb'\s*<meta\s+(?:property|name)="(?:og|twitter):[^>]*>')
_MANIFEST = re.compile(rb'\s*<link rel="manifest"[^>]*>')
HEAD = (
    b'<link rel="stylesheet" href="/signet/style.css">'
    b'<link rel="icon" type="image/png" href="/signet/icon.png">'
    b'<script type="module" src="/signet/app.js"></script></head>'
)


def page_policy(nonce: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


def dress(page: bytes, nonce: str) -> bytes:
    """Gradio's page without what points outside, with our style and script, every script carrying the nonce."""
    page = _MANIFEST.sub(b"", _FOREIGN_META.sub(b"", page)).replace(b"</head>", HEAD, 1)
    return page.replace(b"<script", b'<script nonce="' + nonce.encode() + b'"')


class SecurityHeaders:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        page: Message | None = None
        body = bytearray()

        async def dressed(message: Message) -> None:
            nonlocal page
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _common(headers)
                if headers.get("content-type", "").startswith("text/html"):
                    page = message
                    return
                headers["content-security-policy"] = PLAIN_POLICY
            elif page is not None and message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await _send_page(page, bytes(body), send)
                return
            await send(message)

        await self.app(scope, receive, dressed)


async def _send_page(start: Message, body: bytes, send: Send) -> None:
    headers = MutableHeaders(scope=start)
    nonce = secrets.token_urlsafe(16)
    if "content-encoding" not in headers:
        body = dress(body, nonce)
        headers["content-length"] = str(len(body))
    headers["content-security-policy"] = page_policy(nonce)
    headers["cache-control"] = "no-store"
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _common(headers: MutableHeaders) -> None:
    headers["x-content-type-options"] = "nosniff"
    headers["referrer-policy"] = "no-referrer"
    headers["cross-origin-resource-policy"] = "same-origin"
    headers["cross-origin-opener-policy"] = "same-origin"
    headers["x-frame-options"] = "SAMEORIGIN"
    headers["permissions-policy"] = "camera=(), microphone=(), geolocation=()"
