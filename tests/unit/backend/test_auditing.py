from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

from backend.auditing import EVENTS, job_facts, record_facts, refusal_facts, texts_of, verdict_facts
from backend.errors import Refused, Unavailable
from backend.types import SpokenReason, Verdict
from tests.crash.pictures import make_job, make_record, make_request

ROOT = Path(__file__).resolve().parents[3]
REASON = SpokenReason("violence", "Zebrafinch", "rules", 0.75, "negative")


class RefusedWithReasons(Refused):
    def __init__(self) -> None:
        super().__init__('read as "Zebrafinch"', "not Zebrafinch", "negative")
        self.reasons, self.policy = (REASON,), "shared-1"


def test_facts_hold_no_word_that_was_typed() -> None:
    verdict = Verdict("note", "personal-2", (REASON,), score=0.75)
    job = replace(make_job(), request=make_request("Zebrafinch"), verdict=verdict)
    record = make_record(1, request=make_request("Zebrafinch"))
    facts = [verdict_facts(verdict), job_facts(job), refusal_facts(RefusedWithReasons()), record_facts(record)]
    assert "Zebrafinch" not in json.dumps(facts)


def test_a_refusal_says_by_which_policy_and_for_which_reasons() -> None:
    facts = refusal_facts(RefusedWithReasons())
    assert (facts["code"], facts["policy"], facts["field"]) == ("refused", "shared-1", "negative")
    assert facts["reasons"] == [{"category": "violence", "layer": "rules", "score": 0.75, "field": "negative"}]
    assert refusal_facts(Unavailable("no classifier")) == {"code": "unavailable", "field": None, "reasons": []}


def test_texts_are_what_people_wrote_and_nothing_empty() -> None:
    assert texts_of(make_request("a cat", negative="")) == {"prompt": "a cat"}


def _events() -> set[str]:
    """First arguments of calls like log.append("event", who, {...}) and trust.record("event", who, {...})."""
    found = set()
    for room in ("backend", "safety", "webui", "db"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(ast.Attribute(attr="append" | "record"), [ast.Constant(str(event)), _, *_]):
                        found.add(event)
    return found


def test_every_event_that_is_written_is_in_the_table() -> None:
    assert {"verdict", "refusal", "policy"} <= _events() <= set(EVENTS)
