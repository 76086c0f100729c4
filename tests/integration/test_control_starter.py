"""The controls that ship with the starter: their pictures follow the lines they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.models.catalog import Catalog
from backend.preprocessors import preprocess
from backend.settings import ROOT
from backend.types import ControlUnit, ModelInfo, Pixels
from tests.support.bench import Bench, make_work
from tests.support.desk import pixels_of
from tests.support.drawings import shapes
from tests.support.pictures import put

SIDE, REACH = 128, 2
PEN = 3  # pixels
PROMPTS = ("a red heart", "a green tree", "a yellow star", "a blue book", "a mushroom", "a red apple")


@dataclass(frozen=True)
class Control:
    """`least` is the mean F1 that the shipped net has to reach on shapes it was not trained on, `drawn` what a person
    would bring for a shape."""

    name: str
    preprocessor: str
    drawn: Callable[[Pixels], Pixels]
    least: float

    @property
    def folder(self) -> Path:
        return ROOT / "models" / self.name


def sketched(shape: Pixels) -> Pixels:
    """The outlines of a shape in black ink on white paper."""
    ink = cv2.dilate(edges(shape).astype(np.uint8), np.ones((PEN, PEN), np.uint8)) > 0
    return np.where(ink[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)


CONTROLS = (
    Control("starter-edges", "canny", lambda shape: shape, 0.6),
    Control("starter-scribble", "scribble", sketched, 0.4),
)


@dataclass(frozen=True)
class Guided:
    bench: Bench
    starter: ModelInfo
    net: ModelInfo
    control: Control
    folder: Path

    def pictures(self, shape: Pixels, weight: float) -> list[Pixels]:
        source = put(self.control.drawn(shape), self.folder, "input")
        how = self.control.preprocessor
        unit = ControlUnit(image=source.sha256, model=self.net.id, preprocessor=how, weight=weight)
        works = [
            replace(
                make_work(
                    f"{prompt}-{weight}-{source.sha256[:8]}", self.starter, prompt=prompt, steps=20, cfg=4.0, seed=5,
                    sampler="Euler a", width=SIDE, height=SIDE, bucket=8, control=(unit,),
                ),
                inputs={source.sha256: source},
                resources=(self.net,),
            )
            for prompt in PROMPTS
        ]  # fmt: skip
        self.bench.make(*works)
        return [pixels_of(self.bench.sealed[work.job_id, 0]) for work in works]


@pytest.fixture(scope="module", params=CONTROLS, ids=lambda control: control.name)
def guided(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guided]:
    control: Control = request.param
    if not control.folder.is_dir():
        pytest.skip(f"{control.name} does not ship yet")
    catalog = Catalog((ROOT / "models" / "starter", control.folder), ())
    bench = Bench()
    net = catalog.find(control.name, "controlnet")
    yield Guided(bench, catalog.find("starter"), net, control, tmp_path_factory.mktemp("hints"))
    bench.close()


def edges(pixels: Pixels) -> np.ndarray:  # type: ignore[type-arg]
    return preprocess("canny", pixels, width=SIDE, height=SIDE)[..., 0] > 0


def agreement(made: Pixels, hint: Pixels) -> float:
    """F1 of edges that may miss by REACH pixels."""
    ours, theirs = edges(made), edges(hint)
    kernel = np.ones((2 * REACH + 1,) * 2, np.uint8)
    near_ours, near_theirs = (cv2.dilate(lines.astype(np.uint8), kernel) > 0 for lines in (ours, theirs))
    precision = (ours & near_theirs).sum() / max(1, ours.sum())
    recall = (theirs & near_ours).sum() / max(1, theirs.sum())
    return float(2 * precision * recall / max(1e-9, precision + recall))


def test_pictures_follow_the_lines_they_are_given_whatever_they_show(guided: Guided) -> None:
    followed, free = [], []
    for shape in shapes(SIDE).values():
        followed += [agreement(made, shape) for made in guided.pictures(shape, 1.0)]
        free += [agreement(made, shape) for made in guided.pictures(shape, 0.0)]
    name = guided.control.name
    print(f"{name}: agreement with control {np.mean(followed):.3f}, without {np.mean(free):.3f}, {len(free)} pictures")
    assert np.mean(followed) > np.mean(free) + 0.15
    assert np.mean(followed) > guided.control.least
