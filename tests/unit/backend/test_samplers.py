from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter, SignetError, UnknownSampler
from backend.samplers import AUTOMATIC, SAMPLERS, SCHEDULES, listing, names, resolve
from backend.solvers.plan import SOLVERS

A1111 = """Euler a, Euler, Heun, LMS, DPM2, DPM2 a, DPM++ 2M, DPM++ 2M SDE, DPM++ 2M SDE Heun, DPM++ 3M SDE, DPM++ SDE,
DPM++ 2S a, DPM fast, Restart, DDIM, PLMS, UniPC, LCM"""


def test_every_sampler_of_a1111_that_can_be_planned_is_there_and_has_a_solver():
    assert set(names()) == {" ".join(name.split()) for name in A1111.split(",")}
    assert set(names()) == set(SOLVERS)
    assert names()[0] == "Euler"


def test_every_sampler_begins_with_automatic_and_uses_schedules_that_exist():
    for sampler in SAMPLERS.values():
        assert sampler.schedules[0] == AUTOMATIC
        assert set(sampler.schedules) <= set(SCHEDULES)
        assert sampler.automatic in ("", *SCHEDULES)


def test_no_two_samplers_or_schedules_share_a_name():
    for table in (
        {sampler.name: sampler.aliases for sampler in SAMPLERS.values()},
        SCHEDULES,
    ):
        folded = [
            "".join(ch for ch in word.casefold() if ch not in " _-") for name in table for word in (name, *table[name])
        ]
        titles = ["".join(ch for ch in name.casefold() if ch not in " _-") for name in table]
        assert len(set(titles)) == len(titles)
        assert {word for word in folded if folded.count(word) > 1} <= set(titles)


@st.composite
def shouted(draw: st.DrawFn) -> tuple[str, str]:
    """(a sampler's name or alias in any mixture of cases with space about it, its canonical name)"""
    name = draw(st.sampled_from(names()))
    word = draw(st.sampled_from((name, *SAMPLERS[name].aliases)))
    mixed = "".join(draw(st.sampled_from((ch.upper(), ch.lower()))) for ch in word)
    return draw(st.sampled_from(("", " ", "\t"))) + mixed + draw(st.sampled_from(("", "  "))), name


@settings(deadline=None)
@given(shouted())
def test_a_name_or_alias_in_any_case_is_understood(asked: tuple[str, str]):
    assert resolve(asked[0]) == (asked[1], AUTOMATIC)


@settings(deadline=None)
@given(shouted(), st.sampled_from(sorted(SCHEDULES)), st.booleans())
def test_a_schedule_is_understood_in_its_own_field_or_behind_the_name(
    asked: tuple[str, str], schedule: str, joined: bool
):
    word, name = asked
    for spelling in (schedule, *SCHEDULES[schedule], schedule.upper()):
        call = (f"{word} {spelling}",) if joined else (word, spelling)
        if schedule in SAMPLERS[name].schedules:
            assert resolve(*call) == (name, schedule)
        else:
            with pytest.raises(UnknownSampler) as caught:
                resolve(*call)
            assert caught.value.problem.field == "schedule"


@pytest.mark.parametrize(
    ("asked", "understood"),
    [
        (("Euler",), ("Euler", AUTOMATIC)),
        (("k_euler_ancestral",), ("Euler a", AUTOMATIC)),
        (("DPM++ 2M Karras",), ("DPM++ 2M", "Karras")),
        (("dpm++ 2m sde heun align your steps",), ("DPM++ 2M SDE Heun", "Align Your Steps")),
        (("dpm++ 2m", "KARRAS"), ("DPM++ 2M", "Karras")),
        (("DPM++ 2M Karras", "karras"), ("DPM++ 2M", "Karras")),
        (("k_dpmpp_2m_sde_ka",), ("DPM++ 2M SDE", "Karras")),
        (("Euler", ""), ("Euler", AUTOMATIC)),
        (("Euler", "sgm_uniform"), ("Euler", "SGM Uniform")),
        (("Euler SGMUniform",), ("Euler", "SGM Uniform")),
        (("unipc exponential", "automatic"), ("UniPC", "Exponential")),
        (("DDIM DDIM",), ("DDIM", "DDIM")),
    ],
)
def test_names_are_understood_in_one_piece_and_in_two(asked: tuple[str, ...], understood: tuple[str, str]):
    assert resolve(*asked) == understood


@pytest.mark.parametrize(
    ("asked", "field", "hint"),
    [
        (("Eular",), "sampler", '"Euler"'),
        (("",), "sampler", "Choose one of"),
        (("_ka",), "sampler", ""),
        (("Karras",), "sampler", ""),
        (("DPM++ 2M", "Karas"), "schedule", '"Karras"'),
        (("PLMS", "Karras"), "schedule", AUTOMATIC),
        (("DPM++ 2M Karras", "Exponential"), "sampler", '"DPM++ 2M"'),
        (("DPM++ 2M Karras", "nonsense"), "sampler", '"DPM++ 2M"'),
    ],
)
def test_an_unknown_name_is_refused_with_what_there_is(asked: tuple[str, ...], field: str, hint: str):
    with pytest.raises(UnknownSampler) as caught:
        resolve(*asked)
    assert caught.value.problem.field == field
    assert hint in str(caught.value.problem.hint)


@pytest.mark.parametrize(
    ("asked", "instead"),
    [
        ("DPM adaptive", "DPM fast"),
        ("k_dpm_ad", "DPM fast"),
        ("DPM adaptive Karras", "DPM fast"),
        ("DDIM CFG++", "DDIM"),
        ("ddim_cfgpp", "DDIM"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_reason_and_the_nearest(asked: str, instead: str):
    with pytest.raises(InvalidParameter) as caught:
        resolve(asked)
    assert caught.value.problem.field == "sampler"
    assert "is not offered" in caught.value.problem.detail
    assert f'"{instead}"' in str(caught.value.problem.hint)


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_is_a_name_or_a_problem(sampler: str, schedule: str):
    try:
        name, chosen = resolve(sampler, schedule)
    except SignetError:
        return
    assert chosen in SAMPLERS[name].schedules


def test_the_list_for_apis_is_plain_data():
    rows = json.loads(json.dumps(listing()))
    assert [row["name"] for row in rows] == list(names())
    euler, *_ = rows
    assert euler["automatic"] is None
    assert euler["schedules"][0] == AUTOMATIC
    assert {row["name"]: row["automatic"] for row in rows}["DPM++ 2M"] == "Karras"
    assert all(row["note"] for row in rows if "SDE" in row["name"])
