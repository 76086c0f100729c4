"""A request for another file of the same picture."""

from __future__ import annotations

import pytest

from tests.unit.backend.test_requests_modes import Shop


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif"])
def test_a_conversion_takes_the_picture_as_it_is(shop: Shop, kind: str):
    request = shop.check(mode="convert", init_image="photo", format=kind, quality=80, prompt="", count=4, width=512)
    assert (request.width, request.height, request.count) == (100, 60, 1), "nothing about the picture is chosen anew"
    assert (request.format, request.quality, request.paints) == (kind, 80, False)
    assert request.inputs == ("photo",)


def test_a_picture_too_large_to_paint_can_still_be_converted(shop: Shop):
    request = shop.check(mode="convert", init_image="huge")
    assert (request.width, request.height) == (6000, 3000)


def test_a_conversion_needs_a_picture_and_a_known_format(shop: Shop):
    assert "/api/v1/inputs" in shop.refuses("init_image", mode="convert")
    shop.refuses("format", mode="convert", init_image="photo", format="gif")
    shop.refuses("quality", mode="convert", init_image="photo", quality=10)


def test_no_model_is_written_down_with_a_conversion(shop: Shop):
    unit = {"image": "photo", "model": "edges"}
    request = shop.check(mode="convert", init_image="photo", prompt="a cat <lora:calm:1>", control=[unit], vae="soft")
    assert (request.control, request.vae, request.refiner) == ((), "", None)
    assert not any(words.loras for words in request.words)
    assert shop.check(mode="convert", init_image="photo", model="flow").mode == "convert", "whatever it runs by"


@pytest.mark.parametrize(
    ("paints", "fields"),
    [
        (True, {}),
        (True, {"mode": "img2img", "init_image": "photo"}),
        (True, {"mode": "upscale", "init_image": "photo", "upscale": {"diffusion": True}}),
        (False, {"mode": "upscale", "init_image": "photo"}),
        (False, {"mode": "convert", "init_image": "photo"}),
    ],
)
def test_a_request_tells_whether_a_model_paints(shop: Shop, paints: bool, fields: dict[str, object]):
    assert shop.check(**fields).paints is paints
