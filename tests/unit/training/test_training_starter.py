"""The starter model's recipe, on pictures so small that every stage takes a moment."""

from __future__ import annotations

import json
import tarfile
import warnings
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from training import (
    autoencoder,
    captions,
    data,
    denoiser,
    export,
    geometry,
    lens,
    meanings,
    pictures,
    running,
    sheet,
    towers,
)
from training.captions import COLOURS, HUES, Scene
from training.data import FACES, FLAGS, FOOD, PEOPLE, STYLES, Record
from training.denoiser import Shown
from training.everyday import EVERYDAY
from training.meanings import Meanings

pytestmark = pytest.mark.filterwarnings("ignore")

ENTRIES = [
    {"label": "red apple", "hexcode": "1F34E", "tags": ["apple", "fruit"], "group": FOOD, "subgroup": 42},
    {"label": "dog face", "hexcode": "1F436", "tags": ["dog", "pet"], "group": 3, "subgroup": 34},
    {"label": "flag: France", "hexcode": "1F1EB-1F1F7", "tags": ["FR"], "group": FLAGS, "subgroup": 98},
    {"label": "left arrow", "hexcode": "2B05-FE0F", "tags": ["arrow"], "group": 8, "subgroup": 85},
    {
        "label": "woman health worker",
        "hexcode": "1F469-200D-2695-FE0F",
        "tags": ["doctor", "nurse"],
        "group": PEOPLE,
        "subgroup": 25,
        "skins": [{"label": "woman health worker: dark skin tone", "hexcode": "1F469-1F3FF-200D-2695", "tone": 5}],
    },
]


def records() -> list[Record]:
    known = data.read_labels(ENTRIES).values()
    return [
        Record(**{**{name: getattr(record, name) for name in Record.__slots__}, "style": style})
        for style in STYLES
        for record in known
    ]


def named(label: str) -> Record:
    return next(record for record in records() if record.label == label)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a few synthetic pictures: a coloured disc on transparency each."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[: data.SIZE, : data.SIZE]
    layers = np.zeros((len(records()), data.SIZE, data.SIZE, 4), dtype=np.uint8)
    for layer in layers:
        disc = (yy - rng.integers(40, 90)) ** 2 + (xx - rng.integers(40, 90)) ** 2 < rng.integers(20, 40) ** 2
        layer[disc] = [*rng.integers(0, 256, 3), 255]
    np.save(folder / "pictures.npy", layers)
    data.save_records(records(), folder)
    basis = autoencoder.fit_basis(autoencoder.draw(layers, records(), Random(0), 48))
    running.save(folder / "basis.safetensors", {"weight": basis.weight, "bias": basis.bias}, {"scale": basis.scale})
    return folder


def test_codes_match_across_packages_whatever_their_case_padding_and_variation_selector() -> None:
    assert data.plain("0023-FE0F-20E3") == data.plain("23-20e3") == "0023-20e3"


def test_the_skin_tones_of_one_sign_together_weigh_as_much_as_one_sign() -> None:
    both = [record.weight for record in data.read_labels(ENTRIES).values() if record.base == "woman health worker"]
    assert len(both) == 2
    assert sum(both) == pytest.approx(1.0)


def test_food_is_drawn_more_often_than_flags() -> None:
    assert named("red apple").weight > 3 * named("flag: France").weight


def test_what_would_become_untrue_in_a_mirror_is_never_mirrored() -> None:
    rng = Random(0)
    assert not any(captions.draw_scene(named("left arrow"), rng).mirrored for _ in range(200))
    assert any(captions.draw_scene(named("red apple"), rng).mirrored for _ in range(20))


def test_about_one_caption_in_ten_is_empty() -> None:
    rng = Random(0)
    empty = sum(captions.caption(named("red apple"), Scene(), rng) == "" for _ in range(2000))
    assert 150 < empty < 250


def test_a_caption_never_names_a_background_that_is_not_there() -> None:
    rng = Random(0)
    for _ in range(500):
        said = captions.caption(named("dog face"), Scene("blue"), rng)
        assert "background" not in said or "on a blue background" in said


def test_a_caption_never_names_a_wrong_style() -> None:
    rng = Random(0)
    for record in records():
        for _ in range(50):
            said = captions.caption(record, Scene(), rng)
            assert not any(f"{other} style" in said for other in STYLES if other != record.style)


def test_a_shifted_hue_is_always_named() -> None:
    rng = Random(0)
    said = [captions.caption(named("dog face"), Scene(hue="purple"), rng, empty=0) for _ in range(100)]
    assert all("purple" in text for text in said)


def test_a_thing_with_a_colour_in_its_name_keeps_that_colour() -> None:
    rng = Random(0)
    assert not any(captions.draw_scene(named("red apple"), rng).hue for _ in range(300))


def test_people_are_sometimes_named_without_tone_and_without_gender() -> None:
    rng = Random(0)
    said = {captions.subject(named("woman health worker: dark skin tone"), rng) for _ in range(300)}
    assert {"woman health worker: dark skin tone", "woman health worker", "health worker"} <= said


def test_faces_are_not_called_icons() -> None:
    face = Record("1f600", "grinning face", "grinning face", (), "3d", FACES, 0, 0, True, 3.0)
    rng = Random(0)
    assert not any("icon" in captions.caption(face, Scene(), rng) for _ in range(300))


def test_a_picture_stands_on_the_named_colour() -> None:
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    for name, colour in COLOURS.items():
        seen = pictures.show(clear, Scene(name))
        assert np.allclose((seen[:, 0, 0] + 1) * 127.5, colour, atol=0.01)


def test_a_hue_shift_keeps_grey_grey_and_makes_purple_of_red() -> None:
    pair = np.array([[[128, 128, 128, 255], [200, 20, 20, 255]]], dtype=np.uint8)
    assert set(HUES) >= {"purple"}
    grey, shifted = pictures.paint(pair, "purple")[0, :, :3]
    assert np.ptp(grey) < 1
    assert shifted[2] > shifted[0] > shifted[1]


def test_a_wrong_package_version_is_named(tmp_path: Path) -> None:
    manifest = json.dumps({"name": "emojibase-data", "version": "16.0.0"}).encode()
    with tarfile.open(tmp_path / "emojibase-data-17.0.0.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(manifest)
        archive.addfile(entry, BytesIO(manifest))
    with pytest.raises(data.WrongPackage, match=r"16\.0\.0.*needs emojibase-data@17\.0\.0"):
        data.obtain("emojibase-data@17.0.0", tmp_path)


def test_a_reloaded_tokenizer_gives_the_same_ids(work: Path) -> None:
    learned = towers.learn_tokenizer(work)
    again = CLIPTokenizer.from_pretrained(work / "tokenizer")
    text = "A woman health worker's RED apple, 3d style 🍎"
    assert len(learned) == geometry.VOCABULARY
    assert learned(text).input_ids == again(text).input_ids
    assert learned("a").input_ids[0] == learned.bos_token_id == geometry.VOCABULARY - 2
    assert learned("a").input_ids[-1] == learned.eos_token_id == learned.pad_token_id == geometry.VOCABULARY - 1


def test_latents_have_unit_spread_and_no_mean(work: Path) -> None:
    layers, known = data.load(work)
    basis = autoencoder.basis_of(work)
    latents = basis.latents(autoencoder.draw(layers, known, Random(0), 48)) * basis.scale
    assert latents.shape == (48, geometry.LATENT_CHANNELS, 8, 8)
    assert float(latents.std()) == pytest.approx(1.0, abs=0.02)
    assert float(latents.mean()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("part", autoencoder.PARTS)
def test_a_step_changes_one_half_of_the_autoencoder_and_leaves_the_other(work: Path, part: str) -> None:
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in autoencoder.build().state_dict().items()}
    autoencoder.train(work, part, minutes=1e-3, seed=0, resume=False)
    after = running.part(running.load(work / f"{part}.safetensors")[0], "module")
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == ({"decoder", "post_quant_conv"} if part == "decoder" else {"encoder", "quant_conv"})


def few_meanings() -> Meanings:
    """Signs on axes of their own; the word "pup" lies near the dog, "ohm" near nothing."""
    signs = sorted({record.base for record in records()})
    axes = torch.eye(meanings.WIDTH)
    of_words = torch.stack([axes[signs.index("dog face")], axes[100]])
    return Meanings(signs, axes[: len(signs)], ["pup", "ohm"], of_words)


def test_a_word_may_mean_the_signs_it_lies_near_or_none() -> None:
    likely, near = few_meanings().likely()
    assert few_meanings().signs[int(likely[0].argmax())] == "dog face"
    assert near.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a red apple on a blue background, flat style", ("flat", "blue", "")),
        ("red apple, glossy 3d", ("", "", "")),
        ("Woman Health Worker: Medium-Dark Skin Tone", ("", "", "medium-dark skin tone")),
        ("a dark horse", ("", "", "")),
    ],
)
def test_what_a_caption_tells_is_what_stands_in_it(text: str, told: tuple[str, str, str]) -> None:
    places = towers.told_by(text, "flat", "blue", "")
    found = [values[place] for values, place in zip(towers.TOLD.values(), places, strict=True)]
    assert (found[0], found[1], found[3]) == told


def test_the_tower_learns_to_tell_what_was_said(work: Path) -> None:
    torch.manual_seed(0)
    rng, tokenizer = Random(0), towers.learn_tokenizer(work)
    sayings = towers.Sayings(records(), few_meanings())
    said = sayings.draw(8, rng)
    assert len(said.texts) == 8
    assert torch.allclose(said.signs.sum(dim=1), torch.ones(8))
    ids, places = towers.ids_and_places(tokenizer, said.texts, rng, whole=False)
    ends = ids.gather(1, places)
    assert bool((ends == tokenizer.eos_token_id).all())
    run = running.begin(towers.Reading(len(few_meanings().signs)), minutes=10, peak=1e-3)
    run.peak = 3e-2  # 100 warm-up steps are more than this test has
    losses = []
    for _ in range(8):
        run.advance(lambda: towers.loss_of(run.module, ids, places, said))
        losses.append(run.loss)
    assert losses[-1] < losses[0]


def test_two_signs_stand_side_by_side_and_are_told_in_the_order_seen(work: Path) -> None:
    layers, known = data.load(work)
    apple, dog = [next(n for n, r in enumerate(known) if r.label == label) for label in ("red apple", "dog face")]
    pair = Shown(apple, Scene("white"), dog)
    picture = denoiser.seen(layers, pair)
    assert not np.array_equal(picture[:, :, :64], picture[:, :, 64:])
    assert np.array_equal(denoiser.seen(layers, Shown(apple, Scene("white", "", True), dog)), picture[:, :, ::-1])
    text = denoiser.said_of(pair, known, Random(0))
    assert text.index("red apple") < text.index("dog face")
    turned = denoiser.said_of(Shown(apple, Scene("white", "", True), dog), known, Random(0))
    assert turned.index("dog face") < turned.index("red apple")


def test_everyday_pictures_are_drawn_in_their_share_and_every_sign_is_there() -> None:
    known = records()
    shown, weights = denoiser.plan(known, Random(0))
    everyday = [w for s, w in zip(shown, weights, strict=True) if known[s.row].base in EVERYDAY and s.beside < 0]
    assert sum(everyday) == pytest.approx(denoiser.EVERYDAY_SHARE)
    assert sum(weights) == pytest.approx(1)
    assert {each.row for each in shown} == set(range(len(known)))


def test_padding_is_given_back_behind_the_states_that_were_kept() -> None:
    kept = torch.randn(2, denoiser.KEPT_TOKENS, 4)
    whole = denoiser.whole(kept)
    assert whole.shape == (2, geometry.TOKENS, 4)
    assert torch.equal(whole[:, -1], kept[:, -1])


def test_the_denoiser_learns_and_resumes_where_it_stopped(work: Path) -> None:
    torch.manual_seed(0)
    signal = geometry.scheduler().alphas_cumprod
    latents, states = torch.randn(4, geometry.LATENT_CHANNELS, 8, 8), torch.randn(4, geometry.TOKENS, 256)
    run = running.begin(geometry.denoiser(), minutes=10, peak=1e-1)
    for _ in range(3):
        run.advance(*[lambda: denoiser.loss_of(run.module, latents, states, signal)] * 2)
    run.save(work / "some.safetensors")
    again = running.begin(geometry.denoiser(), minutes=10, peak=1e-1)
    again.resume(work / "some.safetensors")
    assert again.step == 3
    assert again.budget.spent > 0
    for one, other in zip(run.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(run.optimiser.state[one]["exp_avg"], again.optimiser.state[other]["exp_avg"])
    again.advance(lambda: denoiser.loss_of(again.module, latents, states, signal))
    assert again.step == 4


def test_the_lens_is_folded_into_the_weights_exactly() -> None:
    torch.manual_seed(0)
    states = torch.randn(500, 256) * torch.linspace(0.01, 3, 256) + 2
    view = lens.fit(states)
    assert float(view.view(states[None]).std()) == pytest.approx(1.0, abs=0.1)
    module = geometry.denoiser().eval()
    noisy, steps, said = torch.randn(2, geometry.LATENT_CHANNELS, 8, 8), torch.tensor([999, 10]), states[None, :77]
    with torch.no_grad():
        plain = module(noisy, steps, said.expand(2, -1, -1)).sample
        view.put_on(module)
        whitened = module(noisy, steps, view.view(said).expand(2, -1, -1)).sample
        view.take_off(module)
        again = module(noisy, steps, said.expand(2, -1, -1)).sample
    assert torch.allclose(plain, whitened, atol=1e-4)
    assert torch.allclose(plain, again, atol=1e-4)


def test_every_everyday_concept_is_written_once_and_trimmed() -> None:
    assert "red apple" in EVERYDAY
    assert all(label and label == label.strip() and "  " not in label for label in EVERYDAY)


def test_the_learning_rate_rises_then_falls_to_almost_nothing_at_the_end_of_the_budget() -> None:
    assert running.rate(0.0, 0, 1.0) < running.rate(0.0, 50, 1.0) < running.rate(0.0, 99, 1.0) == 1.0
    assert running.rate(0.5, 10**6, 1.0) == pytest.approx(0.505)
    assert running.rate(1.0, 10**6, 1.0) == pytest.approx(0.01)


def test_the_average_follows_the_weights() -> None:
    layer = torch.nn.Linear(1, 1)
    average = running.Average(layer)
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer, 1)
    assert float(average.weights["weight"]) > float(layer.weight) - 1.0


def test_the_preview_map_finds_a_linear_relation() -> None:
    torch.manual_seed(0)
    latents = torch.randn(8, 3, 8, 8)
    small = latents.repeat_interleave(4, 2).repeat_interleave(4, 3) * 0.5 + 0.1
    found = export.preview_map(latents, small, ridge=1e-6)
    assert found["weight"].shape == (3, 48)
    assert torch.allclose(found["bias"], torch.full((48,), 0.1), atol=1e-3)


def test_an_export_loads_with_the_stock_pipeline_and_draws(work: Path, tmp_path: Path) -> None:
    target = tmp_path / "starter"
    assert export.write(work, target) < export.LIMIT
    assert export.write(work, target) < export.LIMIT  # a second export replaces the first
    assert not list(tmp_path.glob("starter.*"))
    pipeline = StableDiffusionPipeline.from_pretrained(target, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a red apple", height=128, width=128, num_inference_steps=2).images[0]
    assert picture.size == (128, 128)


@pytest.mark.parametrize("sampler", sheet.SAMPLERS)
def test_every_sampler_of_the_model_card_can_be_made_from_the_shipped_scheduler(sampler: str) -> None:
    kind, options = sheet.SAMPLERS[sampler]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kind.from_config(geometry.scheduler().config, **options)
    made.set_timesteps(20)
    assert len(made.timesteps) == 20
    assert made.config.prediction_type == "v_prediction"
