"""What a request for any kind of picture may say: every rule about pictures and words, with clear answers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter, NotFound, SignetError, UnknownModel
from backend.prompts.styles import Style
from backend.requests import Library, checked, images_left, seed_of
from backend.requests.words import MAX_PARTS, Vocabulary
from backend.settings import Settings
from backend.types import ControlUnit, GenerationRequest, Hires, Inpaint, ModelInfo, ModelKind, Outpaint
from tests.support.library import FewModels, Pictures

SETTINGS = Settings(data=Path("/nonexistent"))


def model(name: str, family: str = "sd1", kind: ModelKind = "checkpoint") -> ModelInfo:
    return ModelInfo(name, name.title(), family, f"/{name}", "single-file", 8, 512, 1, kind=kind)


MODELS: tuple[ModelInfo, ...] = (
    model("starter"),
    model("other"),
    model("large", "sdxl"),
    model("polish", "sdxl-refiner"),
    model("flow", "flux"),
    model("Stil é 1", kind="lora"),
    model("calm", kind="lora"),
    model("soft", kind="vae"),
    model("edges", kind="controlnet"),
    model("look", kind="ip-adapter"),
    model("sharp", kind="upscaler"),
)
STYLES = {"noir": Style("noir", "{prompt}, noir", "colour")}
SIZES = {"photo": (100, 60), "mask": (50, 30), "odd": (50, 50), "huge": (6000, 3000)}


class Shop:
    """Models and pictures, and the checking of requests against them."""

    def __init__(self) -> None:
        self.models: Any = FewModels(*MODELS)
        self.library = Library(self.models, Pictures(**SIZES), Vocabulary(STYLES))

    def check(self, **fields: Any) -> GenerationRequest:
        return checked({"prompt": "a cat", **fields}, self.library, SETTINGS)

    def refuses(self, field: str, **fields: Any) -> str:
        """The sentence with which a request is refused for this field."""
        with pytest.raises(SignetError) as caught:
            self.check(**fields)
        problem = caught.value.problem
        assert problem.field == field, problem
        assert len(problem.sentence()) < 800
        return problem.sentence()


@pytest.fixture
def shop() -> Shop:
    return Shop()


UNIT = {"image": "photo", "model": "edges"}


# ---- pictures to start from


@pytest.mark.parametrize("mode", ["img2img", "inpaint", "upscale"])
def test_a_mode_that_starts_from_a_picture_asks_for_one(shop: Shop, mode: str):
    assert "/api/v1/inputs" in shop.refuses("init_image", mode=mode)
    shop.refuses("init_image", mode=mode, init_image=["photo"])
    with pytest.raises(NotFound):
        shop.check(mode=mode, init_image="../../etc/passwd")


def test_the_size_is_that_of_the_picture_to_the_nearest_multiple(shop: Shop):
    request = shop.check(mode="img2img", init_image="photo")
    assert (request.width, request.height) == (96, 64)


def test_a_picture_too_large_to_paint_keeps_its_proportions(shop: Shop):
    request = shop.check(mode="img2img", init_image="huge")
    assert (request.width, request.height) == (2048, 1024)


def test_a_picture_may_be_changed_without_words(shop: Shop):
    assert shop.check(mode="img2img", init_image="photo", prompt="").prompt == ""


def test_an_empty_part_of_a_request_is_one_that_was_not_sent(shop: Shop):
    request = shop.check(mode="inpaint", init_image="photo", inpaint={"mask": "mask", "blur": None})
    assert request.inpaint == Inpaint(mask="mask")
    assert request.inputs == ("photo", "mask")


def test_a_mask_has_the_shape_of_its_picture_and_may_have_another_size(shop: Shop):
    assert "50 x 50" in shop.refuses("inpaint.mask", mode="inpaint", init_image="photo", inpaint={"mask": "odd"})
    assert "no mask" in shop.refuses("inpaint.mask", mode="inpaint", init_image="photo")
    with pytest.raises(NotFound):
        shop.check(mode="inpaint", init_image="photo", inpaint={"mask": "nowhere"})


def test_a_canvas_that_grows_needs_no_mask_and_is_as_large_as_it_grows(shop: Shop):
    request = shop.check(mode="inpaint", init_image="photo", outpaint={"left": 20, "down": 4})
    assert request.outpaint == Outpaint(left=20, down=4)
    assert (request.width, request.height) == (120, 64)


def test_a_canvas_that_does_not_grow_is_none_and_one_that_grows_too_far_is_refused(shop: Shop):
    shop.refuses("inpaint.mask", mode="inpaint", init_image="photo", outpaint={"left": 0})
    shop.refuses("outpaint.left", mode="inpaint", init_image="photo", outpaint={"left": 5000})
    far = {"left": 2048, "right": 2048, "up": 2048, "down": 2048}
    assert "grow" in shop.refuses("outpaint", mode="inpaint", init_image="huge", outpaint=far)


# ---- upscaling


def test_an_upscaled_picture_is_twice_as_large_or_as_many_times_as_asked(shop: Shop):
    twice = shop.check(mode="upscale", init_image="photo")
    thrice = shop.check(mode="upscale", init_image="photo", upscale={"scale": 3, "upscaler": "LANCZOS"})
    assert (twice.width, twice.height) == (200, 120)
    assert (thrice.width, thrice.height) == (300, 180)
    assert thrice.upscale and thrice.upscale.upscaler == "Lanczos"


def test_a_scale_that_leads_too_far_is_refused_rather_than_made_smaller(shop: Shop):
    assert "2048" in shop.refuses("upscale.scale", mode="upscale", init_image="huge", upscale={"scale": 2})


@pytest.mark.parametrize("scale", [0, 0.5, 9, math.nan, math.inf, True, "2", []])
def test_a_scale_is_a_number_from_one_to_eight(shop: Shop, scale: Any):
    shop.refuses("upscale.scale", mode="upscale", init_image="photo", upscale={"scale": scale})
    shop.refuses("hires.scale", hires={"scale": scale})


def test_tiles_must_fit_the_model_and_overlap_by_less_than_half(shop: Shop):
    for wrong in ({"tile": 100}, {"tile": 128, "overlap": 64}):
        shop.refuses("upscale.tile", mode="upscale", init_image="photo", upscale={"diffusion": True, **wrong})


def test_latent_upscalers_belong_to_the_second_pass(shop: Shop):
    shop.refuses("upscale.upscaler", mode="upscale", init_image="photo", upscale={"upscaler": "Latent"})
    hires = shop.check(hires={"scale": 2, "upscaler": "latent"}).hires
    assert hires and hires.upscaler == "Latent"
    assert shop.check(hires={"scale": 2, "upscaler": "sharp"}).hires.upscaler == "sharp"  # type: ignore[union-attr]


def test_plain_upscaling_is_written_down_without_models_that_had_no_part_in_it(shop: Shop):
    request = shop.check(
        mode="upscale", init_image="photo", prompt="a cat <lora:calm:1>", control=[UNIT], vae="soft",
        refiner={"model": "other"},
    )  # fmt: skip
    assert (request.control, request.refiner, request.vae) == ((), None, "")
    assert all(not words.loras for words in request.words)
    assert request.inputs == ("photo",)


# ---- guides


def test_a_guide_names_picture_model_and_preprocessor_in_their_own_spelling(shop: Shop):
    (unit,) = shop.check(control=[{**UNIT, "model": "EDGES", "preprocessor": "Canny"}]).control
    assert (unit.model, unit.preprocessor) == ("edges", "canny")


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        ("control.0.image", {"model": "edges", "image": ""}),
        ("control.0.preprocessor", {**UNIT, "preprocessor": "x" * 1000}),
        ("control.0.end", {**UNIT, "start": 0.5, "end": 0.5}),
        ("control.0.weight", {**UNIT, "weight": 2.5}),
        ("control.0.weight", {**UNIT, "weight": math.nan}),
        ("control.0.weight", {**UNIT, "weight": "nan"}),
        ("control.0.weight", {**UNIT, "weight": True}),
        ("control.0.low", {**UNIT, "low": math.inf}),
        ("control.0.resolution", {**UNIT, "resolution": 10**400}),
        ("control.0.mode", {**UNIT, "mode": "loudest"}),
        ("control.0.model", {**UNIT, "model": "x" * 301}),
        ("control.0.model", {**UNIT, "model": "half \ud83d of a name"}),
        ("control.0.wieght", {**UNIT, "wieght": 1}),
        ("control.0", 7),
    ],
    ids=range(14),
)
def test_a_guide_that_cannot_be_is_refused_by_its_place(shop: Shop, field: str, unit: Any):
    shop.refuses(field, control=[unit])


def test_a_guide_for_another_architecture_says_so(shop: Shop):
    shop.models.why_not = "it is made for SDXL, and this model is SD 1.x"
    assert "made for SDXL" in shop.refuses("control.0.model", control=[UNIT])


def test_guides_and_loras_are_not_without_number(shop: Shop):
    assert len(shop.check(control=[UNIT] * 10).control) == 10
    shop.refuses("control", control=[UNIT] * 11)
    shop.refuses("control", control="edges")
    assert len(shop.check(loras=[{"id": "calm"}] * 32).words[0].loras) == 32
    shop.refuses("loras", loras=[{"id": "calm"}] * 33)
    shop.refuses("loras", prompt="a cat" + "<lora:calm:1>" * 40)
    shop.refuses("styles", styles=["noir"] * 100_000)


# ---- the second pass


def test_a_second_pass_is_named_by_its_size_or_how_much_larger_it_is(shop: Shop):
    by_scale, by_size = shop.check(hires={"scale": 1.5}), shop.check(hires={"width": 768, "height": 768})
    assert by_scale.hires == by_size.hires == Hires(width=768, height=768)
    shop.refuses("hires.width", hires={"width": 700, "height": 768})
    shop.refuses("hires.width", hires={"scale": 8})
    shop.refuses("hires.height", hires={"width": 768})
    shop.refuses("hires", mode="img2img", init_image="photo", hires={"scale": 2})


@pytest.mark.parametrize("steps", [151, 10**9, -1, 1.5, math.nan])
def test_a_second_pass_has_no_more_steps_than_a_first(shop: Shop, steps: Any):
    shop.refuses("hires.steps", hires={"scale": 2, "steps": steps})


def test_a_second_pass_takes_over_what_it_does_not_say(shop: Shop):
    first = {"sampler": "DPM++ 2M", "schedule": "Exponential"}
    for given_names, wanted in [
        ({}, ("", "")),
        ({"sampler": "euler"}, ("Euler", "")),
        ({"sampler": "DPM++ 2M Karras"}, ("DPM++ 2M", "Karras")),
        ({"schedule": "karras"}, ("", "Karras")),
        ({"sampler": "LCM"}, ("LCM", "Automatic")),  # which has no exponential schedule
    ]:
        hires = shop.check(hires={"scale": 2, **given_names}, **first).hires
        assert hires and (hires.sampler, hires.schedule) == wanted
    with pytest.raises(SignetError):
        shop.check(hires={"scale": 2, "schedule": "Karras"}, sampler="PLMS")


def test_a_second_pass_has_words_of_its_own_within_the_same_limits(shop: Shop):
    hires = shop.check(hires={"scale": 2, "prompt": "a [cat|dog]  # comment"}, seed=1).hires
    assert hires and "[cat|dog]" in hires.prompt
    shop.refuses("hires.prompt", hires={"scale": 2, "prompt": "x" * 5000})
    shop.refuses("hires.prompt", hires={"scale": 2, "prompt": "a\x00b"})
    shop.refuses("hires.negative", hires={"scale": 2, "negative": "\udc00"})
    shop.refuses("hires.prompt", hires={"scale": 2, "prompt": " AND ".join("abcdefghij")})


def test_what_is_random_in_the_second_pass_is_drawn_before_admission_sees_it(shop: Shop):
    hires = shop.check(hires={"scale": 2, "prompt": "a {cat|dog}"}, seed=3).hires
    assert hires and hires.prompt in ("a cat", "a dog")
    assert "each picture" in shop.refuses(
        "hires.prompt", hires={"scale": 2, "prompt": "{a|b|c|d}{e|f}"}, count=8, seed=1
    )


def test_both_passes_are_painted_with_the_same_loras(shop: Shop):
    prompt = "a cat <lora:calm:0.5>"
    hires = shop.check(prompt=prompt, hires={"scale": 2, "prompt": "fur <lora:calm:0.5>"}).hires
    assert hires and hires.prompt == "fur <lora:calm:0.5>"
    for other in ("<lora:calm:0.7>", "<lora:Stil é 1:0.5>", "<hypernet:calm:1>"):
        assert "both passes" in shop.refuses("hires.prompt", prompt=prompt, hires={"scale": 2, "prompt": other})


# ---- who takes part


def test_a_refiner_is_of_the_same_architecture_and_starts_nothing(shop: Shop):
    refined = shop.check(model="large", refiner={"model": "polish"})
    assert refined.refiner and refined.refiner.model == "polish"
    shop.refuses("refiner.model", refiner={"model": "large"})
    assert "refines" in shop.refuses("model", model="polish")
    shop.refuses("refiner.switch", model="large", refiner={"model": "polish", "switch": math.nan})


def test_a_vae_that_does_not_fit_says_why(shop: Shop):
    assert shop.check(vae="Automatic").vae == "" and shop.check(vae="SOFT").vae == "soft"
    shop.models.why_not = "it is made for SDXL"
    assert "made for SDXL" in shop.refuses("vae", vae="soft")


def test_a_model_with_its_own_pipeline_refuses_what_it_cannot_do(shop: Shop):
    for field, fields in [
        ("mode", {"mode": "img2img", "init_image": "photo"}),
        ("mode", {"mode": "upscale", "init_image": "photo", "upscale": {"diffusion": True}}),
        ("hires", {"hires": {"scale": 2}}),
        ("control", {"control": [UNIT]}),
        ("variation", {"variation": {"strength": 0.5, "seed": 1}}),
        ("tiling", {"tiling": True}),
        ("vae", {"vae": "soft"}),
        ("film", {"film": [1]}),
        ("loras", {"prompt": "a cat <lora:calm:1>"}),
        ("loras", {"loras": [{"id": "calm"}]}),
    ]:
        assert "own pipeline" in shop.refuses(field, model="flow", **fields)
    assert shop.check(model="flow", mode="upscale", init_image="photo").mode == "upscale"


def test_habits_that_mean_nothing_to_such_a_model_are_not_written_down(shop: Shop):
    request = shop.check(model="flow", clip_skip=2, emphasis="ignore", eta=0.5)
    assert (request.clip_skip, request.emphasis, request.eta) == (1, "original", None)


# ---- words


def test_loras_are_found_by_names_with_blanks_and_accents(shop: Shop):
    (words,) = shop.check(prompt="a cat <lora:stil É 1:0.5:0.7>").words
    assert [(use.id, use.text, use.unet) for use in words.loras] == [("Stil é 1", 0.5, 0.7)]
    assert "<lora:" in words.prompt  # it travels with the picture


@pytest.mark.parametrize(
    "use",
    [
        {"id": "calm", "unet": math.nan},
        {"id": "calm", "text": "nan"},
        {"id": "calm", "unet": 11},
        {"id": "calm", "unet": -math.inf},
        {"id": "calm", "blocks": [math.nan] * 12},
        {"id": "calm", "blocks": [1e30] * 12},
        {"id": "calm", "blocks": [1.0] * 5},
        {"id": "x" * 400},
        {"id": 5},
        {},
        "calm",
    ],
    ids=range(11),
)
def test_a_lora_with_an_impossible_weight_or_name_is_refused(shop: Shop, use: Any):
    with pytest.raises(InvalidParameter):
        shop.check(loras=[use])


def test_a_lora_that_is_not_there_or_does_not_fit_says_so(shop: Shop):
    with pytest.raises(UnknownModel):
        shop.check(prompt="<lora:clam:1> a cat")
    shop.models.why_not = "it is made for SDXL, and this model is SD 1.x"
    assert "made for SDXL" in shop.refuses("prompt", prompt="a cat <lora:calm:1>")
    assert "hypernet" in shop.refuses("prompt", prompt="a cat <hypernet:calm:1>")


def test_styles_are_in_the_words_and_not_in_what_was_typed(shop: Shop):
    request = shop.check(styles=["noir"])
    assert (request.prompt, request.words[0].prompt, request.words[0].negative) == ("a cat", "a cat, noir", "colour")
    with pytest.raises(InvalidParameter):
        shop.check(styles=["nior"])


def test_each_picture_draws_its_own_words_and_draws_them_again_with_the_same_seed(shop: Shop):
    request = shop.check(prompt="a {cat|dog|fox|owl}", seed=4, count=8)
    assert len(request.words) == 8
    assert shop.check(prompt="a {cat|dog|fox|owl}", seed=4, count=8).words == request.words
    assert len(shop.check(count=8).words) == 1


def test_a_prompt_has_at_most_so_many_parts(shop: Shop):
    shop.check(prompt=" AND ".join(["cat"] * MAX_PARTS))
    assert "AND" in shop.refuses("prompt", prompt=" AND ".join(["cat"] * (MAX_PARTS + 1)))


def test_words_that_grow_beyond_measure_are_refused(shop: Shop):
    shop.library = replace(shop.library, vocabulary=Vocabulary({"flood": Style("flood", "x" * 20_000, "")}))
    shop.refuses("prompt", styles=["flood"])


# ---- the rest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cfg_interval", [0.5, 0.5]),
        ("cfg_interval", [0, math.nan]),
        ("cfg_interval", 0.5),
        ("resize_from", [512]),
        ("resize_from", [1, 512]),
        ("resize_from", "512x512"),
        ("churn.churn", {"churn": math.nan}),
        ("churn.tmin", {"tmin": math.inf}),
        ("churn", "much"),
        ("variation.strength", {"strength": math.nan, "seed": 1}),
        ("variation.strength", {"strength": 2, "seed": 1}),
        ("tiling", 1),
        ("film", [0]),
        ("film", list(range(1, 66))),
        ("maps", True),
        ("emphasis", "loud"),
        ("clip_skip", 13),
        ("eta", math.nan),
        ("denoise", 1.1),
        ("client_extras", {"a": math.nan}),
        ("client_extras", {"a": {1, 2}}),
        ("client_extras", {"a": "\x00"}),
        ("client_extras", {"a": "\ud83d"}),
        ("client_extras", {"a": "x" * 300_000}),
        ("words", [{"prompt": "something else"}]),
    ],
    ids=range(25),
)
def test_a_value_that_means_nothing_is_refused_by_its_name(shop: Shop, field: str, value: Any):
    shop.refuses(field, **{field.split(".")[0]: value})


def test_extras_nested_without_end_are_refused(shop: Shop):
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    shop.refuses("client_extras", client_extras={"a": deep})


def test_films_of_many_pictures_are_shorter(shop: Shop):
    assert len(shop.check(film=list(range(1, 65)), count=2).film) == 64
    shop.refuses("film", film=list(range(1, 65)), count=3)


def test_no_strength_means_no_variation_and_a_variation_keeps_the_seed(shop: Shop):
    assert shop.check(variation={"strength": 0, "seed": 4}).variation is None
    varied = shop.check(variation={"strength": 0.5, "seed": 4}, seed=9, count=3)
    assert [seed_of(varied, index) for index in range(3)] == [9, 9, 9]


def test_a_grid_is_filled_row_by_row(shop: Shop):
    assert shop.check(mode="grid", prompt="", grid={"cells": ["a", "b"], "columns": 2}).grid
    shop.refuses("grid", mode="grid")
    shop.refuses("grid.columns", mode="grid", grid={"cells": ["a", "b", "c"], "columns": 2})
    shop.refuses("grid.cells", mode="grid", grid={"cells": ["a"] * 401, "columns": 401})
    shop.refuses("grid.title", mode="grid", grid={"cells": ["a"], "columns": 1, "title": "x" * 30_000})


def test_every_request_can_be_kept_and_read_again(shop: Shop):
    request = shop.check(
        prompt="a {cat|dog} <lora:calm:1>", hires={"scale": 2}, control=[UNIT], churn={"churn": 5}, count=4,
        film=[1, 2], client_extras={"ключ": ["🐈", 1, None]}, cfg_interval=[0.1, 0.9],
    )  # fmt: skip
    kept = json.dumps(request.model_dump(mode="json"), allow_nan=False)
    assert GenerationRequest.model_validate(json.loads(kept)) == request


def test_a_request_of_the_first_version_still_loads():
    row = {
        "mode": "txt2img", "prompt": "a cat", "negative": "", "width": 64, "height": 64, "steps": 12, "bucket": None,
        "sampler": "DPM++ 2M", "schedule": "Karras", "cfg": 3.5, "seed": 7, "count": 2, "model": "starter",
        "client_extras": {},
    }  # fmt: skip
    request = GenerationRequest.model_validate(row)
    assert request.words_of(1).prompt == "a cat"
    assert images_left(request, [0]) == (1,) and request.inputs == ()


def test_a_part_that_was_made_in_code_is_taken_as_it_is(shop: Shop):
    unit = ControlUnit(image="photo", model="edges")
    assert shop.check(control=[unit]).control == (unit,)


NUMBERS = st.floats() | st.integers() | st.text(max_size=5) | st.none() | st.booleans()
PARTS = st.dictionaries(
    st.sampled_from(["width", "height", "scale", "steps", "denoise", "cfg", "prompt", "sampler"]), NUMBERS
)


@settings(max_examples=60, deadline=None)
@given(PARTS)
def test_whatever_a_second_pass_is_asked_for_the_answer_is_a_request_or_a_sentence(part: dict[str, Any]):
    try:
        request = Shop().check(hires=part)
    except SignetError as error:
        assert error.problem.sentence()
    else:
        json.dumps(request.model_dump(mode="json"), allow_nan=False)
