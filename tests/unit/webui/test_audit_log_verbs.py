from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from backend.errors import BadRequest, InvalidParameter, Unavailable
from backend.settings import Settings
from backend.types import Principal
from db.audits import SqlAuditLog
from db.engine import open_database
from safety.anchors import AnchorFile
from safety.audit_log import Chain, audit_keys
from safety.keys import open_keys
from safety.policy_store import PolicyDesk
from webui import auditing
from webui.auditing.log import glance

BOB = Principal("bob", frozenset({"user"}), "api")
Verb = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a studio that has been used: keys, entries of two people, a policy that was changed once."""
    settings = Settings(data=tmp_path_factory.mktemp("data"))
    keys = audit_keys(open_keys(settings.keys))
    with open_database(settings.database) as database:
        anchors = AnchorFile(settings.data / "audit" / "anchors.jsonl", keys)
        with SqlAuditLog(database, Chain(keys), anchors, keep_texts=True) as log:
            for who in (BOB, Principal(), BOB):
                log.append("verdict", who, {"job": who.id}, {"prompt": f"words of {who.id}"})
            PolicyDesk(settings.data / "policy.toml").change({"profile": "shared"}, Principal(), log)
    return settings.data


@pytest.fixture
def settings(used: Path, tmp_path: Path) -> Settings:
    return Settings(data=shutil.copytree(used, tmp_path / "data"))


@pytest.fixture
def audit(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Verb:
    def run(*given: str) -> tuple[int, Any]:
        asked, module = auditing.parse([*given, "--json"])
        status = auditing.run(asked, module, settings)
        return status, json.loads(capsys.readouterr().out)

    return run


def test_a_whole_log_is_told_so(audit: Verb, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = audit("verify")
    assert status == 0 and said["whole"] and said["entries"] == said["witnessed"] == 4
    assert said["remarks"] == [] and said["limits"]
    asked, module = auditing.parse(["verify"])
    assert auditing.run(asked, module, settings) == 0
    assert "4 entries, unbroken" in capsys.readouterr().out


def test_a_witness_from_elsewhere_can_be_named(audit: Verb) -> None:
    status, said = audit("verify", "--witness", "9:" + "ab" * 32)
    assert status == 1 and said["fault"]["kind"] == "cut-off"


def test_a_policy_that_is_not_on_record_is_remarked(audit: Verb, settings: Settings) -> None:
    file = settings.data / "policy.toml"
    kept = file.read_bytes()
    file.write_bytes(kept.replace(b"refuse", b"note"))
    assert any("policy in force" in remark for remark in audit("verify")[1]["remarks"])


def test_an_export_holds_what_a_check_needs_and_a_public_one_nothing_about_persons(audit: Verb, tmp_path: Path) -> None:
    full, public = tmp_path / "full.jsonl", tmp_path / "public.jsonl"
    status, said = audit("export", "--out", str(full))
    assert status == 0 and said["entries"] == 5 and full.stat().st_mode & 0o077 == 0
    assert audit("export", "--out", str(public), "--public")[0] == 0
    assert "bob" in full.read_text() and "bob" not in public.read_text()
    for file in (full, public):
        assert audit("verify", "--file", str(file))[0] == 0
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([*lines[:2], *lines[3:]]))
        status, said = audit("verify", "--file", str(file))
        assert status == 1 and said["fault"]["number"] == 2
    with pytest.raises(InvalidParameter):
        audit("export", "--out", str(full))
    (tmp_path / "other").write_text('{"form": "full"}')
    with pytest.raises(InvalidParameter):
        audit("verify", "--file", str(tmp_path / "other"))
    assert audit("verify")[1]["entries"] == 6  # both exports are on record


def test_texts_can_be_erased_by_person_and_by_age(audit: Verb) -> None:
    status, said = audit("erase", "--principal", "bob")
    assert status == 0 and (said["entries"], said["texts"]) == (2, 2)
    assert audit("erase", "--before", "2001-01-01")[1]["texts"] == 0
    assert audit("retain", "--days", "3")[1]["texts"] == 0
    assert audit("retain", "--days", "0")[1]["texts"] == 1
    status, said = audit("verify")
    assert status == 0 and said["erased"] == 3
    for wrong in (("erase",), ("erase", "--before", "soon"), ("retain", "--days", "-1")):
        with pytest.raises(InvalidParameter):
            audit(*wrong)
    with pytest.raises(BadRequest):
        audit("retain", "--days", "many")


def test_a_broken_log_ends_with_status_1_and_names_the_entry(audit: Verb, settings: Settings) -> None:
    with open_database(settings.database) as database, database.writing() as connection:
        connection.execute(text("DROP TRIGGER audit_entries_stay"))
        connection.execute(text("UPDATE audit_entries SET body = replace(body, 'bob', 'eve') WHERE seq = 3"))
    status, said = audit("verify")
    assert status == 1 and (said["fault"]["number"], said["fault"]["kind"]) == (3, "changed")


def test_no_keys_are_made_to_check_a_log_with(tmp_path: Path) -> None:
    empty = Settings(data=tmp_path / "none")
    asked, module = auditing.parse(["verify"])
    with pytest.raises(Unavailable, match="no keys"):
        auditing.run(asked, module, empty)
    assert not empty.keys.exists()


def test_a_glance_tells_a_cut_off_end_from_a_whole_log_and_from_none(settings: Settings, tmp_path: Path) -> None:
    assert glance(Settings(data=tmp_path / "none"))[0] and not (tmp_path / "none").exists()
    assert glance(settings) == (True, "4 entries; the newest anchor fits")
    with open_database(settings.database) as database, database.writing() as connection:
        connection.execute(text("DROP TRIGGER audit_entries_remain"))
        connection.execute(text("DELETE FROM audit_entries WHERE seq = 4"))
    assert not glance(settings)[0]
