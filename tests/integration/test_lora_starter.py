"""A LoRA trained on the starter model here and now: its style arrives, and its card says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from backend.engine.lora_card import LoraCard
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_training import Trainer, TrainingSettings
from backend.models.catalog import Catalog
from backend.settings import ROOT
from backend.types import LoraUse, ModelCard, ModelInfo, Words
from backend.wire import Work
from tests.support.bench import Bench, make_work
from tests.support.drawings import STYLE, blueprints, border

STARTER = ROOT / "models" / "starter"
STEPS = 60
PROMPT = f"a house, {STYLE}"


@dataclass(frozen=True)
class Trained:
    bench: Bench
    starter: ModelInfo
    card: ModelCard


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "loras").mkdir()
    bench = Bench()
    starter = Catalog((STARTER,), ()).find("starter")
    pictures = [TrainingImage(pixels, caption, caption) for caption, pixels in blueprints(128).items()]
    settings = TrainingSettings(
        rank=8, alpha=8, steps=STEPS, learning_rate=2e-3, resolution=128, batch=4, seed=1, targets="all",
        schedule="cosine", warmup=10, caption_dropout=0.05,
    )  # fmt: skip
    card = LoraCard("Blueprint", licence="CC0-1.0", trigger=STYLE)
    trainer = Trainer(bench.memory.get(starter), pictures, settings, folder / "work", card)
    first = trainer.step()
    while not trainer.done:
        last = trainer.step()
    assert last.average < first.loss
    trainer.save(folder / "loras" / "Blueprint.safetensors")
    trainer.close()
    yield Trained(bench, starter, Catalog((), (), own=folder).card("Blueprint", "lora"))
    bench.close()


def test_the_style_arrives_and_only_where_it_is_asked_for(trained: Trained) -> None:
    plain = trained.bench.picture(_work(trained, "plain"))
    styled = trained.bench.picture(_work(trained, "styled", weight=1.0))
    again = trained.bench.picture(_work(trained, "again"))
    assert min(border(plain)) > 150  # the starter paints on light ground
    red, _, blue = border(styled)
    assert blue > red + 40  # and the LoRA on deep blue
    assert red < 80
    assert torch.equal(trained.bench.engine.latents["plain", 0], trained.bench.engine.latents["again", 0])
    assert (plain == again).all()


def test_half_the_weight_is_half_the_way(trained: Trained) -> None:
    reds = [border(trained.bench.picture(_work(trained, f"w{weight}", weight=weight)))[0] for weight in (0.01, 0.5, 1)]
    assert reds[0] > reds[1] > reds[2]


def test_its_card_shows_how_to_call_it_and_what_it_is_for(trained: Trained) -> None:
    card = trained.card
    assert STYLE in card.triggers
    assert card.info.licence == "CC0-1.0"
    assert card.metadata["ss_network_dim"] == "8"
    assert card.metadata["modelspec.architecture"].endswith("/lora")
    assert Catalog((STARTER,), ()).fits(card.info, trained.starter) == ""
    assert Path(card.info.path).stat().st_size < 4 << 20


def _work(trained: Trained, name: str, weight: float = 0.0) -> Work:
    use = (LoraUse(id=trained.card.info.id, text=weight, unet=weight),) if weight else ()
    work = make_work(
        name, trained.starter, prompt=PROMPT, words=(Words(prompt=PROMPT, loras=use),), steps=12, cfg=2.0, seed=7,
        sampler="Euler a", width=128, height=128, bucket=2,
    )  # fmt: skip
    return replace(work, resources=(trained.card.info,) if weight else ())
