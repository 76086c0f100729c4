"""The vision tower's recipe, on a handful of drawn signs."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from backend.towers import Towers
from training import claims, data, export, geometry, running, towers, vision, zero_shot
from training.captions import Scene, caption, draw_scene
from training.claims import claims_of, facts_of, family, gender, held_out, true_of
from training.data import FOOD, PEOPLE, STYLES, Record

pytestmark = pytest.mark.filterwarnings("ignore")


def sign(base: str, *, tone: int = 0, style: str = "flat", group: int = PEOPLE, subgroup: int = 25) -> Record:
    label = f"{base}: {zero_shot.TONES[tone - 1]} skin tone" if tone else base
    return Record(f"{abs(hash(label)):x}", label, base, (), style, group, subgroup, tone, False, 1.0)


PEOPLE_SIGNS = [
    sign(f"{who}{job}", tone=tone, style=style)
    for job in ("cook", "judge", "detective", "mechanic", "singer")
    for who in ("woman ", "man ", "")
    for tone in (0, 1, 5)
    for style in STYLES
]
SIGNS = [
    *PEOPLE_SIGNS,
    *(sign(name, group=FOOD, subgroup=42, style=style) for name in ("red apple", "pear") for style in STYLES),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signs as patches of colour, a tokenizer and a text tower that was never trained."""
    folder = tmp_path_factory.mktemp("work")
    data.save_records(SIGNS, folder)
    colours = np.random.default_rng(0).integers(0, 256, (len(SIGNS), 1, 1, 3), np.uint8)
    pictures = np.full((len(SIGNS), 128, 128, 4), 255, np.uint8)
    pictures[..., :3] = colours
    np.save(folder / "pictures.npy", pictures)
    torch.manual_seed(0)
    trunk = geometry.text_tower()
    running.save(folder / "towers.safetensors", {f"average.text.{n}": v for n, v in trunk.state_dict().items()}, {})
    return folder


@pytest.fixture(scope="module")
def trained(work: Path) -> Path:
    vision.train(work, minutes=0.02, seed=1, resume=False)
    return work


def test_a_family_is_one_whoever_does_it() -> None:
    assert {family(f"{who}cook") for who in ("woman ", "man ", "")} == {"cook"}
    assert {family(f"{who}: beard") for who in ("woman", "man", "person")} == {"beard"}
    assert family("man running: facing right") == family("person running") == "running"
    assert [gender(text) for text in ("woman cook", "men wrestling", "person", "cook", "kiss: woman, man")] == [
        1,
        2,
        3,
        0,
        4,
    ]
    assert gender("human") == gender("mango") == 0


def test_whole_families_are_held_out_in_every_style_and_others_never() -> None:
    out = {one.base for one in SIGNS if held_out(one)}
    assert {"detective", "woman detective", "man detective", "mechanic"} <= out and "cook" not in out
    assert not any(held_out(one) for one in SIGNS if one.group == FOOD)
    shown = claims.Shown(SIGNS)
    rng = Random(0)
    assert not any(held_out(SIGNS[row]) for _ in range(20) for row in shown.draw(rng, 32))


def test_a_caption_is_true_of_all_that_it_does_not_contradict() -> None:
    scene, blue = Scene(), Scene("blue")
    rows = [sign("woman cook", tone=5), sign("woman cook"), sign("man cook"), sign("cook"), sign("woman judge")]
    facts = [facts_of(row, scene, 1 + ("judge" in row.base)) for row in rows] + [facts_of(rows[1], blue, 1)]

    def true(text: str, own: int) -> list[bool]:
        found: list[bool] = true_of([claims_of(text, facts[own])], facts)[0].tolist()
        return found

    assert true("woman cook: dark skin tone", 0) == [True, False, False, False, False, False]
    assert true("a woman cook", 0) == [True, True, False, False, False, True]
    assert true("cook", 0) == [True, True, True, True, False, True]
    assert true("a woman cook on a blue background", 5) == [False, False, False, False, False, True]
    assert true("cook, flat style", 3) == [True, True, True, True, False, True]


def test_every_caption_of_the_grammar_is_true_of_its_own_picture() -> None:
    rng = Random(3)
    for one in rng.choices(SIGNS, k=300):
        facts = facts_of(one, scene := draw_scene(one, rng), 1)
        assert true_of([claims_of(caption(one, scene, rng, empty=0), facts)], [facts]).all()


def test_the_loss_is_least_where_all_that_is_right_is_equally_near() -> None:
    true = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    right = vision.contrastive(20 * true.float(), true)
    assert float(right) == pytest.approx(2 / 3 * math.log(2), abs=1e-3)
    assert float(vision.contrastive(20 * torch.eye(3), true)) > float(right) + 1


def test_training_leaves_a_pair_that_stock_classes_load(trained: Path, tmp_path: Path) -> None:
    starter, out = tmp_path / "starter", tmp_path / "starter-vision"
    export.text_encoder(towers.load_text(trained)).half().save_pretrained(starter / "text_encoder")
    geometry.save_tokenizer(towers.learn_tokenizer(trained), starter / "tokenizer")
    assert vision.export(trained, out) <= vision.LIMIT
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}
    model, _ = vision.load_clip(starter, out)
    assert sum(value.numel() for value in model.vision_model.parameters()) < 1_500_000
    assert Towers(starter, out).of_text("a red apple").shape == (256,)
    (out / "README.md").write_text(f"A card.\n{zero_shot.BEGIN}{zero_shot.END}\nThe end.\n")
    zero_shot.write(trained, starter, out)
    card = (out / "README.md").read_text()
    assert "gender presentation, signs never shown" in card and card.endswith("The end.\n")
    vision.export(trained, out)
    assert (out / "README.md").read_text() == card


def test_a_run_goes_on_and_finds_its_way_after_the_text_tower_changed(trained: Path) -> None:
    before = running.load(trained / "vision.safetensors")[1]["step"]
    vision.train(trained, minutes=0.04, seed=1, resume=True)
    assert running.load(trained / "vision.safetensors")[1]["step"] > before
    kept = (trained / "towers.safetensors").read_bytes()
    torch.manual_seed(9)
    state = geometry.text_tower().state_dict()
    running.save(trained / "towers.safetensors", {f"average.text.{n}": v for n, v in state.items()}, {})
    with pytest.raises(vision.Mismatch):
        vision.export(trained, trained / "out")
    vision.train(trained, minutes=0.06, seed=1, resume=True)
    known = vision.trained(trained)
    assert bytes(known.trunk.tolist()).hex() == vision.trunk_sha256(towers.load_text(trained).state_dict().items())
    (trained / "towers.safetensors").write_bytes(kept)


def test_a_run_may_begin_with_another_vision_tower(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = vision.Sight(vision.vision_config(layers=2))
    running.save(tmp_path / "old.safetensors", {f"average.{n}": v for n, v in small.state_dict().items()}, {})
    begun = vision.Sight(vision.vision_config(layers=3))
    vision.begin_from(begun, tmp_path / "old.safetensors")
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        one, other = (sight.vision(pixel_values=pixels).image_embeds for sight in (small, begun))
    assert torch.allclose(one, other, atol=1e-5)


def test_labels_are_counted_with_their_intervals() -> None:
    found = zero_shot.confusion("skin", ("light", "dark"), ["light"] * 9 + ["dark"], ["light"] * 8 + ["dark"] * 2)
    lines = list(found.lines())
    assert lines[2] == "| light | 8 | 1 | 8 of 9, 89 % [57, 98] |" and lines[3] == "| dark | 0 | 1 | 1 of 1 |"
    genders = zero_shot.gender_of(SIGNS)
    assert len(genders) == len(PEOPLE_SIGNS) and genders[0] == "woman"
    assert set(zero_shot.tone_of(SIGNS).values()) == {"light", "dark"}
