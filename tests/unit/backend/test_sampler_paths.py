"""The path of a sampler, against numbers known from elsewhere."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from backend import samplers
from backend.errors import InvalidParameter, UnknownSampler, UnreadableModel
from backend.explain import noise_table, path
from backend.types import ModelInfo

SD1 = ModelInfo("one", "One", "sd1", "/nowhere/one.safetensors", "single-file", 8, 512, 1)


@pytest.fixture
def sd1(tmp_path: Path) -> ModelInfo:
    """One file, of which nothing but the names of the tensors is read."""
    return single(tmp_path)


def single(folder: Path, *tensors: str) -> ModelInfo:
    header = json.dumps({name: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for name in tensors}).encode()
    file = folder / "one.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    return replace(SD1, path=str(file))


def folder_with(config: dict[str, object], folder: Path) -> ModelInfo:
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return replace(SD1, path=str(folder), layout="diffusers")


def test_karras_levels_of_stable_diffusion_are_the_published_ones(sd1: ModelInfo) -> None:
    found = path("Euler", "Karras", 10, sd1)
    # The ends are those of every SD 1.x model; between them Karras et al. 2022, equation 5.
    assert (found.sigmas[0], *found.sigmas[-2:]) == pytest.approx((14.6146, 0.0292, 0.0), abs=1e-4)
    low, high = found.sigma_min ** (1 / 7), found.sigma_max ** (1 / 7)
    assert found.sigmas[4] == pytest.approx((high + 4 / 9 * (low - high)) ** 7)
    assert found.timesteps[0] == pytest.approx(999) and found.timesteps[-1] == pytest.approx(0, abs=1e-6)
    assert found.snr[0] == pytest.approx(1 / 14.6146**2, rel=1e-3)
    assert found.moves == (1,) * 10


def test_heun_asks_twice_but_for_the_last_step(sd1: ModelInfo) -> None:
    found = path("Heun", "Karras", 4, sd1)
    assert found.moves == (2, 2, 2, 1) and len(found.asks) == 7
    assert found.asks[1].sigma == pytest.approx(found.sigmas[1]), "the second look is where the step ends"


def test_restart_goes_up_again(sd1: ModelInfo) -> None:
    sigmas = path("Restart", "Karras", 30, sd1).sigmas
    assert any(later > earlier for earlier, later in pairwise(sigmas))


@pytest.mark.parametrize("sampler", samplers.names())
def test_every_sampler_has_a_path(sampler: str, sd1: ModelInfo) -> None:
    for schedule in samplers.SAMPLERS[sampler].schedules:
        found = path(sampler, schedule, 12, sd1)
        assert len(found.sigmas) == len(found.timesteps) + 1 == len(found.moves) + 1
        assert sum(found.moves) == len(found.asks) and found.sigmas[-1] < found.sigmas[0]
        assert all(math.isfinite(value) for value in (*found.sigmas, *found.timesteps, *found.snr))
        assert found.note.endswith((".", "!"))


def test_a_folder_is_read_as_diffusers_would(tmp_path: Path) -> None:
    table = noise_table(folder_with({"_class_name": "PNDMScheduler", "beta_end": 0.012}, tmp_path))
    assert table.spacing == "leading" and table.final_sigma == table.sigma_min


def test_zero_terminal_snr_is_read_off_the_names_of_a_single_file(tmp_path: Path) -> None:
    assert noise_table(single(tmp_path, "ztsnr")).sigma_max > 1000


def test_what_has_no_path_says_why(sd1: ModelInfo, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="pipeline"):
        path("Euler", "Karras", 10, replace(sd1, family="flux"))
    with pytest.raises(UnreadableModel):
        path("Euler", "Karras", 10, replace(sd1, layout="diffusers"))
    with pytest.raises(UnreadableModel):
        path("Euler", "Karras", 10, folder_with({"num_train_timesteps": "many"}, tmp_path))
    with pytest.raises(UnknownSampler):
        path("Eular", "Karras", 10, sd1)
    with pytest.raises(InvalidParameter, match="steps"):
        path("LCM", "Automatic", 51, sd1)
