"""What an audit came to so far, written into its folder: the result, and the report with its small pictures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from backend import images
from backend.errors import SignetError
from safety.bias.audit import finish
from safety.bias.features import Features
from safety.bias.keeping import AuditFolder
from safety.bias.plan import AuditPlan, AuditResult
from safety.bias.report import report

_THUMBNAIL, _MAX_PIXELS = 96, 64_000_000
Find = Callable[[str], Path]
"""The thumbnail of a record, which is that of the sealed picture. Raises a SignetError for what is covered or gone."""


def now() -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_up(plan: AuditPlan, folder: AuditFolder, features: Features, find: Find) -> tuple[AuditResult, Path]:
    """The result of what was measured so far, and where its report lies."""
    result = finish(plan, folder.measurements(), folder.failures(), features.near, now())
    folder.write_result(result)
    return result, folder.write_report(page(result, find))


def page(result: AuditResult, find: Find) -> str:
    """The report as one HTML file."""
    return report(result, lambda record_id: _small(find, record_id))


def _small(find: Find, record_id: str) -> tuple[str, bytes] | None:
    """A picture for the contact sheet; without one the report goes on."""
    try:
        pixels = images.decode(find(record_id).read_bytes(), max_pixels=_MAX_PIXELS).pixels
        return "image/jpeg", images.encode_jpeg(pixels, _THUMBNAIL)
    except (SignetError, OSError):
        return None
