"""Problems as people and programs read them."""

from __future__ import annotations

import json
import logging
import pickle

import pytest

from backend.errors import Busy, InvalidParameter, NotFound, Problem, SignetError
from webui.api.replies import ProblemReply, Reply
from webui.headers import dress, page_policy
from webui.messages import as_mapping, clean, from_validation, problem_of


def test_what_cannot_be_encoded_is_replaced() -> None:
    assert clean("a\x00b\ud800c") == "a\ufffdb\ufffdc"
    members = as_mapping(InvalidParameter("\ud800", "no \udfff").problem)
    json.dumps(members, ensure_ascii=False).encode()


def test_empty_members_are_left_out() -> None:
    members = as_mapping(NotFound("job", "j1").problem)
    assert members["type"] == "/problems/not-found" and "hint" not in members and "retry_after" not in members


def test_the_unexpected_is_logged_and_numbered(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        problem = problem_of(RuntimeError("secret"))
    assert problem.code == "broken" and "secret" not in problem.sentence() and "secret" in caplog.text


def test_the_expected_keeps_its_problem_across_processes() -> None:
    error = Busy("later", 3)
    assert problem_of(pickle.loads(pickle.dumps(error))) == error.problem


def test_a_complaint_of_pydantic_never_repeats_the_value() -> None:
    problem = from_validation([{"loc": ("query", "limit"), "msg": "Input should be a number", "input": float("nan")}])
    assert problem.field == "limit" and problem.status == 422
    assert from_validation([]).field == "request"


def test_json_never_fails() -> None:
    body = Reply({"a": float("nan"), "b": [float("inf"), 1.5], "c": "\ud800", "d": ("x",)}).body
    assert json.loads(body) == {"a": None, "b": [None, 1.5], "c": "\ud800", "d": ["x"]}


def test_retry_after_is_a_whole_number_of_seconds() -> None:
    assert ProblemReply(Busy("later", 0.2).problem).headers["retry-after"] == "1"
    assert "retry-after" not in ProblemReply(SignetError(Problem("x", "x", "x")).problem).headers


def test_every_script_of_a_page_gets_the_nonce_and_foreign_metas_go() -> None:
    page = (
        b'<head><meta property="og:image" content="https://x/y.png" /><script>1</script></head><script src=a></script>'
    )
    dressed = dress(page, "N")
    assert dressed.count(b'<script nonce="N"') == dressed.count(b"<script") == 3
    assert b"og:image" not in dressed and b"/signet/app.js" in dressed
    assert "'nonce-N'" in page_policy("N") and "unsafe-eval" not in page_policy("N")
