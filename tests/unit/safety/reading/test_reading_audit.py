"""`audit prompt`: a line of JSON for every prompt, whatever file they come in."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from backend.errors import InvalidParameter
from backend.settings import Settings
from tests.unit.safety.reading.quiet import quiet
from webui.auditing import prompt as verb


@pytest.fixture(autouse=True)
def only_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = verb.judged
    monkeypatch.setattr(verb, "shipped", quiet)
    monkeypatch.setattr(verb, "judged", lambda *given: judged(*given, reader=quiet()))


def run(*given: str, capsys: pytest.CaptureFixture[str]) -> str:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    verb.arguments(parser)
    assert verb.run(parser.parse_args(list(given)), Settings()) == 0
    return capsys.readouterr().out


def lines(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_every_prompt_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = lines(run("a lighthouse", "nude child", "--json", capsys=capsys))
    assert (first["prompt"], first["verdict"], first["categories"]) == ("a lighthouse", "allow", [])
    assert (second["verdict"], second["categories"][0]) == ("refuse", "sexual-minors")  # type: ignore[index]
    assert 0 <= float(str(first["score"])) < 0.5 <= float(str(second["score"])) <= 1
    assert (second["layer"], second["evidence"]) == ("words", "nude + child")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.txt", b"one\r\n\n two \xff\nthree\x0bmore\n"),
        ("p.json", b'["one", {"prompt": " two \xff"}, "three\\u000bmore"]'),
        ("p.jsonl", b'{"prompt": "one"}\n" two \xff"\n\n{"prompt": "three\\u000bmore", "label": 1}\n'),
        ("p.csv", b"id,Prompt\n1,one\n2, two \xff\n3,three\x0bmore\n"),
        ("p.tsv", "\ufeffprompt\tid\none\t1\n two \udcff\t2\nthree\x0bmore\t3\n".encode("utf-8", "surrogateescape")),
    ],
)
def test_a_file_of_any_kind_is_read(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert verb.prompts_of(str(tmp_path / name)) == ("one", " two \ufffd", "three\x0bmore")


def test_prompts_come_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a cat\na dog\n")))
    assert [line["prompt"] for line in lines(run("--file", "-", "--json", capsys=capsys))] == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("name", "text"), [("p.json", "{"), ("p.json", "[1]"), ("p.json", "5"), ("p.jsonl", "x"), ("p.csv", "a,b\n1,2\n")]
)
def test_a_file_that_cannot_be_used_says_why(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidParameter):
        verb.prompts_of(str(tmp_path / name))
    with pytest.raises(InvalidParameter, match="cannot be read"):
        verb.prompts_of(str(tmp_path / "missing.txt"))


def test_nothing_to_judge_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidParameter):
        run(capsys=capsys)


def test_for_people_there_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = run("a castle by Greg Rutkowski", "--profile", "personal", capsys=capsys)
    assert "living-artist (Greg Rutkowski; names)" in out
    assert "describe the technique" in out
    assert out.rstrip().endswith("A score of 0.500 or more leads to more than a note.")


def test_the_profile_decides_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("a nude woman", "--json", "--profile")
    assert lines(run(*asked, "personal", capsys=capsys))[0]["verdict"] == "note"
    assert lines(run(*asked, "shared", capsys=capsys))[0]["verdict"] == "refuse"
