from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.types import Principal
from benchmarks.trust.log import KEY, Kept, made, missed
from safety.anchors import AnchorFile
from safety.audit_check import Report, check_links
from safety.audit_log import Chain, audit_keys
from safety.commitments import canonical, commitment, read_head
from safety.keys import Keys

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OTHER = bytes(range(1, 33))


def report_of(log: Kept, *witnesses: str) -> Report:
    return Chain([KEY]).check(log.rows, sorted(log.texts, key=lambda text: text[:2]), witnesses or log.witnesses)


def test_a_whole_chain_verifies_and_says_how_far_it_is_witnessed() -> None:
    report = report_of(made(25))
    assert report.whole and (report.entries, report.witnessed, report.witnesses) == (25, 20, 2)
    assert (report.kept, report.sealed, report.erased) == (24, 26, 0)
    assert report.head == f"25:{made_head(report)}" and report.plain()["unwitnessed"] == 5


def made_head(report: Report) -> str:
    parts = read_head(report.head)
    assert parts is not None
    return parts[1]


def test_every_kind_of_tampering_is_noticed_every_time() -> None:
    found = missed(400, seed=7, entries=40)
    assert sum(tried for _, tried in found.values()) >= 390
    assert {kind: unseen for kind, (unseen, _) in found.items() if unseen} == {}


@pytest.mark.parametrize(
    ("rows", "number", "kind"),
    [
        (lambda rows: [*rows[:4], *rows[5:]], 5, "gap"),
        (lambda rows: [*rows[:4], rows[4], *rows[4:]], 5, "order"),
        (lambda rows: [*rows[:4], (5, rows[4][1].replace("note", "deny"), *rows[4][2:]), *rows[5:]], 5, "changed"),
        (lambda rows: [*rows[:4], (5, *rows[5][1:]), (6, *rows[4][1:]), *rows[6:]], 5, "order"),
        (lambda rows: rows[:15], 16, "cut-off"),
    ],
)
def test_the_first_bad_entry_is_named_and_how_it_is_bad(rows, number: int, kind: str) -> None:  # type: ignore[no-untyped-def]
    log = made(25)
    tampered = rows(list(log.rows))
    there = {row[0] for row in tampered}
    fault = report_of(Kept(tuple(tampered), tuple(t for t in log.texts if t[0] in there), log.witnesses)).fault
    assert fault is not None and (fault.number, fault.kind) == (number, kind)


def test_an_end_cut_off_after_the_last_witness_is_not_noticed_and_the_report_says_so() -> None:
    log = made(25)
    report = report_of(Kept(log.rows[:22], tuple(t for t in log.texts if t[0] <= 22), log.witnesses))
    assert report.whole and report.plain()["unwitnessed"] == 2
    assert any("could be cut off" in limit for limit in report.plain()["limits"])


def test_the_head_in_a_passport_is_a_witness_like_any_other() -> None:
    log = made(25)
    cut = Kept(log.rows[:22], tuple(t for t in log.texts if t[0] <= 22), log.witnesses)
    fault = report_of(cut, *log.witnesses, f"25:{log.rows[-1][3]}").fault
    assert fault is not None and fault.kind == "cut-off"


def test_a_log_made_anew_with_the_key_is_betrayed_by_its_witnesses_alone() -> None:
    fresh, old = made(25), made(25)
    assert report_of(fresh, "garbage").whole
    fault = report_of(fresh, *old.witnesses).fault
    assert fault is not None and (fault.number, fault.kind) == (10, "rewritten")


def test_with_other_keys_nothing_verifies_and_with_earlier_ones_everything_does() -> None:
    log = made(3)
    fault = Chain([OTHER]).check(log.rows, (), ()).fault
    assert fault is not None and "other keys" in fault.detail
    newer = Chain([OTHER, KEY])
    link = newer.link((3, log.rows[-1][3]), NOON, Principal(), "keys", {})
    assert newer.check([*log.rows, link.row], sorted(log.texts, key=lambda text: text[:2])).whole
    assert not Chain([KEY]).check([*log.rows, link.row], sorted(log.texts, key=lambda text: text[:2])).whole


def test_a_text_that_is_gone_needs_an_entry_that_says_so() -> None:
    log = made(9)
    chain = Chain([KEY])
    left = sorted((text for text in log.texts if text[0] % 3 != 1), key=lambda text: text[:2])
    fault = chain.check(log.rows, left, ()).fault
    assert fault is not None and (fault.number, fault.kind) == (1, "text-missing")
    rule = {"principal": "user-1", "through": 9, "entries": 3, "texts": 6}
    link = chain.link((9, log.rows[-1][3]), NOON, Principal(), "erase", rule)
    report = chain.check([*log.rows, link.row], left)
    assert report.whole and report.erased == 6
    for wrong in ({"principal": "user-2", "through": 9}, {"principal": "user-1", "through": 4}, {"through": 9}):
        link = chain.link((9, log.rows[-1][3]), NOON, Principal(), "erase", wrong)
        assert not chain.check([*log.rows, link.row], left).whole


def test_a_clock_that_was_set_back_is_a_remark_and_no_fault() -> None:
    chain, rows, last = Chain([KEY]), [], None
    for minutes in (0, 10, -300, 20):
        link = chain.link(last, NOON + timedelta(minutes=minutes), Principal(), "start", {})
        rows.append(link.row)
        last = (link.number, link.hash)
    report = chain.check(rows)
    assert report.whole and any("set back" in remark for remark in report.remarks)


def test_the_chain_holds_no_word_that_was_written() -> None:
    link = Chain([KEY]).link(None, NOON, Principal(), "verdict", {"job": "1"}, {"prompt": "Zebrafinch", "negative": ""})
    assert "Zebrafinch" not in link.body and [text[1] for text in link.texts] == ["prompt"]
    assert link.texts[0][3] is None
    _, name, salt, _ = link.texts[0]
    assert json.loads(link.body)["texts"]["prompt"]["commitment"] == commitment(salt, name, b"Zebrafinch")


def test_the_same_text_twice_leaves_no_trace_of_being_the_same() -> None:
    chain = Chain([KEY])
    one, other = (chain.link(None, NOON, Principal(), "verdict", {}, {"prompt": "again"}) for _ in range(2))
    assert json.loads(one.body)["texts"] != json.loads(other.body)["texts"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(facts=st.dictionaries(st.text(max_size=8), PLAIN, max_size=4), text=st.text(st.characters(), max_size=40))
def test_whatever_is_put_on_record_verifies_and_is_ascii(facts: dict[str, object], text: str) -> None:
    chain = Chain([KEY])
    link = chain.link(None, NOON, Principal(), "verdict", facts, {"prompt": text}, keep_texts=True)
    assert link.body.isascii() and canonical(json.loads(link.body)) == link.body
    assert chain.check([link.row], link.texts).whole


@pytest.mark.parametrize("facts", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "y" * 300_000}])
def test_facts_that_cannot_be_kept_are_turned_away(facts: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Chain([KEY]).link(None, NOON, Principal(), "verdict", facts)


def test_the_key_of_the_log_is_none_of_the_other_keys(keys: Keys, other_keys: Keys) -> None:
    own = audit_keys(keys)
    assert own == audit_keys(keys) and own != audit_keys(other_keys)
    assert all(len(key) == 32 for key in own) and keys.watermark_key not in own


def test_a_public_export_shows_that_hashes_follow_and_no_more() -> None:
    log = made(12)
    links = [(number, before, own) for number, _, before, own in log.rows]
    assert check_links(links, log.witnesses) is None
    for wrong in ([*links[:4], *links[5:]], links[:8], [links[1], *links[1:]]):
        assert check_links(wrong, log.witnesses) is not None


# ---- anchors


def test_a_head_is_written_down_for_every_so_many_entries_and_every_hour(tmp_path: Path) -> None:
    clock = [0.0]
    anchors = AnchorFile(tmp_path / "audit" / "anchors.jsonl", [KEY], every=10, seconds=3600, now=lambda: clock[0])
    log = made(40)
    for number, _, _, own in log.rows[:25]:
        anchors.passed(number, own)
    assert [head.partition(":")[0] for head in anchors.read().heads] == ["10", "20"]
    clock[0] = 4000
    anchors.passed(26, log.rows[25][3])
    assert anchors.write(26, log.rows[25][3])
    assert anchors.read().heads == tuple(f"{n}:{log.rows[n - 1][3]}" for n in (10, 20, 26))


def test_an_anchor_that_was_changed_is_told_from_one_that_a_crash_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    log = made(3)
    for number, _, _, own in log.rows:
        AnchorFile(path, [KEY]).write(number, own)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert AnchorFile(path, [KEY]).read() == type(AnchorFile(path, [KEY]).read())(
        tuple(f"{n}:{log.rows[n - 1][3]}" for n in (1, 2))
    )
    AnchorFile(path, [KEY]).write(3, log.rows[2][3])
    again = AnchorFile(path, [KEY]).read()
    assert again.problem is None and len(again.heads) == 3
    for at in range(0, len(whole), 7):
        changed = bytes([whole[at] ^ 1])
        path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        assert AnchorFile(path, [KEY]).read().problem, at


def test_anchors_that_cannot_be_written_stop_nobody_and_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    anchors = AnchorFile(tmp_path / "audit" / "anchors.jsonl", [KEY], every=1)
    log = made(2)
    assert not anchors.write(1, log.rows[0][3])
    (tmp_path / "audit").unlink()
    anchors.passed(2, log.rows[1][3])
    assert len(anchors.read().heads) == 1
