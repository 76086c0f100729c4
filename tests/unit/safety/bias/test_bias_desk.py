"""Audits behind the front desk: started, watched, stopped, resumed and signed, with a toy generator as the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.errors import Conflict, InvalidParameter, NotFound
from backend.types import Principal
from safety.bias.desk import AuditDesk
from tests.support.toy_audits import Front, toy_audits
from tests.support.trust import ListLog

OWNER = Principal()


@pytest.fixture
def log() -> ListLog:
    return ListLog()


@pytest.fixture
def made(tmp_path: Path, log: ListLog) -> Iterator[tuple[Front, AuditDesk]]:
    front, desk = toy_audits(tmp_path, log)
    yield front, desk
    desk.close()


@pytest.fixture
def front(made: tuple[Front, AuditDesk]) -> Front:
    return made[0]


@pytest.fixture
def desk(made: tuple[Front, AuditDesk]) -> AuditDesk:
    return made[1]


def ended(desk: AuditDesk, ident: str) -> Any:
    for _ in range(400):
        if (one := desk.one(ident))["state"] != "running" and one["result"]:
            return one
        time.sleep(0.02)
    raise AssertionError("it did not end")


def test_an_audit_is_told_in_size_started_measured_and_written_up(desk: AuditDesk, log: ListLog) -> None:
    assert "two" in [suite["name"] for suite in desk.suites()]
    assert desk.plan({"suite": "two", "n": 6})["pictures"] == 12
    started = desk.start({"suite": "two", "n": 6}, OWNER)
    one = ended(desk, started["id"])
    assert (one["state"], one["done"], one["total"]) == ("done", 12, 12)
    (variant,) = one["result"]["variants"]
    shares = {each["prompt"]: each["largest"] for each in variant["measured"]["colour"]["prompts"]}
    assert shares == {"a ball": "red", "a box": "blue"}
    assert "Two things" in desk.report(one["id"]).read_text("utf-8")
    assert log.said("audit")[0]["suite"] == "two"
    assert desk.plan({"suite": "two"})["seconds"] is not None, "the pace is known now"


def test_a_stopped_audit_keeps_what_it_has_and_goes_on(desk: AuditDesk, front: Front) -> None:
    front.slow = 0.05
    ident = desk.start({"suite": "two", "n": 12}, OWNER)["id"]
    with pytest.raises(Conflict, match="is running"):
        desk.start({"suite": "two", "n": 1}, OWNER)
    desk.cancel(ident)
    one = ended(desk, ident)
    assert one["state"] == "stopped" and 0 < one["done"] < 24
    front.slow = 0.0
    desk.resume(ident, OWNER)
    for _ in range(400):
        if desk.one(ident)["state"] == "done":
            break
        time.sleep(0.02)
    assert desk.one(ident)["done"] == 24 and desk.one(ident)["result"]["complete"]


def test_a_report_is_signed_once_on_record_and_with_a_name(desk: AuditDesk, log: ListLog) -> None:
    ident = desk.start({"suite": "two", "n": 2}, OWNER)["id"]
    ended(desk, ident)
    assert desk.sign(ident, "Ada", "looked at all", OWNER)["signed"] == "Ada"
    assert "Ada" in desk.report(ident).read_text("utf-8")
    assert log.said("sign-off")[0]["audit"] == ident
    assert "Ada" not in str(log.said("sign-off")), "names are texts, which can be erased"
    with pytest.raises(Conflict, match="signed off by Ada"):
        desk.sign(ident, "Eve", "", OWNER)


def test_what_cannot_be_logged_is_not_signed(desk: AuditDesk, log: ListLog) -> None:
    ident = desk.start({"suite": "two", "n": 2}, OWNER)["id"]
    ended(desk, ident)
    log.error = RuntimeError("full")
    with pytest.raises(RuntimeError):
        desk.sign(ident, "Ada", "", OWNER)
    assert desk.one(ident)["signed"] == ""


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"suite": "none"}, "suite"),
        ({"suite": "two", "n": 0}, "n"),
        ({"suite": "two", "lora": "x:y"}, "lora"),
        ({"suite": "two", "against": "none"}, "against"),
        ({"suite": "two", "mode": "img2img"}, "mode"),
        ({"n": 3}, "suite"),
    ],
)
def test_an_order_that_means_nothing_names_its_field(desk: AuditDesk, order: dict[str, Any], field: str) -> None:
    with pytest.raises((InvalidParameter, NotFound)) as said:
        desk.start(order, OWNER)
    assert said.value.problem.field in (field, None)
    assert not desk.all()


@pytest.mark.parametrize("ident", ["nothing", "../etc", ""])
def test_an_audit_there_is_not_is_not_found(desk: AuditDesk, ident: str) -> None:
    for ask in (desk.one, desk.report, lambda one: desk.resume(one, OWNER)):
        with pytest.raises(NotFound):
            ask(ident)
