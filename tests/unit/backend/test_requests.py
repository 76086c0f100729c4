from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadRequest, InvalidParameter, UnknownModel, UnknownSampler
from backend.requests import MAX_SEED, checked, images_left
from backend.settings import Settings
from backend.types import GenerationRequest, ModelInfo
from tests.support.library import library

SETTINGS = Settings(data=Path("/nonexistent"))
STARTER = ModelInfo(
    "starter", "Starter", "sd1", "/x", "diffusers", 8, 64, 1, defaults={"steps": 12, "sampler": "DPM++ 2M", "cfg": 3.5}
)


LIBRARY = library(STARTER, photo=(100, 60), mask=(50, 30), odd=(50, 50))


def check(**fields: Any) -> GenerationRequest:
    return checked({"prompt": "a cat", **fields}, LIBRARY, SETTINGS)


def test_what_is_not_said_comes_from_the_model_and_then_from_the_house():
    request = check()
    assert (request.width, request.height) == (64, 64)
    assert (request.steps, request.sampler, request.schedule, request.cfg) == (12, "DPM++ 2M", "Automatic", 3.5)
    assert (request.count, request.negative, request.bucket, request.model) == (1, "", None, "starter")


def test_names_come_out_in_their_own_spelling():
    request = check(sampler="dpm++ 2m karras", model=" STARTER ")
    assert (request.sampler, request.schedule, request.model) == ("DPM++ 2M", "Karras", "starter")


def test_no_seed_and_minus_one_mean_a_new_one_each_time():
    seeds = {check().seed for _ in range(4)} | {check(seed=-1).seed for _ in range(4)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_none_means_not_said():
    assert check(steps=None, width=None, seed=7, bucket=None).steps == 12


@pytest.mark.parametrize("value", [20, 20.0])
def test_whole_numbers_may_come_as_floats_as_from_a_browser(value: float):
    assert check(steps=value).steps == 20
    assert isinstance(check(steps=value).steps, int)


def test_line_breaks_and_letters_of_all_the_world_are_allowed():
    prompt = 'a cat,\n"red": ключ 鍵 🐈‍⬛ e\u0301'
    assert check(prompt=prompt).prompt == prompt


BAD: list[tuple[str, Any]] = [
    ("prompt", ""),
    ("prompt", " \n\t"),
    ("prompt", "x" * 10_000),
    ("prompt", "a\x00b"),
    ("prompt", "half \ud83d of a cat"),
    ("prompt", 7),
    ("prompt", ["a cat"]),
    ("negative", "x" * 10_000),
    ("negative", "\udc00"),
    ("negative", True),
    ("width", 65),
    ("width", 0),
    ("width", -64),
    ("width", 56),
    ("width", 2056),
    ("height", 10**9),
    ("height", "64"),
    ("height", 64.5),
    ("height", True),
    ("steps", 0),
    ("steps", -1),
    ("steps", 10_000),
    ("steps", 1.5),
    ("steps", "20"),
    ("steps", False),
    ("steps", math.nan),
    ("steps", math.inf),
    ("steps", 10**400),
    ("steps", [20]),
    ("cfg", math.nan),
    ("cfg", -math.inf),
    ("cfg", 0),
    ("cfg", 0.99),
    ("cfg", 30.5),
    ("cfg", 10**400),
    ("cfg", "7"),
    ("cfg", True),
    ("cfg", {}),
    ("seed", -2),
    ("seed", MAX_SEED + 1),
    ("seed", 2**64),
    ("seed", 10**5000),
    ("seed", 1.5),
    ("seed", math.nan),
    ("seed", True),
    ("seed", "1"),
    ("count", 0),
    ("count", 9),
    ("count", True),
    ("count", 10**400),
    ("bucket", 3),
    ("bucket", 0),
    ("bucket", 16),
    ("bucket", True),
    ("bucket", "2"),
    ("bucket", [2]),
    ("bucket", math.nan),
    ("client_extras", []),
    ("client_extras", "x"),
    ("mode", "painting"),
    ("mode", 1),
    ("sampler", 5),
    ("sampler", "x" * 1000),
    ("schedule", {}),
    ("model", 5),
    ("model", "x" * 1000),
    ("stpes", 20),
    ("x" * 100_000, 1),
]


@pytest.mark.parametrize(("field", "value"), BAD, ids=range(len(BAD)))
def test_a_bad_value_is_refused_by_the_name_of_its_field(field: str, value: Any):
    with pytest.raises(InvalidParameter) as caught:
        check(**{field: value})
    problem = caught.value.problem
    assert problem.field == field[:80]
    assert problem.status == 422
    assert len(problem.sentence()) < 500


def test_a_missing_prompt_is_an_empty_one():
    with pytest.raises(InvalidParameter) as caught:
        checked({}, LIBRARY, SETTINGS)
    assert caught.value.problem.field == "prompt"


def test_a_size_off_the_grid_is_answered_with_the_sizes_beside_it():
    with pytest.raises(InvalidParameter, match=r"Use 96 or 104\."):
        check(width=100)


def test_an_unknown_field_is_answered_with_the_nearest_one():
    with pytest.raises(InvalidParameter, match='Did you mean "steps"'):
        check(stpes=20)


def test_an_unknown_sampler_or_model_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownSampler, match='"Euler a"'):
        check(sampler="Euler ancestrall")
    with pytest.raises(UnknownModel, match='"starter"'):
        check(model="startr")


def test_lcm_takes_fewer_steps_than_the_others():
    assert check(sampler="LCM", steps=50).steps == 50
    with pytest.raises(InvalidParameter, match="from 1 to 50"):
        check(sampler="LCM", steps=51)


def test_the_last_picture_of_a_job_still_has_a_seed_in_range():
    assert check(seed=MAX_SEED - 3, count=4).seed == MAX_SEED - 3
    with pytest.raises(InvalidParameter):
        check(seed=MAX_SEED - 2, count=4)


def test_a_picture_with_guidance_needs_a_bucket_of_two():
    with pytest.raises(InvalidParameter, match="two rows"):
        check(bucket=1, cfg=7)
    assert check(bucket=1, cfg=1).bucket == 1
    assert check(bucket=2, cfg=7).bucket == 2


def test_unknown_settings_of_other_programs_survive_in_client_extras():
    assert check(client_extras={"hires": {"scale": 2}}).client_extras == {"hires": {"scale": 2}}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(GenerationRequest.model_fields)) | st.text(max_size=10), anything))
def test_whatever_comes_in_is_a_valid_request_or_a_problem(fields: dict[str, Any]):
    try:
        request = checked({"prompt": "a cat", **fields}, LIBRARY, SETTINGS)
    except BadRequest:
        return
    assert request.width % STARTER.factor == request.height % STARTER.factor == 0
    assert 1 <= request.steps <= SETTINGS.max_steps
    assert 0 <= request.seed <= request.seed + request.count - 1 <= MAX_SEED


def test_the_pictures_left_are_those_not_yet_made():
    assert images_left(check(count=4), [2, 0]) == (1, 3)
    assert images_left(check(count=2), [0, 1]) == ()
