"""What is painted, at which size, and what comes back untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine import canvas
from backend.errors import InvalidParameter
from backend.types import GenerationRequest, Inpaint, Outpaint, Pixels
from tests.support.pictures import gradient, mask


def request(width: int = 32, height: int = 32, **fields: Any) -> GenerationRequest:
    plain = {"prompt": "x", "steps": 4, "sampler": "Euler", "schedule": "Automatic", "cfg": 1.0, "seed": 1}
    return GenerationRequest(**{**plain, "model": "m", "width": width, "height": height, **fields})


def noise(shape: tuple[int, ...]) -> Pixels:
    return np.random.default_rng(9).integers(0, 256, shape).astype(np.uint8)


sides = st.integers(8, 60)


@given(sides, sides, st.integers(0, 6), st.data())
def test_pixels_away_from_the_mask_come_back_as_they_were(width: int, height: int, blur: int, data: st.DataObject):
    left, top = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    source = gradient(width, height)
    area = data.draw(st.sampled_from(["whole", "masked"]))
    asked = request(width, height, inpaint=Inpaint(mask="m", blur=blur, area=area, padding=3))
    painted = canvas.for_inpaint(source, mask(width, height, (left, top, right, bottom))[..., 0], asked)
    result = painted.finish(noise((painted.height, painted.width, 3)))
    assert result.shape == source.shape
    far = np.ones((height, width), bool)
    reach = 4 * blur + 1
    far[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = False
    assert np.array_equal(result[far], source[far])


def test_what_is_masked_is_replaced_and_the_inverse_mask_replaces_the_rest():
    source, box = gradient(), (8, 8, 24, 24)
    inside = canvas.for_inpaint(source, mask(32, 32, box)[..., 0], request(inpaint=Inpaint(mask="m", blur=0)))
    outside = canvas.for_inpaint(
        source, mask(32, 32, box)[..., 0], request(inpaint=Inpaint(mask="m", blur=0, inverted=True))
    )
    fresh = noise((32, 32, 3))
    one, other = inside.finish(fresh), outside.finish(fresh)
    assert np.array_equal(one[8:24, 8:24], fresh[8:24, 8:24])
    assert np.array_equal(one[:8], source[:8])
    assert np.array_equal(other[8:24, 8:24], source[8:24, 8:24])
    assert np.array_equal(other[:8], fresh[:8])


def test_an_empty_mask_is_refused_in_words():
    with pytest.raises(InvalidParameter, match="Paint over a part"):
        canvas.for_inpaint(gradient(), np.zeros((32, 32), np.uint8), request(inpaint=Inpaint(mask="m")))


def test_a_mask_of_another_size_is_scaled_to_its_picture():
    asked = request(64, 64, inpaint=Inpaint(mask="m", blur=0))
    painted = canvas.for_inpaint(gradient(64, 64), mask(32, 32, (0, 0, 16, 32))[..., 0], asked)
    assert painted.mask is not None
    assert painted.mask[:, :30].min() == 1
    assert painted.mask[:, 34:].max() == 0


def test_only_the_surroundings_of_the_mask_go_to_the_model_and_keep_its_shape():
    asked = request(64, 32, inpaint=Inpaint(mask="m", blur=0, area="masked", padding=4))
    painted = canvas.for_inpaint(gradient(200, 200), mask(200, 200, (90, 90, 110, 110))[..., 0], asked)
    left, top, right, bottom = painted.box
    assert left <= 86 and top <= 86 and right >= 114 and bottom >= 114
    assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.1)
    assert painted.start.shape == (32, 64, 3)


@given(sides, sides, st.integers(0, 80), st.floats(0.2, 5))
def test_the_box_around_a_mask_lies_in_the_picture_and_holds_the_mask(w: int, h: int, padding: int, aspect: float):
    share = np.zeros((h, w), np.float32)
    share[h // 3 : h // 3 + 2, w // 2 : w // 2 + 3] = 1
    left, top, right, bottom = canvas.around(share, padding, aspect)
    assert 0 <= left < right <= w
    assert 0 <= top < bottom <= h
    assert share[top:bottom, left:right].sum() == share.sum()


def test_an_outpainted_canvas_is_larger_and_keeps_the_middle():
    source = gradient(40, 30)
    asked = request(64, 48, inpaint=Inpaint(blur=0), outpaint=Outpaint(left=16, right=8, up=10, down=0))
    painted = canvas.for_inpaint(source, None, asked)
    assert painted.picture.shape == (40, 64, 3)
    result = painted.finish(noise((48, 64, 3)))
    inner = (slice(10 + 8, 40), slice(16 + 8, 16 + 40 - 8))
    assert np.array_equal(result[inner], source[8:, 8:-8])
    assert not np.array_equal(result[:10], painted.picture[:10])


@given(st.integers(1, 5), st.integers(1, 5))
def test_filling_leaves_what_is_not_masked_and_takes_colours_from_around(row: int, column: int):
    source = np.full((24, 24, 3), 200, np.uint8)
    share = np.zeros((24, 24), np.float32)
    share[row : row + 12, column : column + 12] = 1
    spoilt = source.copy()
    spoilt[share > 0] = 0
    assert np.abs(canvas.filled(spoilt, share).astype(int) - 200).max() <= 1


def test_a_picture_whose_sides_fit_no_model_keeps_its_size_and_every_byte_outside_the_mask():
    source, asked = gradient(37, 29), request(40, 32, inpaint=Inpaint(mask="m", blur=0))
    painted = canvas.for_inpaint(source, mask(37, 29, (5, 5, 15, 15))[..., 0], asked)
    assert painted.start.shape == (32, 40, 3)
    result = painted.finish(noise((32, 40, 3)))
    assert result.shape == source.shape
    assert np.array_equal(result[16:], source[16:])
    assert not np.array_equal(result[5:15, 5:15], source[5:15, 5:15])


@pytest.mark.parametrize("mode", ["stretch", "crop", "fill"])
def test_a_picture_to_start_from_is_brought_to_the_size_asked_for(mode: str):
    painted = canvas.for_img2img(gradient(50, 30), request(32, 64, resize=mode))
    assert painted.start.shape == (64, 32, 3)
    assert painted.finish(noise((64, 32, 3))).shape == (64, 32, 3)
