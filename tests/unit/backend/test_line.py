"""The queue's bookkeeping: fair turns, moving one's own jobs, pausing, and grids that wait for their cells."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import NotFound
from backend.line import ROOM, Line
from backend.types import Grid, Job
from tests.crash.pictures import NOON, make_job


def job(name: str, who: str = "ann", *, at: float = 0, count: int = 1, cells: tuple[str, ...] = ()) -> Job:
    made = make_job(name, principal=who, created=NOON + timedelta(seconds=at), count=count)
    if not cells:
        return made
    return replace(made, request=made.request.model_copy(update={"grid": Grid(cells=cells, columns=1), "mode": "grid"}))


def line(*jobs: Job) -> Line:
    return Line(waiting={one.id: one for one in jobs})


def names(of: Line) -> list[str]:
    return [one.id for one in of.in_order()]


def start(of: Line) -> str | None:
    """Hand out the next job, as the service does."""
    turn = of.next()
    if turn is None:
        return None
    of.drop(turn.id)
    of.running[turn.id] = turn
    return turn.id


def test_what_came_first_goes_first():
    assert names(line(job("b", at=1), job("a", at=0), job("c", at=2))) == ["a", "b", "c"]


def test_people_take_turns_however_much_one_of_them_asks_for():
    many = line(*(job(f"a{number}", at=number) for number in range(4)), job("b", "bob", at=9), job("e", "eve", at=9))
    order = []
    while name := start(many):
        order.append(name)
        many.drop(name)
    assert set(order[:3]) == {"a0", "b", "e"}
    assert order[3:] == ["a1", "a2", "a3"]


def test_no_more_is_handed_out_than_the_engine_has_room_for():
    full = line(*(job(f"j{number}", at=number, count=8) for number in range(4)))
    assert [start(full) for _ in range(4)] == ["j0", "j1", None, None]
    assert sum(one.request.count for one in full.running.values()) == ROOM
    full.drop("j0")
    assert start(full) == "j2"


def test_a_paused_line_hands_out_nothing_and_forgets_nothing():
    paused = line(job("a"))
    paused.paused = True
    assert start(paused) is None
    paused.paused = False
    assert start(paused) == "a"


def test_a_job_moves_to_the_place_it_is_given():
    for place, wanted in [(0, "cab"), (1, "acb"), (2, "abc"), (99, "abc")]:
        moved = line(job("a", at=0), job("b", at=1), job("c", at=2))
        moved.move("c", place)
        assert "".join(names(moved)) == wanted


def test_jobs_that_came_at_the_same_moment_can_be_moved_too():
    same = line(job("a"), job("b"), job("c"))
    same.move("c", 1)
    assert names(same) == ["a", "c", "b"]


def test_what_comes_later_stands_behind_what_was_moved():
    moved = line(job("a", at=0), job("b", at=1))
    moved.move("b", 0)
    moved.waiting["c"] = job("c", at=2)
    assert names(moved) == ["b", "a", "c"]


def test_moving_ones_own_jobs_takes_nobody_elses_turn():
    mixed = line(job("a0", at=0), job("b0", "bob", at=1), job("a1", at=2), job("b1", "bob", at=3))
    before = [name for name in names(mixed) if name.startswith("b")]
    mixed.move("a1", 0)
    assert [name for name in names(mixed) if name.startswith("b")] == before
    assert names(mixed) == ["b0", "a1", "b1", "a0"]


def test_only_what_waits_can_be_moved():
    with pytest.raises(NotFound):
        line(job("a")).move("b", 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=80))
def test_however_often_jobs_are_moved_each_stands_where_it_was_put(moves: list[tuple[int, int]]):
    busy = line(*(job(str(number), at=number * 1e-6) for number in range(6)))
    plain = [str(number) for number in range(6)]
    for which, place in moves:
        busy.move(str(which), place)
        plain.remove(str(which))
        plain.insert(place, str(which))
        assert names(busy) == plain


def test_a_grid_waits_until_its_cells_are_through_and_others_pass_it():
    grid = line(job("grid", at=0, cells=("a", "", "gone")), job("a", at=1), job("z", at=2))
    assert [start(grid), start(grid), start(grid)] == ["a", "z", None]
    grid.drop("a")
    assert start(grid) == "grid"


def test_what_was_dropped_leaves_no_trace():
    moved = line(job("a"), job("b", at=1))
    moved.move("b", 0)
    start(moved)
    assert (moved.drop("b") is not None, moved.drop("b"), moved.order.get("b")) == (True, None, None)
