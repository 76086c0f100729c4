"""Heat maps of the words, read off beside a forward that does not notice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from backend.engine import attention_maps
from backend.engine.attention_maps import MOST_WORDS, SIDE, Heat, words_of
from backend.engine.families import unet as rows
from backend.engine.stage import Stage
from backend.wire import Frame, Maps
from tests.support.bench import Bench, make_work
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]

FILM = {"film": (1, 2, 3, 4), "maps": True}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    found = Bench(previews=0.1)
    yield found
    found.close()


def stage_of(bench: Bench, shelf: Shelf, model: str = "one", **fields: object) -> Stage:
    """The first pass of a picture, not begun."""
    bench.give(make_work("look", shelf.info(model), **fields))
    bench.engine._receive()
    (picture,) = bench.engine._pictures.values()
    bench.cancel("look")
    bench.finish()
    return picture.stage


def spoken(stage: Stage) -> list[str]:
    return [word.text for word in words_of(stage)]


def test_the_words_of_the_prompt_are_covered_token_by_token(bench: Bench, shelf: Shelf) -> None:
    words = words_of(stage_of(bench, shelf, prompt="a photo of a (zebra:1.3), red!"))
    assert [word.text for word in words] == ["a", "photo", "of", "a", "zebra", "red"]
    places = [place for word in words for place in word.places]
    assert places[0] == 1 and places == sorted(set(places)), "the start mark is no word, and no token belongs to two"
    zebra, red = words[4], words[5]
    assert len(zebra.places) == 5 and red.places[0] == zebra.places[-1] + 2, "the comma stands between them"


def test_words_beyond_the_first_chunk_and_of_later_parts_know_their_place(bench: Bench, shelf: Shelf) -> None:
    words = words_of(stage_of(bench, shelf, prompt="red BREAK blue AND a dog"))
    assert [(word.text, word.part, word.places) for word in words] == [
        ("red", 0, (1,)),
        ("blue", 0, (78,)),
        ("a", 1, (1,)),
        ("dog", 1, (2,)),
    ]


def test_a_scheduled_word_counts_when_its_time_has_come(bench: Bench, shelf: Shelf) -> None:
    bench.make(make_work("turn", shelf.info("one"), prompt="a [cat:dog:2]", **FILM))
    said = [[word.word for word in maps.words] for maps in bench.of("turn", Maps)]
    assert said == [["a", "cat"], ["a", "cat"], ["a", "dog"], ["a", "dog"]]


def test_long_prompts_show_their_first_words(bench: Bench, shelf: Shelf) -> None:
    assert len(spoken(stage_of(bench, shelf, prompt="a cat " * 40))) == MOST_WORDS


@pytest.mark.parametrize("prompt", ["", "...", "☃ 漢字 ﷽", "x" * 300])
def test_odd_prompts_have_odd_words_or_none(bench: Bench, shelf: Shelf, prompt: str) -> None:
    assert "".join(spoken(stage_of(bench, shelf, prompt=prompt or "!"))) == prompt.replace(" ", "").replace(".", "")


@pytest.mark.parametrize(("model", "cfg"), [("one", 7.0), ("one", 1.0), ("wide", 5.0)])
@pytest.mark.parametrize("sampler", ["Euler a", "Heun"])
def test_the_picture_is_the_same_to_the_bit(bench: Bench, shelf: Shelf, model: str, cfg: float, sampler: str) -> None:
    plain = make_work(f"plain {model} {cfg} {sampler}", shelf.info(model), cfg=cfg, sampler=sampler)
    shown = make_work(f"shown {model} {cfg} {sampler}", shelf.info(model), cfg=cfg, sampler=sampler, **FILM)
    bench.make(plain)
    bench.make(shown)
    latents = bench.engine.latents
    assert torch.equal(latents[plain.job_id, 0], latents[shown.job_id, 0])
    assert [frame.step for frame in bench.of(shown.job_id, Frame)] == [1, 2, 3, 4]


def test_neighbours_in_the_batch_do_not_notice_either(bench: Bench, shelf: Shelf) -> None:
    def trio(name: str, **middle: object) -> list[torch.Tensor]:
        works = [
            make_work(f"{name}{number}", shelf.info("one"), seed=number, bucket=8, **(middle if number == 1 else {}))
            for number in range(3)
        ]
        bench.make(*works)
        return [bench.engine.latents[work.job_id, 0] for work in works]

    assert all(torch.equal(*pair) for pair in zip(trio("quiet"), trio("watched", **FILM), strict=True))
    assert len(bench.of("watched1", Maps)) == 4 and not bench.of("watched0", Maps) and not bench.of("watched2", Frame)


def test_maps_do_not_depend_on_company(bench: Bench, shelf: Shelf) -> None:
    alone = make_work("alone", shelf.info("one"), prompt="a red cat", bucket=8, **FILM)
    company = make_work("company", shelf.info("one"), prompt="a red cat", bucket=8, **FILM)
    bench.make(alone)
    bench.make(make_work("other", shelf.info("one"), prompt="a blue dog", bucket=8), company)
    assert [maps.words for maps in bench.of("alone", Maps)] == [maps.words for maps in bench.of("company", Maps)]


def test_every_word_has_a_small_map_and_shares_make_one(bench: Bench, shelf: Shelf) -> None:
    bench.make(make_work("wide picture", shelf.info("one"), prompt="a photo of a cat", width=48, height=32, **FILM))
    for maps in bench.of("wide picture", Maps):
        assert [word.word for word in maps.words] == ["a", "photo", "of", "a", "cat"]
        assert sum(word.share for word in maps.words) == pytest.approx(1)
        for word in maps.words:
            picture = Image.open(io.BytesIO(word.png))
            assert picture.size == (SIDE, round(SIDE * 32 / 48)) and picture.format == "PNG"
            assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 10


def test_what_is_recorded_is_what_the_processor_attends_to(bench: Bench, shelf: Shelf) -> None:
    """Values of which only one word's are not 0 make the attention itself say how much that word got."""
    stage = stage_of(bench, shelf, prompt="a red cat", cfg=1.0)
    unet = stage.model.unet
    (row,) = stage.rows()
    heat, words = Heat(), words_of(stage)
    attention = attention_maps.text_attentions(unet)[0]
    got: list[torch.Tensor] = []

    def only_red(_: object, __: object, value: torch.Tensor) -> torch.Tensor:
        ones = torch.zeros_like(value)
        ones[:, list(words[1].places)] = 1
        return ones

    hooks = [
        attention.to_v.register_forward_hook(only_red),
        attention.to_out[0].register_forward_pre_hook(lambda _, inputs: got.append(inputs[0])),
    ]
    layer: list[torch.Tensor] = []
    heat.add = layer.append  # type: ignore[method-assign]
    with torch.inference_mode(), attention_maps.recording(unet, [(stage, 0, heat)]):
        rows.denoise(stage.model, [row], 1, {})
    for hook in hooks:
        hook.remove()
    expected = got[0][0].mean(-1)
    places = len(expected)
    height, width = attention_maps._grid(places, *stage.stepper.x.shape[-2:])
    resized = torch.nn.functional.interpolate(
        expected.view(1, 1, height, width), layer[0].shape[-2:], mode="bicubic", antialias=True
    )
    assert torch.allclose(layer[0][1], resized[0, 0].clamp(min=0), atol=1e-5)


def test_nothing_is_left_behind(bench: Bench, shelf: Shelf) -> None:
    stage = stage_of(bench, shelf)
    with attention_maps.recording(stage.model.unet, [(stage, 0, Heat())]):
        pass
    for attention in attention_maps.text_attentions(stage.model.unet):
        assert not attention.to_q._forward_hooks and not attention.to_k._forward_hooks
    assert not bench.engine._films


def test_frames_tell_noise_level_and_change(bench: Bench, shelf: Shelf) -> None:
    bench.make(make_work("levels", shelf.info("one"), film=(1, 3, 4, 9)))
    frames = bench.of("levels", Frame)
    assert [frame.step for frame in frames] == [1, 3, 4], "there is no ninth step"
    assert all(one.sigma > other.sigma > 0 for one, other in pairwise(frames))
    assert frames[0].changed is None and all(frame.changed > 0 for frame in frames[1:])
    assert all(frame.moved > 0 and frame.jpeg != frame.noisy for frame in frames)
    assert not bench.of("levels", Maps), "maps come only when they are asked for"


def test_a_second_pass_does_not_write_over_the_film_of_the_first(bench: Bench, shelf: Shelf) -> None:
    bench.make(make_work("twice", shelf.info("one"), hires={"width": 64, "height": 64}, **FILM))
    assert [frame.step for frame in bench.of("twice", Frame)] == [1, 2, 3, 4]


def test_blurred_previews_blur_the_film_too(shelf: Shelf) -> None:
    blurring = Bench(blur_previews=True)
    blurring.make(make_work("held back", shelf.info("one"), film=(4,)))
    (frame,) = blurring.of("held back", Frame)
    for data in (frame.jpeg, frame.noisy):
        pixels = np.asarray(Image.open(io.BytesIO(data)), np.float32)
        assert np.abs(np.diff(pixels, axis=0)).max() < 48, "only colours are left"
    blurring.close()
