from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import Busy, InvalidParameter, NotAllowed, SignetError, StorageFull, Unavailable
from backend.types import Principal
from backend.types.jobs import LADDER
from safety.policy import CATEGORIES, CLOSED, NEVER, PERSONAL, PROFILES, ROLES, SHARED, Policy, edited, flat
from safety.policy_store import PolicyDesk, difference

OWNER = Principal()


class Entries:
    """A log that is a list; `watch` is called before an entry is taken."""

    def __init__(self, error: Exception | None = None, watch: Any = None) -> None:
        self.entries: list[tuple[str, Mapping[str, Any]]] = []
        self.error, self.watch = error, watch

    def append(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str:
        if self.watch:
            self.watch()
        if self.error:
            raise self.error
        json.dumps(dict(facts))
        self.entries.append((event, facts))
        return "1:x"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def test_the_first_start_is_personal_and_writes_nothing(path: Path) -> None:
    desk = PolicyDesk(path)
    assert desk.current() is PERSONAL and desk.problem() is None and desk.digest() is None
    assert not path.exists()


def test_a_change_is_on_record_before_it_takes_effect(path: Path) -> None:
    desk = PolicyDesk(path)
    log = Entries(watch=lambda: seen.append(PolicyDesk(path).current().id))
    seen: list[str] = []
    changed = desk.change({"profile": "shared", "actions": {"copyright": "blur"}}, OWNER, log)
    assert seen == ["personal-2"] and changed.id == "shared+own-3" == desk.current().id
    ((event, facts),) = log.entries
    assert event == "policy" and (facts["from"], facts["to"]) == ("personal-2", "shared+own-3")
    assert facts["changes"]["actions.copyright"] == ["note", "blur"]
    assert facts["changes"]["flag_from"] == [None, 0.5] and facts["sha256"] == desk.digest()
    assert PolicyDesk(path).current() == changed


@pytest.mark.parametrize("error", [StorageFull(1, 0), Unavailable("no")])
def test_a_change_that_cannot_be_put_on_record_does_not_happen(path: Path, error: SignetError) -> None:
    desk = PolicyDesk(path)
    desk.change({"profile": "shared"}, OWNER, Entries())
    with pytest.raises(type(error)):
        desk.change({"profile": "personal"}, OWNER, Entries(error))
    assert desk.current().id == "shared-3"
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".policy-")] == []


@pytest.mark.parametrize(
    "who",
    [
        Principal("bob", frozenset({"user"})),
        Principal("eve", frozenset({"operator", "guest"}), "api"),
        Principal(source="share"),
        Principal(source="extension"),
        Principal(source="mcp"),
    ],
)
def test_nobody_but_the_owner_at_the_studio_changes_it(path: Path, who: Principal) -> None:
    log = Entries()
    with pytest.raises(NotAllowed):
        PolicyDesk(path).change({"profile": "classroom"}, who, log)
    assert log.entries == [] and not path.exists()


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"profile": "lax"}, "profile"),
        ({"profile": ["shared"]}, "profile"),
        ({"colour": "red"}, "colour"),
        ({"actions": {"cats": "refuse"}}, "actions"),
        ({"actions": {"violence": "perhaps"}}, "actions.violence"),
        ({"actions": {"nudification": "note"}}, "actions.nudification"),
        ({"actions": {"sexual-minors": "withhold"}}, "actions.sexual-minors"),
        ({"roles": {"guest": {"nudification": "allow"}}}, "roles.guest.nudification"),
        ({"roles": {"king": {}}}, "roles"),
        ({"roles": {"guest": "everything"}}, "roles.guest"),
        ({"actions": "everything"}, "actions"),
        ({"flagged": "show"}, "flagged"),
        ({"flag_from": 0}, "flag_from"),
        ({"flag_from": 2}, "flag_from"),
        ({"flag_from": True}, "flag_from"),
        ({"flag_from": float("nan")}, "flag_from"),
        ({"flag_from": "0.5"}, "flag_from"),
        ({"previews": "some"}, "previews"),
    ],
)
def test_what_means_nothing_is_named(path: Path, edit: Mapping[str, Any], field: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        PolicyDesk(path).change(edit, OWNER, Entries())
    assert caught.value.problem.field == field and not path.exists()


ACTIONS = st.sampled_from(LADDER)
TABLES = st.dictionaries(st.sampled_from([each for each in CATEGORIES if each not in NEVER]), ACTIONS, max_size=5)
EDITS = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.sampled_from(sorted(PROFILES)),
        "actions": TABLES,
        "roles": st.dictionaries(st.sampled_from(ROLES), TABLES, max_size=3),
        "flagged": st.sampled_from(["blur", "withhold"]),
        "flag_from": st.none() | st.floats(0.001, 0.999),
        "previews": st.sampled_from(["show", "blur", "none"]),
    },
)


@settings(max_examples=60, deadline=None)
@given(edits=st.lists(EDITS, min_size=1, max_size=4))
def test_any_row_of_changes_is_read_back_as_it_was_made(
    edits: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    desk, log, version = PolicyDesk(path), Entries(), PERSONAL.version
    for edit in edits:
        before = desk.current()
        policy = desk.change(edit, OWNER, log)
        version += 1
        assert policy.version == version and PolicyDesk(path).current() == policy == desk.current()
        assert difference(before, policy) == log.entries[-1][1]["changes"]
        assert all(policy.action(category, (role,)) == "refuse" for category in NEVER for role in ROLES)
        base = policy.name.removesuffix("+own")
        assert (policy.name == base) == (flat(policy) == flat(PROFILES[base]))


def test_a_name_or_number_of_a_changed_profile_does_not_pass_for_the_profile_itself() -> None:
    changed = edited(SHARED, {"actions": {"hate": "note"}}, version=9)
    assert changed.id == "shared+own-9"
    assert edited(changed, {"actions": {"hate": "refuse"}}, version=10).id == "shared-10"


@pytest.mark.parametrize("spoil", ["cut", "loosened", "emptied", "binary", "forged"])
def test_a_file_that_is_damaged_or_edited_closes_the_studio_down_and_says_why(path: Path, spoil: str) -> None:
    desk = PolicyDesk(path)
    desk.change({"profile": "shared"}, OWNER, Entries())
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "loosened": whole.replace(b'hate = "refuse"', b'hate = "allow"'),
            "emptied": b"",
            "binary": b"\xff\x00" * 50,
            "forged": whole.replace(b'nudification = "refuse"', b'nudification = "note"'),
        }[spoil]
    )
    assert desk.current() is CLOSED and "policy.toml" in (desk.problem() or "")
    assert desk.shown()["problem"] == desk.problem() == PolicyDesk(path).problem()
    log = Entries()
    repaired = desk.change({"profile": "personal"}, OWNER, log)
    assert repaired.name == "personal" and repaired.version >= 3 and desk.problem() is None
    assert log.entries[0][1]["repaired"] and log.entries[0][1]["from"] == "closed-1"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the owner of everything can read everything")
def test_a_file_that_cannot_be_read_closes_the_studio_down(path: Path) -> None:
    desk = PolicyDesk(path)
    desk.change({"profile": "personal"}, OWNER, Entries())
    path.chmod(0)
    assert PolicyDesk(path).current() is CLOSED


def test_a_folder_in_the_place_of_the_file_closes_the_studio_down(path: Path) -> None:
    path.mkdir()
    assert PolicyDesk(path).current() is CLOSED


def test_another_process_sees_a_change_at_its_next_question(path: Path) -> None:
    one, other = PolicyDesk(path), PolicyDesk(path)
    one.change({"profile": "classroom"}, OWNER, Entries())
    assert other.current().name == "classroom"
    other.change({"previews": "blur"}, OWNER, Entries())
    assert one.current().id == "classroom+own-4"


def test_changes_at_the_same_time_come_one_after_the_other(path: Path) -> None:
    log = Entries()
    desks = [PolicyDesk(path) for _ in range(4)]
    threads = [threading.Thread(target=desk.change, args=({"previews": "blur"}, OWNER, log)) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert PolicyDesk(path).current().version == 6
    assert [facts["to"] for _, facts in log.entries] == [f"personal+own-{number}" for number in (3, 4, 5, 6)]


def test_who_has_to_wait_too_long_is_told_so(path: Path) -> None:
    desk, late = PolicyDesk(path), PolicyDesk(path, patience=0.05)
    outcome: list[Exception] = []

    def meanwhile() -> None:
        try:
            late.change({"profile": "shared"}, OWNER, Entries())
        except SignetError as error:
            outcome.append(error)

    def other() -> None:
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()

    desk.change({"profile": "classroom"}, OWNER, Entries(watch=other))
    assert [type(error) for error in outcome] == [Busy] and desk.current().name == "classroom"


def test_every_category_is_told_in_plain_words(path: Path) -> None:
    desk = PolicyDesk(path)
    desk.change({"profile": "shared", "roles": {"guest": {"public-figure": "refuse"}}}, OWNER, Entries())
    rows = {row["category"]: row for row in desk.described()}
    assert set(rows) == set(CATEGORIES)
    assert rows["public-figure"]["roles"] == {"guest": "refuse"} and rows["public-figure"]["action"] == "note"
    assert {name for name, row in rows.items() if row["fixed"]} == NEVER
    assert rows["hate"]["words"] == "not made" and all(row["meaning"] and row["words"] for row in rows.values())
    shown = json.loads(json.dumps(desk.shown()))
    assert (shown["id"], shown["profile"]) == ("shared+own-3", "shared")
    assert [profile["name"] for profile in shown["profiles"]] == list(PROFILES)
    assert all(profile["about"] for profile in shown["profiles"]) and shown["problem"] is None


def test_a_policy_that_lets_through_what_must_be_refused_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="does not refuse"):
        Policy("lax", 1, {**PERSONAL.actions, "nudification": "note"})
    with pytest.raises(ValueError, match="previews"):
        Policy("odd", 1, PERSONAL.actions, previews="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="score"):
        Policy("odd", 1, PERSONAL.actions, flag_from=1.5)
    assert {CLOSED.action(category) for category in CATEGORIES} == {"refuse"} and CLOSED.name not in PROFILES
