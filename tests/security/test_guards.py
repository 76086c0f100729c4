"""Every way by which picture bytes can leave is known, and says how it is guarded; a new one has to be written down."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from starlette.routing import Mount

from backend.errors import Problem, SignetError
from backend.service import Service
from backend.settings import ROOT, Settings
from backend.trust import Covered, TrustDesk
from backend.types import Principal, Record, SealedImage
from backend.wire import Frame, Maps
from tests.contract.test_openapi import described
from tests.support.studio import Studio
from tests.unit.webui.fakes import FakeDesk
from webui.app import api_app

ROUTES: dict[tuple[str, str], str] = {
    ("get", "/api/v1/records/{record_id}/file"): "TrustDesk.uncovered: reveal and an entry, withheld never",
    ("get", "/api/v1/records/{record_id}/thumbnail"): "TrustDesk.thumbnail: a veil, withheld never",
    ("get", "/api/v1/review/{record_id}/file"): "TrustDesk.reviewed_file: the owner, with an entry",
    ("get", "/api/v1/inputs/{ident}/file"): "what somebody brought; TrustDesk.check_brought for one of ours",
    ("post", "/api/v1/control/hint"): "made from what somebody brought; TrustDesk.check_brought for one of ours",
    ("get", "/api/v1/jobs/{job_id}/preview"): "veiled in the engine (backend.engine.previews), dropped at the end",
    ("get", "/api/v1/jobs/{job_id}/frames/{index}/{step}"): "veiled in the engine, closed for covered pictures",
    ("get", "/api/v1/jobs/{job_id}/frames/{index}/{step}/noisy"): "veiled in the engine, closed for covered pictures",
    ("get", "/api/v1/jobs/{job_id}/maps/{index}/{step}/{number}"): "veiled in the engine, closed for covered pictures",
    ("get", "/api/v1/jobs/{job_id}/events"): "words and numbers alone",
    ("get", "/api/v1/models/preview/{kind}"): "a file beside a model, never one of the history",
    ("get", "/api/v1/audits/{audit_id}/report"): "small pictures by TrustDesk.thumbnail; covered ones are not measured",
}
"""Method and path of every route whose reply is not described as JSON."""


def bytes_routes() -> set[tuple[str, str]]:
    found = set()
    for path, methods in described()["paths"].items():
        for method, route in methods.items():
            for status, reply in route["responses"].items():
                content = reply.get("content", {})
                described_json = set(content) == {"application/json"} and content["application/json"].get("schema")
                if status.startswith("2") and status != "204" and not described_json:
                    found.add((method, path))
    return found


def test_every_route_that_can_send_a_picture_says_how_it_is_guarded() -> None:
    assert bytes_routes() == set(ROUTES)


def test_no_route_is_left_out_of_the_description(tmp_path: Path) -> None:
    """But for two redirects, the description itself and the page's own static files."""
    app = api_app(FakeDesk(tmp_path, Settings(data=tmp_path)))
    paths = {getattr(route, "path", "") for route in app.routes} - set(described()["paths"])
    assert {path for path in paths if path} <= {"/", "/favicon.ico", "/signet", "/api/v1/openapi.json"}
    assert [route.path for route in app.routes if isinstance(route, Mount)] == ["/signet"]


# ---- the front desk

WAYS: dict[tuple[type, str], str] = {
    (Service, "file"): "principal",
    (Service, "thumbnail"): "TrustDesk.thumbnail",
    (Service, "preview"): "veiled in the engine, dropped at the end and with a covered picture",
    (Service, "frames"): "veiled in the engine, closed for covered pictures",
    (Service, "maps"): "veiled in the engine, closed for covered pictures",
    (TrustDesk, "uncovered"): "principal",
    (TrustDesk, "reviewed_file"): "principal",
    (TrustDesk, "thumbnail"): "a veil, or Covered",
}
"""Methods of the front desk that give a file, bytes, or what holds them."""
_CARRIES = re.compile(r"\b(Path|bytes|SealedImage|Frame|Maps|Pixels)\b")


def test_every_method_that_hands_out_bytes_asks_who_wants_them_or_says_why_not() -> None:
    names = {each.__name__ for each in (Path, bytes, SealedImage, Frame, Maps)}
    assert all(_CARRIES.search(name) for name in names)
    found = set()
    for desk in (Service, TrustDesk):
        for name, method in inspect.getmembers(desk, inspect.isfunction):
            given = str(typing.get_type_hints(method).get("return", ""))
            if not name.startswith("_") and _CARRIES.search(given):
                found.add((desk, name))
    assert found == set(WAYS)
    for (desk, name), guard in WAYS.items():
        parameters = inspect.signature(getattr(desk, name)).parameters
        assert ("principal" in parameters) == (guard == "principal"), name


def test_the_front_desk_opens_no_file_by_itself(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    studio.ready()
    job = studio.submit()
    studio.run(job)
    (record,) = studio.service.of_job(job.id)
    for name, call in (
        ("uncovered", lambda: studio.service.file(record.id, Principal())),
        ("thumbnail", lambda: studio.service.thumbnail(record.id)),
    ):
        assert call().is_file()
        with patch.object(TrustDesk, name, side_effect=Covered(record)), pytest.raises(Covered):
            call()
    studio.close()


OPENERS: dict[str, str] = {
    "backend/trust.py": "the trust desk itself",
    "backend/gather.py": "cells of a sheet, on their way to the engine and handled no milder than they are",
    "webui/compose_trust.py": "the verifier, which compares and hands nothing out",
    "backend/meaning.py": "what pictures show as numbers, for the search; a covered one is not looked at",
}
"""Modules that turn a picture of the history into its file."""


def test_nobody_else_turns_a_record_into_a_file() -> None:
    found = set()
    for room in ("backend", "webui", "safety", "db", "extensions"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = node.func if isinstance(node, ast.Call) else None
                if isinstance(called, ast.Attribute) and re.search(r"storage\.path$", ast.unparse(called)):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == set(OPENERS)


# ---- entries come first


def record(tmp_path: Path, handling: str) -> tuple[Studio, Record]:
    studio = Studio(tmp_path)
    studio.ready()
    job = studio.submit()
    studio.run(job)
    (made,) = studio.service.of_job(job.id)
    return studio, made.model_copy(update={"passport": made.passport.model_copy(update={"handling": handling})})


@pytest.mark.parametrize("handling", ["blur", "withhold"])
def test_what_cannot_be_put_on_record_is_not_shown(tmp_path: Path, handling: str) -> None:
    studio, covered = record(tmp_path, handling)
    log: Any = studio.trust.log
    log.error = SignetError(Problem("storage-full", "The disk is full", "No room.", 507))
    desk = studio.service.trust
    with patch.object(desk, "_found", return_value=covered):
        for ask in (
            lambda: desk.uncovered(covered, Principal(), reveal=True),
            lambda: desk.reviewed_file(covered.id, Principal()),
            lambda: desk.decide(covered.id, "released", "", Principal()),
        ):
            with pytest.raises(SignetError):
                ask()
    reviews: Any = studio.trust.reviews
    assert not reviews.decided
    studio.close()
