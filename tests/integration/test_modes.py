"""Every way to make a picture, through the engine with tiny models: what each promises, and that nothing leaks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from backend.engine.decoding import decode
from backend.engine.encoding import encode
from backend.models.loader import LoadedModel
from backend.types import (
    ControlUnit,
    Grid,
    Hires,
    Inpaint,
    LoraUse,
    ModelInfo,
    Outpaint,
    Pixels,
    SourceImage,
    Upscale,
    Variation,
    Words,
)
from backend.wire import Progress, Work
from tests.support import control, tiny
from tests.support import lora as loras
from tests.support.bench import Bench, make_work
from tests.support.desk import pixels_of
from tests.support.models import Shelf, shelf
from tests.support.pictures import gradient, mask, put

__all__ = ["shelf"]

SIDE = tiny.SIZE


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


class Photo:
    """A picture and a mask that lie where the engine finds them."""

    def __init__(self, folder: Path) -> None:
        self.pixels = gradient(SIDE, SIDE)
        self.source = put(self.pixels, folder)
        self.mask = put(mask(SIDE, SIDE, (4, 4, 16, 16)), folder, "input")

    def work(self, name: str, model: ModelInfo, **fields: Any) -> Work:
        inputs = {one.sha256: one for one in (self.source, self.mask)}
        given = {"init_image": self.source.sha256, **fields}
        if isinstance(given.get("inpaint"), dict):
            given["inpaint"] = Inpaint(**{"mask": self.mask.sha256, **given["inpaint"]})
        return replace(make_work(name, model, **given), inputs=inputs)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    return Photo(tmp_path)


def apart(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_strength_says_how_far_a_picture_goes_and_none_is_a_round_trip(shelf: Shelf, bench: Bench, photo: Photo):
    for strength in (0.0, 0.3, 1.0):
        bench.make(photo.work(f"{strength}", shelf.info("one"), mode="img2img", denoise=strength, steps=10))
    assert len(bench.of("0.0", Progress)) < len(bench.of("0.3", Progress)) < len(bench.of("1.0", Progress))
    model = bench.memory.get(shelf.info("one"))
    same = decode(model, encode(model, photo.pixels))
    assert np.array_equal(pixels_of(bench.sealed["0.0", 0]), same)
    assert not np.array_equal(pixels_of(bench.sealed["0.3", 0]), same)


def test_steps_of_img2img_are_those_that_the_strength_leaves(shelf: Shelf, bench: Bench, photo: Photo):
    bench.make(photo.work("job", shelf.info("one"), mode="img2img", denoise=0.5, steps=10))
    assert {said.steps for said in bench.of("job", Progress) if said.phase == "step"} == {6}


@pytest.mark.parametrize("resize", ["stretch", "crop", "fill", "latent"])
def test_every_way_to_resize_gives_the_size_asked_for(shelf: Shelf, bench: Bench, photo: Photo, resize: str):
    work = photo.work("job", shelf.info("one"), mode="img2img", width=48, height=16, resize=resize)
    assert bench.picture(work).shape == (16, 48, 3)


@pytest.mark.parametrize("fill", ["fill", "original", "noise", "nothing"])
@pytest.mark.parametrize("area", ["whole", "masked"])
def test_inpainting_changes_what_is_masked_and_not_a_byte_elsewhere(
    shelf: Shelf, bench: Bench, photo: Photo, fill: str, area: str
):
    asked = {"blur": 0, "fill": fill, "area": area, "padding": 2}
    made = bench.picture(photo.work("job", shelf.info("one"), mode="inpaint", denoise=1.0, inpaint=asked))
    assert apart(made[4:16, 4:16], photo.pixels[4:16, 4:16]) > 5
    outside = np.ones((SIDE, SIDE), bool)
    outside[4:16, 4:16] = False
    assert np.array_equal(made[outside], photo.pixels[outside])


def test_a_blurred_mask_fades_and_then_leaves_everything_alone(shelf: Shelf, bench: Bench, photo: Photo):
    made = bench.picture(photo.work("job", shelf.info("one"), mode="inpaint", denoise=1.0, inpaint={"blur": 2}))
    assert np.array_equal(made[26:], photo.pixels[26:])
    assert not np.array_equal(made[16:18, 4:16], photo.pixels[16:18, 4:16])


def test_a_canvas_grows_and_its_middle_stays(shelf: Shelf, bench: Bench, photo: Photo):
    work = photo.work(
        "job", shelf.info("one"), mode="inpaint", width=64, height=SIDE, denoise=1.0, inpaint=Inpaint(blur=0),
        outpaint=Outpaint(left=16, right=16),
    )  # fmt: skip
    made = bench.picture(work)
    assert made.shape == (SIDE, 64, 3)
    assert np.array_equal(made[:, 24:40], photo.pixels[:, 8:24])


def test_an_inpainting_model_is_given_mask_and_picture(shelf: Shelf, bench: Bench, photo: Photo, tmp_path: Path):
    folder = tiny.save_folder(tiny.pipeline("sd1", inpaint=True), tmp_path / "brush")
    info = replace(shelf.info("one"), id="brush", path=str(folder), variant="inpaint")
    made = bench.picture(photo.work("a", info, mode="inpaint", denoise=1.0, inpaint={"blur": 0}))
    assert np.array_equal(made[20:], photo.pixels[20:])
    free = bench.picture(make_work("b", info))
    assert free.std() > 1


def test_a_hires_pass_makes_a_larger_picture_of_the_same_seed(shelf: Shelf, bench: Bench):
    for upscaler in ("Latent", "Lanczos"):
        hires = Hires(width=80, height=64, upscaler=upscaler, denoise=0.5, steps=4)
        work = make_work(upscaler, shelf.info("one"), hires=hires)
        assert bench.picture(work).shape == (64, 80, 3)
        assert {said.steps for said in bench.of(upscaler, Progress) if said.phase == "step"} == {4 + 4}
        assert "Hires resize: 80x64" in bench.sealed[upscaler, 0].infotext


def test_upscaling_needs_no_model_and_says_so(shelf: Shelf, photo: Photo):
    bench = Bench()
    work = photo.work("job", shelf.info("one"), mode="upscale", width=64, height=64, upscale=Upscale())
    made = bench.picture(work)
    assert made.shape == (64, 64, 3)
    assert bench.memory.loaded == ()
    assert bench.sealed["job", 0].passport.model.title == "no model"
    bench.close()


def test_tiled_diffusion_covers_the_whole_picture(shelf: Shelf, bench: Bench, photo: Photo):
    asked = Upscale(diffusion=True, tile=64, overlap=16)
    work = photo.work("job", shelf.info("one"), mode="upscale", width=128, height=96, denoise=0.4, upscale=asked)
    made = bench.picture(work)
    assert made.shape == (96, 128, 3)
    told = [said for said in bench.of("job", Progress) if said.phase == "step"]
    assert told[-1].step == told[-1].steps == 6 * 2  # three tiles across, two down, two steps each


def test_a_grid_shows_its_cells_and_leaves_missing_ones_empty(shelf: Shelf, bench: Bench, tmp_path: Path):
    cells = [put(gradient(SIDE, SIDE, seed), tmp_path, "component") for seed in (1, 2)]
    asked = Grid(cells=("a", "b", ""), columns=3, column_labels=("one", "two", "three"), title="Ångström ☂")
    work = replace(make_work("job", shelf.info("one"), mode="grid", grid=asked), cells=(*cells, None))
    made = bench.picture(work)
    assert made.shape[1] >= 3 * SIDE
    for seed in (1, 2):
        assert contains(made, gradient(SIDE, SIDE, seed))


def contains(sheet: Pixels, cell: Pixels) -> bool:
    height, width = cell.shape[:2]
    places = np.argwhere((sheet == cell[0, 0]).all(axis=-1))
    return any(np.array_equal(sheet[y : y + height, x : x + width], cell) for y, x in places)


# ---- the words


def test_scheduled_words_take_turns_and_alternatives_differ_from_either(shelf: Shelf, bench: Bench):
    def draw(name: str, prompt: str) -> Pixels:
        return bench.picture(make_work(name, shelf.info("one"), prompt=prompt, steps=8))

    cat, dog = draw("cat", "a cat"), draw("dog", "a dog")
    assert np.array_equal(draw("late", "a [cat:dog:8]"), cat)
    assert np.array_equal(draw("early", "a [cat:dog:0]"), dog)
    half = draw("half", "a [cat:dog:0.5]")
    assert not np.array_equal(half, cat)
    assert not np.array_equal(half, dog)
    assert not np.array_equal(draw("turns", "a [cat|dog]"), half)


def test_parts_joined_by_and_take_a_row_each(shelf: Shelf, bench: Bench):
    one = bench.picture(make_work("one", shelf.info("one"), prompt="a cat"))
    both = bench.picture(make_work("both", shelf.info("one"), prompt="a cat AND a dog :0.8"))
    silent = bench.picture(make_work("silent", shelf.info("one"), prompt="a cat AND a dog :0", bucket=4))
    assert bench.engine.buckets["both", 0] == 4
    assert not np.array_equal(one, both)
    assert apart(one, silent) < 1  # a weight of nothing changes nothing but last bits


def test_weights_change_the_picture_and_brackets_without_effect_do_not(shelf: Shelf, bench: Bench):
    plain = bench.picture(make_work("plain", shelf.info("one"), prompt="a cat"))
    assert np.array_equal(bench.picture(make_work("one", shelf.info("one"), prompt="a (cat:1.0)")), plain)
    assert not np.array_equal(bench.picture(make_work("more", shelf.info("one"), prompt="a (cat:1.5)")), plain)


def test_long_prompts_and_negatives_of_other_lengths_go_together(shelf: Shelf, bench: Bench):
    made = bench.picture(make_work("job", shelf.info("one"), prompt="cat " * 200, negative="dog"))
    assert made.std() > 1


def test_each_picture_of_a_job_has_its_own_words(shelf: Shelf, bench: Bench):
    words = (Words(prompt="a cat"), Words(prompt="a dog"))
    both = bench.make(make_work("job", shelf.info("one"), prompt="a {cat|dog}", words=words, count=2, bucket=2))
    for index, text in enumerate(("a cat", "a dog")):
        alone = bench.picture(make_work(text, shelf.info("one"), prompt=text, seed=1 + index, bucket=2))
        assert np.array_equal(pixels_of(both["job", index]), alone)
        assert both["job", index].infotext.startswith(text)


# ---- what else shapes a picture


@pytest.mark.parametrize(
    "fields",
    [
        {"clip_skip": 2},
        {"cfg_rescale": 0.7},
        {"cfg_interval": (0.0, 0.5)},
        {"tiling": True},
        {"variation": Variation(seed=5, strength=0.3)},
        {"resize_from": (16, 16)},
        {"sampler": "Euler a", "eta": 0.2},
    ],
    ids=str,
)
def test_every_setting_changes_the_picture_and_repeats(shelf: Shelf, bench: Bench, fields: dict[str, Any]):
    base = {"sampler": fields.get("sampler", "Euler")}
    plain = bench.picture(make_work("plain", shelf.info("one"), **base))
    first = bench.picture(make_work("first", shelf.info("one"), **{**base, **fields}))
    again = bench.picture(make_work("again", shelf.info("one"), **{**base, **fields}))
    assert not np.array_equal(first, plain)
    assert np.array_equal(first, again)


def test_variations_keep_the_seed_and_count_their_own(shelf: Shelf, bench: Bench):
    made = bench.make(make_work("job", shelf.info("one"), count=3, variation=Variation(seed=9, strength=0.5)))
    assert {sealed.passport.seed for sealed in made.values()} == {1}
    assert ["Variation seed: 9" in made["job", 0].infotext, "Variation seed: 11" in made["job", 2].infotext] == [
        True
    ] * 2
    assert not np.array_equal(pixels_of(made["job", 0]), pixels_of(made["job", 1]))


def test_a_tiled_picture_fits_to_itself(shelf: Shelf, bench: Bench):
    plain = bench.engine
    bench.make(make_work("tiled", shelf.info("one"), tiling=True), make_work("plain", shelf.info("one")))
    assert plain.latents["tiled", 0].shape == plain.latents["plain", 0].shape
    model = bench.memory.get(shelf.info("one"))
    modes = {module.padding_mode for module in model.unet.modules() if isinstance(module, torch.nn.Conv2d)}
    assert modes == {"zeros"}  # and the model is left as it was


def test_frames_of_a_film_are_told_for_the_steps_asked_for(shelf: Shelf, bench: Bench):
    from backend.wire import Frame

    bench.make(make_work("job", shelf.info("one"), steps=6, film=(1, 3, 6)))
    assert [said.step for said in bench.of("job", Frame)] == [1, 3, 6]


# ---- additions


class Additions:
    """A LoRA, a ControlNet, a T2I-Adapter and an IP-Adapter for the tiny model, as files."""

    def __init__(self, folder: Path, model: LoadedModel) -> None:
        self.lora = self._lora(folder / "Stil é 1.safetensors", model.unet, 1)
        self.other = self._lora(folder / "other.safetensors", model.unet, 2)
        control.save_original(control.controlnet(), folder / "edges.safetensors")
        control.adapter().save_pretrained(folder / "adapter", safe_serialization=True)
        save_file(control.image_prompt_tensors(model.unet), folder / "look.safetensors")
        control.vision_model().save_pretrained(folder / "image_encoder")
        self.edges = control.info(folder / "edges.safetensors", "controlnet")
        self.adapter = control.info(folder / "adapter", "t2i-adapter")
        self.look = control.info(folder / "look.safetensors", "ip-adapter")

    def _lora(self, file: Path, unet: Any, seed: int) -> ModelInfo:
        loras.save(file, loras.kohya(loras.random_lora(unet, seed=seed)))
        return control.info(file, "lora")

    def kinds(self, photo: Photo) -> list[dict[str, Any]]:
        """Fields of requests that use them, with what the engine needs to be handed."""
        image = photo.source.sha256

        def guided(info: ModelInfo, **unit: Any) -> dict[str, Any]:
            return {"control": (ControlUnit(image=image, model=info.id, **unit),), "resources": (info,)}

        def styled(*uses: tuple[ModelInfo, float]) -> dict[str, Any]:
            found = tuple(LoraUse(id=info.id, text=weight, unet=weight) for info, weight in uses)
            words = (Words(prompt="a cat", loras=found),)
            return {"words": words, "resources": tuple(info for info, _ in uses)}

        return [
            styled((self.lora, 1.0)),
            styled((self.lora, 0.5), (self.other, -0.7)),
            guided(self.edges, preprocessor="canny"),
            guided(self.edges, end=0.5, mode="control"),
            guided(self.adapter, weight=0.8),
            guided(self.look),
        ]


@pytest.fixture
def additions(shelf: Shelf, bench: Bench, tmp_path: Path) -> Additions:
    folder = tmp_path / "additions"
    folder.mkdir()
    return Additions(folder, bench.memory.get(shelf.info("one")))


def order(photo: Photo, name: str, model: ModelInfo, fields: dict[str, Any]) -> Work:
    """A work order with resources and pictures."""
    given = dict(fields)
    resources = given.pop("resources", ())
    if "mode" not in given:
        given["init_image"] = None
    return replace(photo.work(name, model, **given), resources=resources)


def test_every_addition_changes_the_picture_repeats_and_is_written_down(
    shelf: Shelf, bench: Bench, photo: Photo, additions: Additions
):
    plain = bench.picture(make_work("plain", shelf.info("one"), prompt="a cat"))
    for number, fields in enumerate(additions.kinds(photo)):
        first, again = (
            bench.picture(order(photo, f"{turn}-{number}", shelf.info("one"), {"prompt": "a cat", **fields}))
            for turn in ("first", "again")
        )
        assert not np.array_equal(first, plain), fields
        assert np.array_equal(first, again), fields
        passport = bench.sealed[f"first-{number}", 0].passport
        assert {network.id for network in passport.networks} == {info.id for info in fields["resources"]}


def test_pictures_with_different_additions_share_a_forward_and_equal_themselves_alone(
    shelf: Shelf, bench: Bench, photo: Photo, additions: Additions
):
    kinds = [{}, *additions.kinds(photo)]
    together = [
        order(photo, f"mix-{number}", shelf.info("one"), {"prompt": "a cat", "bucket": 8, "seed": number, **fields})
        for number, fields in enumerate(kinds)
    ]
    bench.make(*together)
    for number, work in enumerate(together):
        alone = replace(work, job_id=f"alone-{number}")
        assert bench.end(work.job_id).problem is None
        assert np.array_equal(bench.picture(alone), pixels_of(bench.sealed[work.job_id, 0]))
        assert torch.equal(bench.engine.latents[f"alone-{number}", 0], bench.engine.latents[f"mix-{number}", 0])


# ---- isolation


def test_fifty_mixed_requests_in_any_order_leave_the_baseline_as_it_was(
    shelf: Shelf, bench: Bench, photo: Photo, additions: Additions
):
    base = {"steps": 5, "sampler": "DPM++ 2M", "bucket": 4}
    before = bench.picture(make_work("before", shelf.info("one"), **base))
    dice = random.Random(11)
    kinds: list[dict[str, Any]] = [
        {"mode": "img2img", "denoise": 0.6},
        {"mode": "inpaint", "denoise": 0.9, "inpaint": {"blur": 1}},
        {"mode": "upscale", "width": 64, "height": 64, "upscale": Upscale(diffusion=True, tile=64, overlap=0)},
        {"hires": Hires(width=64, height=64, denoise=0.5)},
        {"tiling": True},
        # Without the norm: a random text encoder's mean is all but zero, and to divide by it overflows.
        {"prompt": "a [cat|dog] AND (blue:1.3)", "clip_skip": 2, "emphasis": "no norm"},
        {"sampler": "Heun", "cfg_rescale": 0.5},
        {"sampler": "DPM++ SDE", "cfg_interval": (0.2, 0.8)},
        {"variation": Variation(seed=3, strength=0.2), "count": 2},
        {"prompt": "cat " * 90},
        *additions.kinds(photo),
    ]
    works = []
    for number in range(50):
        fields = {"seed": number, "steps": dice.randint(1, 4), "cfg": dice.choice([1.0, 4.0])}
        model = shelf.info(dice.choice(["one", "one", "two"]))
        works.append(order(photo, f"mix-{number}", model, {**fields, **kinds[number % len(kinds)]}))
    dice.shuffle(works)
    bench.make(*works)
    assert all(bench.end(work.job_id).problem is None for work in works)
    after = bench.picture(make_work("after", shelf.info("one"), **base))
    assert torch.equal(bench.engine.latents["before", 0], bench.engine.latents["after", 0])
    assert np.array_equal(before, after)


def test_a_picture_that_went_in_is_named_in_what_comes_out(shelf: Shelf, bench: Bench, photo: Photo):
    seen: list[tuple[SourceImage, ...]] = []
    plain = bench.engine._desk.inspect
    bench.engine._desk.inspect = lambda raw: (seen.append(raw.sources), plain(raw))[1]  # type: ignore[method-assign]
    bench.make(photo.work("job", shelf.info("one"), mode="inpaint", inpaint={"blur": 0}))
    assert [source.sha256 for source in seen[0]] == [photo.source.sha256]
