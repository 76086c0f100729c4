"""The promise on which everything else rests: a picture depends on its request and its bucket, never on company."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from backend.engine.families import unet
from backend.samplers import SAMPLERS
from backend.wire import Work
from tests.support.bench import Bench, make_work
from tests.support.desk import pixels_of
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

COMPOSITIONS = 200
ALL = [(name, schedule) for name, sampler in SAMPLERS.items() for schedule in sampler.schedules]


@pytest.fixture(scope="module")
def repertoire(shelf: Shelf) -> list[Work]:
    """Requests of every sampler, with and without guidance, of different lengths, sizes, counts and words."""
    dice = random.Random(5)
    works = []
    for number in range(36):
        sampler, schedule = ALL[number % len(ALL)]
        side = 16 if number % 6 else 24
        fields = {
            "prompt": dice.choice(["a photo of a cat", "a red dog", "blue", "a cat " * 20]),
            "negative": dice.choice(["", "a dog"]),
            "cfg": dice.choice([1.0, 1.0, 3.5, 7.0, 12.0]),
            "steps": dice.randint(1, 4),
            "seed": dice.randrange(1000),
            "count": dice.choice([1, 1, 1, 1, 2]),
        }
        model = shelf.info("two" if number % 9 == 8 else "one")
        works.append(make_work(f"{number}", model, sampler=sampler, schedule=schedule, width=side, height=16, **fields))
    return works


class Solo:
    """Each picture alone, pinned to a bucket: made once, and remembered."""

    def __init__(self) -> None:
        self.bench = Bench(previews=0.1)
        self.known: dict[tuple[str, int, int], tuple[torch.Tensor, bytes]] = {}

    def __call__(self, work: Work, index: int, bucket: int) -> tuple[torch.Tensor, bytes]:
        key = work.job_id, index, bucket
        if key not in self.known:
            name = "-".join(map(str, key))
            request = work.request.model_copy(update={"bucket": bucket, "count": 1, "seed": work.request.seed + index})
            ((_, sealed),) = self.bench.make(replace(work, job_id=name, request=request, indexes=(0,))).items()
            self.known[key] = self.bench.engine.latents[name, 0], pixels_of(sealed).tobytes()
        return self.known[key]


@pytest.fixture(scope="module")
def solo() -> Iterator[Solo]:
    made = Solo()
    yield made
    made.bench.close()


def test_a_picture_depends_on_its_request_and_bucket_but_never_on_its_neighbours(repertoire: list[Work], solo: Solo):
    """Random company, random times of arrival; some requests pinned, some cancelled half-way."""
    dice, bench = random.Random(2026), Bench(previews=0.1)
    compared, shared = 0, 0
    for composition in range(COMPOSITIONS):
        company = {}
        for place, work in enumerate(dice.sample(repertoire, dice.randint(2, 4))):
            name = f"{composition}-{place}"
            if dice.random() < 0.25:
                pinned = dice.choice([bucket for bucket in (1, 2, 4, 8) if bucket > 1 or work.request.cfg <= 1])
                work = replace(work, request=work.request.model_copy(update={"bucket": pinned}))
            company[name] = work
            bench.give(replace(work, job_id=name))
            bench.turn(dice.choice([0, 0, 1, 2, 4]))
        victim = dice.choice(list(company)) if dice.random() < 0.2 else ""
        if victim:
            bench.cancel(victim)
        bench.finish()
        for name, work in company.items():
            assert bench.end(name).problem is None
            for index in work.indexes:
                if (name, index) not in bench.sealed:
                    assert name == victim
                    continue
                bucket = bench.engine.buckets[name, index]
                assert work.request.bucket in (None, bucket)
                latent, pixels = solo(work, index, bucket)
                shared += bucket > (1 if work.request.cfg <= 1 else 2)
                compared += 1
                assert torch.equal(bench.engine.latents[name, index], latent), (composition, work.request)
                assert pixels_of(bench.sealed[name, index]).tobytes() == pixels
        bench.said.clear()
        bench.engine.latents.clear()
    bench.close()
    assert compared > 2 * COMPOSITIONS
    assert shared > compared / 2


@pytest.mark.parametrize("bucket", [2, 4, 8])
def test_the_place_within_a_batch_does_not_matter(shelf: Shelf, bucket: int):
    bench = Bench()
    works = [make_work("", shelf.info("one"), seed=seed, steps=3, bucket=bucket) for seed in range(bucket // 2)]
    for turn, first in enumerate(works):
        order = [first, *(work for work in works if work is not first)]
        bench.make(*(replace(work, job_id=f"{turn}-{work.request.seed}") for work in order))
    for work in works:
        made = [bench.engine.latents[f"{turn}-{work.request.seed}", 0] for turn in range(len(works))]
        assert all(torch.equal(latent, made[0]) for latent in made)
    bench.close()


def test_requests_that_arrive_together_do_share_their_forwards(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    rows: list[int] = []
    plain = unet.denoise
    monkeypatch.setattr(unet, "denoise", lambda m, inputs, *rest: rows.append(len(inputs)) or plain(m, inputs, *rest))
    bench = Bench()
    for number, sampler in enumerate(("Euler", "Euler a", "DDIM", "UniPC")):
        bench.give(make_work(f"{number}", shelf.info("one"), sampler=sampler, cfg=2.0 + number, seed=number, steps=5))
    bench.finish()
    assert rows == [8] * 5
    bench.close()


def test_a_short_picture_overtakes_a_long_one_and_the_long_one_still_ends(shelf: Shelf):
    bench = Bench()
    bench.give(make_work("long", shelf.info("one"), steps=30, width=16, height=16))
    bench.turn(3)
    bench.give(make_work("short", shelf.info("one"), steps=3, width=24, height=16))
    bench.finish()
    order = [said.job_id for said in bench.said if said in (bench.end("long"), bench.end("short"))]
    assert order == ["short", "long"]
    bench.close()
