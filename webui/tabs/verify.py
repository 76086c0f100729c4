"""Any picture in, honest words out. static/verify.js sends the file to /api/v1/verify; nothing is kept."""

from __future__ import annotations

from webui import parts


def verify() -> None:
    parts.mount("verify")
