"""Every picture that exists, newest first. static/history.js draws it from /api/v1/records."""

from __future__ import annotations

from webui import parts


def history() -> None:
    parts.mount("history")
