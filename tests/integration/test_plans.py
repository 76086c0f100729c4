"""Plans through the front desk with a real database, while the test plays the engine; and one plot for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import wire
from backend.errors import Busy, InvalidParameter, NotFound, Problem, Refused, UnknownModel
from backend.hooks import NoHooks
from backend.plans import PlanTicket
from backend.types import Job, Principal, SourceImage, Verdict
from tests.support.bench import Bench
from tests.support.desk import pixels_of
from tests.support.models import Shelf, shelf
from tests.support.studio import OWNER, Studio

__all__ = ["shelf"]
FIELDS = {"prompt": "a cat", "seed": 7, "width": 64, "height": 64}
TWO_BY_TWO = {"x": {"axis": "Steps", "values": "4, 8"}, "y": {"axis": "Seed", "values": "1, 2"}}


@pytest.fixture
def studio(data: Path) -> Iterator[Studio]:
    made = Studio(data)
    yield made
    made.close()


@pytest.fixture
def ready(studio: Studio) -> Studio:
    studio.ready()
    return studio


def submit(studio: Studio, arguments: Any = TWO_BY_TWO, kind: str = "xyz", **fields: Any) -> PlanTicket:
    return studio.service.plans.submit(kind, {**FIELDS, **fields}, arguments, OWNER)


def states(studio: Studio, ticket: PlanTicket) -> list[str]:
    now = studio.service.plans.ticket(ticket.id)
    return [job.state for job in (*now.jobs, *now.grids)]


def test_the_cells_are_made_first_and_then_the_sheet(ready: Studio) -> None:
    ticket = submit(ready)
    assert [(job.request.steps, job.request.seed, job.request.count) for job in ticket.jobs] == [
        (4, 1, 1), (8, 1, 1), (4, 2, 1), (8, 2, 1),
    ]  # fmt: skip
    assert ticket.labels[1] == "Steps: 8, Seed: 1"
    (grid,) = ticket.grids
    assert grid.request.mode == "grid" and grid.request.grid is not None
    assert grid.request.grid.cells == tuple(job.id for job in ticket.jobs)
    assert grid.request.grid.row_labels == ("Seed: 1", "Seed: 2")
    assert ready.running == [job.id for job in ticket.jobs]
    for job in ticket.jobs:
        assert grid.id not in ready.running
        ready.run(job)
    assert ready.running[-1] == grid.id
    cells = ready.link.works[-1].cells
    assert [cell.sha256 for cell in cells if cell] == [
        ready.service.of_job(job.id)[0].passport.sha256 for job in ticket.jobs
    ]
    ready.run(grid)
    assert states(ready, ticket) == ["done"] * 5


def test_a_cell_without_a_picture_leaves_its_place_empty(ready: Studio) -> None:
    ticket = submit(ready)
    first, second, third, fourth = ticket.jobs
    ready.run(first)
    ready.end(second, Problem("broken", "It broke", "It broke."))
    ready.service.cancel(third.id, OWNER)
    ready.end(third, cancelled=True)
    ready.run(fourth)
    assert [cell is not None for cell in ready.link.works[-1].cells] == [True, False, False, True]


def test_a_sheet_without_a_single_picture_fails_and_says_so(ready: Studio) -> None:
    ticket = submit(ready)
    for job in ticket.jobs:
        ready.end(job, Problem("broken", "It broke", "It broke."))
    (grid,) = ready.service.plans.ticket(ticket.id).grids
    assert grid.state == "failed" and grid.problem is not None
    assert "None of the pictures of this sheet" in grid.problem["detail"]
    assert len(ready.link.works) == 4


def test_cancelling_takes_all_that_is_left_and_lays_no_sheet(ready: Studio) -> None:
    ticket = submit(ready, {"x": {"axis": "Seed", "values": "1-20"}})
    done, *rest = ticket.jobs
    ready.run(done)
    under_way = [job for job in rest if ready.state(job) == "running"]
    started = len(ready.link.works)
    ready.service.plans.cancel(ticket.id, OWNER)
    assert ready.link.cancelled == [job.id for job in under_way]
    for job in under_way:
        ready.end(job, cancelled=True)
    assert states(ready, ticket) == ["done", *["cancelled"] * 20]
    assert len(ready.link.works) == started
    assert ready.service.plans.cancel(ticket.id, OWNER).grids[0].state == "cancelled"  # again does no harm


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"x": {"axis": "Steps", "values": "4, 8, 9000"}}, InvalidParameter, "Steps: 9000: steps is 9000"),
        ({"x": {"axis": "Prompt S/R", "values": "cat, forbidden"}}, Refused, "forbidden: The policy"),
        ({"x": {"axis": "Checkpoint", "values": "other"}}, InvalidParameter, 'Checkpoint: There is no "other"'),
    ],
)
def test_one_bad_value_keeps_everything_out_of_the_queue(
    ready: Studio, arguments: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        submit(ready, arguments)
    assert not ready.link.works and ready.service.health().waiting == 0
    assert all(job.state == "refused" for job in ready.service.jobs(OWNER))


def test_an_error_of_a_cell_keeps_its_kind(ready: Studio) -> None:
    with pytest.raises(UnknownModel, match="Steps: 4: There is no model"):
        submit(ready, {"x": {"axis": "Steps", "values": "4"}}, model="nowhere")


def test_a_plan_larger_than_the_queue_is_refused_with_its_number(data: Path) -> None:
    studio = Studio(data, max_waiting_jobs=6)
    try:
        with pytest.raises(InvalidParameter, match=r"makes 7 jobs; at most 6 may wait.*max_waiting_jobs"):
            submit(studio, {"x": {"axis": "Seed", "values": "1-6"}})
        submit(studio)
        with pytest.raises(Busy, match=r"5 jobs are waiting already\. 5 more are too many"):
            submit(studio)
        assert studio.service.health().waiting == 5
    finally:
        studio.close()


def test_pictures_with_checkpoints_are_queued_in_the_order_of_the_plan(ready: Studio) -> None:
    ticket = submit(ready, {"x": {"axis": "Checkpoint", "values": "tiny"}, "y": {"axis": "CFG", "values": "1-3"}})
    assert [job.request.cfg for job in ticket.jobs] == [1, 2, 3]
    assert [job.id for job in ready.service.running()] == [job.id for job in ticket.jobs]
    assert [job.id for job in ready.service.waiting()] == [ticket.grids[0].id]


def test_a_batch_takes_pictures_that_were_brought(ready: Studio) -> None:
    from backend import images

    ids = [ready.library.put(images.encode_png(np.full((64, 96, 3), shade, np.uint8))).id for shade in (10, 200)]
    ticket = submit(ready, {"pictures": ids}, "batch", mode="img2img")
    assert [(job.request.init_image, job.request.width) for job in ticket.jobs] == [(ids[0], 96), (ids[1], 96)]
    assert ticket.grids == ()
    with pytest.raises(NotFound, match="Picture 2: "):
        submit(ready, {"pictures": [ids[0], "0" * 64]}, "batch", mode="img2img")


def test_a_plan_nobody_made_is_not_found(ready: Studio) -> None:
    for call in (ready.service.plans.ticket, lambda ident: ready.service.plans.cancel(ident, OWNER)):
        with pytest.raises(NotFound):
            call("nothing")
    with pytest.raises(NotFound):
        submit(ready, kind="nothing")


def test_only_the_newest_tickets_are_kept(ready: Studio) -> None:
    first = submit(ready, {"x": {"axis": "Seed", "values": "1"}})
    ready.service.plans._tickets |= {str(number): first for number in range(300)}
    submit(ready, {"x": {"axis": "Seed", "values": "1"}})
    with pytest.raises(NotFound):
        ready.service.plans.ticket(first.id)
    assert len(ready.service.plans._tickets) == 200


def test_a_picture_that_was_deleted_meanwhile_leaves_its_place_empty(ready: Studio) -> None:
    *first, last = submit(ready).jobs
    for job in first:
        ready.run(job)
        ready.service.delete(ready.service.of_job(job.id)[0].id, OWNER)
    ready.run(last)
    assert [cell is not None for cell in ready.link.works[-1].cells] == [False, False, False, True]


def test_hooks_hear_of_pictures_and_ends(data: Path) -> None:
    heard: list[Any] = []
    studio = Studio(data, Told(heard))
    studio.ready()
    job = studio.submit()
    assert job.request.prompt == "a cat on a mat"
    studio.run(job)
    waiting = [studio.submit() for _ in range(20)][-1]
    studio.service.cancel(waiting.id, OWNER)
    assert heard == [("kept", studio.service.of_job(job.id)[0].id), ("done", job.id), ("cancelled", waiting.id)]
    studio.close()


class Told(NoHooks):
    """Hooks that write down what they are told."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    def changed_fields(self, fields: Any, principal: Principal) -> Any:
        return {**fields, "prompt": fields["prompt"] + " on a mat"}

    def picture_kept(self, record: Any) -> None:
        self.heard.append(("kept", record.id))

    def job_ended(self, job: Job) -> None:
        if job.state != "interrupted":
            self.heard.append((job.state, job.id))


# ---- for real


def test_a_plot_made_by_the_engine_shows_the_pixels_of_its_cells(ready: Studio, shelf: Shelf, tmp_path: Path) -> None:
    arguments = {**TWO_BY_TWO, "x": {"axis": "Steps", "values": "1, 2"}, "margin": 8}
    ticket = submit(ready, arguments)
    (grid,) = ticket.grids
    bench, info = Bench(), shelf.info("one")
    try:
        works = [wire.Work(job.id, job.request, info, job.verdict, (0,)) for job in ticket.jobs]
        made = bench.make(*works)
        cells = []
        for job in ticket.jobs:
            picture = made[job.id, 0]
            path = tmp_path / f"{job.id}.png"
            path.write_bytes(picture.data)
            cells.append(SourceImage(picture.passport.sha256, str(path), "image/png", "component"))
        work = wire.Work(grid.id, grid.request, info, Verdict("allow", "test"), (0,), cells=tuple(cells))
        sheet = bench.make(work)[grid.id, 0]
    finally:
        bench.close()
    found = pixels_of(sheet)
    top, left = found.shape[0] - 136, found.shape[1] - 136
    assert top > 0 and left > 0, "there is a legend above and beside the pictures"
    assert len({made[job.id, 0].data for job in ticket.jobs}) == 4
    for number, job in enumerate(ticket.jobs):
        row, column = divmod(number, 2)
        y, x = top + row * 72, left + column * 72
        assert np.array_equal(found[y : y + 64, x : x + 64], pixels_of(made[job.id, 0]))
    assert sheet.passport.model.family == "none" and sheet.passport.request.grid is not None
