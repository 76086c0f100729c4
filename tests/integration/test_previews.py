"""Previews obey the policy under which their job was admitted, and no picture is another for it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backend import images
from backend.engine import decoding
from backend.engine.loop import Engine
from backend.engine.previews import SHARE, Previews, mode_of
from backend.types import Pixels, Verdict
from backend.wire import Frame, Maps, Preview, Work
from tests.support.bench import Bench, make_work
from tests.support.desk import PlainDesk
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]


class Watching(PlainDesk):
    """Looks at previews: `answer` says what of, or raises. `seen` counts the looks."""

    def __init__(self, answer: Callable[[Pixels], bool]) -> None:
        self.seen: list[Pixels] = []
        self._answer = answer

    def harmless(self, pixels: Pixels, verdict: Verdict) -> bool:
        self.seen.append(pixels)
        return self._answer(pixels)


class Blind:
    """A desk from before previews were looked at."""

    def __init__(self) -> None:
        plain = PlainDesk()
        self.inspect, self.seal = plain.inspect, plain.seal


def fail(pixels: Pixels) -> bool:
    raise RuntimeError("this scanner always fails")


@pytest.fixture
def bench_with() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(desk: object, **options: object) -> Bench:
        made.append(Bench(desk, previews=1e6, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def work(shelf: Shelf, previews: str = "show", **fields: object) -> Work:
    asked = make_work("job", shelf.info("one"), **fields)
    return replace(asked, verdict=replace(asked.verdict, previews=previews))


def edges(jpeg: bytes) -> float:
    return float(np.abs(np.diff(np.asarray(Image.open(io.BytesIO(jpeg)), np.float32), axis=0)).mean())


def blurred(bench: Bench) -> list[bool]:
    """Of each preview of the job, in order."""
    return [edges(said.jpeg) < 8 for said in bench.of("job", Preview)]


def test_harmless_previews_are_shown_after_a_look_at_each(shelf: Shelf, bench_with) -> None:
    desk = Watching(lambda pixels: True)
    bench = bench_with(desk)
    bench.make(work(shelf))
    assert blurred(bench) == [False] * 4
    assert len(desk.seen) == 4


def test_a_flagged_preview_is_blurred_and_all_that_follow_it_without_another_look(shelf: Shelf, bench_with) -> None:
    desk = Watching(lambda pixels: len(desk.seen) < 2)
    bench = bench_with(desk)
    bench.make(work(shelf))
    assert blurred(bench) == [False, True, True, True]
    assert len(desk.seen) == 2


def test_the_next_job_starts_with_a_clear_view(shelf: Shelf, bench_with) -> None:
    desk = Watching(lambda pixels: len(desk.seen) > 1)
    bench = bench_with(desk)
    bench.make(work(shelf))
    assert blurred(bench) == [True] * 4
    bench.said.clear()
    bench.make(work(shelf))
    assert blurred(bench) == [False] * 4


@pytest.mark.parametrize("desk", [Watching(fail), Blind()])
def test_a_scanner_that_fails_or_is_not_there_has_not_said_that_a_preview_is_harmless(
    shelf: Shelf, bench_with, desk: object
) -> None:
    bench = bench_with(desk)
    bench.make(work(shelf))
    assert blurred(bench) == [True] * 4
    assert bench.end("job").problem is None


@pytest.mark.parametrize(("previews", "owner"), [("blur", False), ("show", True), ("blur", True)])
def test_policy_and_owner_can_both_have_previews_blurred(shelf: Shelf, bench_with, previews: str, owner: bool) -> None:
    desk = Watching(lambda pixels: True)
    bench = bench_with(desk, blur_previews=owner)
    bench.make(work(shelf, previews))
    assert blurred(bench) == [True] * 4
    assert not desk.seen, "what is blurred anyway need not be looked at"


def test_where_previews_are_kept_back_nothing_at_all_is_seen_before_the_picture(shelf: Shelf, bench_with) -> None:
    bench = bench_with(Watching(lambda pixels: True))
    bench.make(work(shelf, "none", film=(1, 2, 3, 4), maps=True))
    assert not bench.of("job", Preview)
    assert not bench.of("job", Frame)
    assert not bench.of("job", Maps)
    assert len(bench.sealed) == 1


@pytest.mark.parametrize("flag", [False, True])
def test_film_and_maps_fall_under_the_veil_of_their_step(shelf: Shelf, bench_with, flag: bool) -> None:
    bench = bench_with(Watching(lambda pixels: not flag))
    bench.make(work(shelf, film=(2, 4), maps=True))
    frames, maps = bench.of("job", Frame), bench.of("job", Maps)
    assert [frame.step for frame in frames] == [each.step for each in maps] == [2, 4]
    for frame in frames:
        assert (edges(frame.jpeg) < 8) is flag
        assert (edges(frame.noisy) < 8) is flag
    sharpest = max(edges(word.png) for each in maps for word in each.words)
    assert (sharpest < 3) is flag


@pytest.mark.parametrize(
    ("previews", "answer"), [("show", lambda p: False), ("show", fail), ("blur", fail), ("none", fail)]
)
def test_the_picture_is_the_same_to_the_bit_whatever_becomes_of_its_previews(
    shelf: Shelf, bench_with, previews: str, answer: Callable[[Pixels], bool]
) -> None:
    plain, other = bench_with(Watching(lambda pixels: True)), bench_with(Watching(answer))
    asked = work(shelf, previews, film=(1, 4), maps=True)
    first = plain.picture(work(shelf, film=(1, 4), maps=True))
    assert np.array_equal(first, other.picture(asked))
    assert torch.equal(plain.engine.latents["job", 0], other.engine.latents["job", 0])


def test_a_slow_scanner_makes_previews_rarer_instead_of_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, pixels = Verdict("allow", "test-1"), np.zeros((4, 4, 3), np.uint8)
    clock = iter([0.0, 0.2])
    monkeypatch.setattr("backend.engine.previews.time.perf_counter", lambda: next(clock))
    previews = Previews(PlainDesk(), most=8, blur=False)
    assert previews.due("job", verdict, 0.13)
    assert not previews.veil("job", verdict, pixels).down  # took 0.2 s
    assert not previews.due("job", verdict, 0.2 / SHARE - 0.01)
    assert previews.due("job", verdict, 0.2 / SHARE)
    assert previews.due("job", replace(verdict, previews="blur"), 0.13), "no look, no cost"


@pytest.mark.parametrize(
    ("action", "previews", "mode"),
    [
        ("allow", "show", "show"),
        ("note", "blur", "blur"),
        ("blur", "show", "blur"),
        ("blur", "none", "none"),
        ("withhold", "show", "none"),
        ("unheard of", "show", "none"),
        ("allow", "unheard of", "none"),
    ],
)
def test_previews_are_never_clearer_than_the_picture_will_be(action: str, previews: str, mode: str) -> None:
    assert mode_of(Verdict(action, "test-1", previews=previews)) == mode  # type: ignore[arg-type]


def test_a_verdict_with_a_word_nobody_knows_shows_nothing() -> None:
    previews = Previews(PlainDesk(), most=8, blur=False)
    assert not previews.wanted(replace(Verdict("allow", "test-1"), previews="everything"))  # type: ignore[arg-type]


def test_a_picture_that_overflows_is_said_to_and_never_comes_out_black(
    shelf: Shelf, bench_with, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Engine._next_pass

    def spoiled(self: Engine, one: object) -> None:
        with torch.inference_mode():
            one.stage.stepper.x.fill_(float("nan"))  # type: ignore[attr-defined]
        honest(self, one)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_next_pass", spoiled)
    bench = bench_with(Watching(lambda pixels: True))
    bench.make(work(shelf))
    problem = bench.end("job").problem
    assert problem is not None
    assert problem.code == "overflowed"
    assert "no filter or policy had a part in it" in problem.detail
    assert not bench.sealed


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_one_pixel_that_is_no_number_is_enough(odd: float) -> None:
    image = torch.zeros(3, 4, 4)
    assert decoding.to_pixels(image).shape == (4, 4, 3)
    image[1, 2, 3] = odd
    with pytest.raises(decoding.Overflowed, match="the autoencoder"):
        decoding.to_pixels(image)


def test_previews_stay_small(shelf: Shelf, bench_with) -> None:
    bench = bench_with(Watching(lambda pixels: True))
    bench.make(work(shelf))
    sizes = {images.decode(said.jpeg, max_pixels=10**6).pixels.shape for said in bench.of("job", Preview)}
    assert all(max(size[:2]) <= 128 for size in sizes)
