from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from backend.errors import Unavailable
from backend.settings import ROOT
from backend.types import Pixels
from safety.drawn import WEIGHTS, WEIGHTS_SHA256, Drawn, prepare
from safety.inspect import Detector, examine, harmless
from safety.nsfw import OpenNsfw
from tests.unit.safety.samples import picture

CARD = WEIGHTS.parent


@pytest.fixture(scope="module")
def scanner() -> Drawn:
    return Drawn()


def shapes() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, 400), st.integers(1, 400))


@settings(max_examples=40, deadline=None)
@given(shapes(), st.integers(0, 2**32 - 1))
def test_any_picture_is_brought_to_size_as_tensorflow_js_does_it(shape: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255, (224, 224), mode="bilinear", align_corners=True
    )
    made = prepare(pixels, 224)
    assert (made.shape, made.dtype, made.flags.c_contiguous) == ((1, 3, 224, 224), np.float32, True)
    assert np.abs(made - reference.numpy()).max() < 1e-5


def test_the_network_computes_what_its_file_says(scanner: Drawn) -> None:
    """The same graph, walked with torch: neither the ONNX bytes nor onnxruntime has a part in it."""
    pixels = picture(160)
    expected = _by_torch(WEIGHTS.read_bytes(), torch.from_numpy(prepare(pixels, 224)))
    shares = scanner.shares(pixels)
    assert tuple(shares) == ("drawing", "hentai", "neutral", "porn", "sexy")
    assert np.abs(np.array(list(shares.values())) - expected).max() < 1e-4


def _by_torch(data: bytes, values: torch.Tensor) -> np.ndarray:
    told, stored = _told(data), load(data)
    known = {
        name: torch.from_numpy((stored[name] * scale + minimum).astype(np.float32))
        for name, (scale, minimum) in told["quantisation"].items()
    }
    known["input"] = values
    functional = torch.nn.functional
    for node in told["graph"]:
        given_, how = [known[name] for name in node["inputs"]], node["attributes"]
        match node["op"]:
            case "Conv":
                x, kernel = given_
                if how["auto_pad"] == "SAME_UPPER":
                    sides = [
                        max((-(-size // step) - 1) * step + width - size, 0)
                        for size, step, width in zip(x.shape[2:], how["strides"], kernel.shape[2:], strict=True)
                    ]
                    x = functional.pad(x, (sides[1] // 2, -(-sides[1] // 2), sides[0] // 2, -(-sides[0] // 2)))
                made = functional.conv2d(x, kernel, stride=how["strides"], groups=how.get("group", 1))
            case "BatchNormalization":
                x, weight, bias, mean, variance = given_
                made = functional.batch_norm(x, mean, variance, weight, bias, eps=how["epsilon"])
            case "Clip":
                made = given_[0].clamp(how["min"], how["max"])
            case "Add":
                made = given_[0] + given_[1]
            case "GlobalAveragePool":
                made = given_[0].mean((2, 3), keepdim=True)
            case "Flatten":
                made = given_[0].flatten(1)
            case "Gemm":
                made = given_[0] @ given_[1] + given_[2]
            case "Relu":
                made = given_[0].relu()
            case "Softmax":
                made = given_[0].softmax(how["axis"])
        known[node["output"]] = made
    return known["output"][0].numpy()


def _told(data: bytes) -> dict:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["network"])


def test_drawn_explicitness_counts_alone_and_photographed_only_with_a_second_opinion(scanner: Drawn) -> None:
    detector: Detector = scanner
    finding, shares = detector.look(picture()), scanner.shares(picture())
    assert finding.score == pytest.approx(shares["hentai"])
    assert finding.doubtful == pytest.approx(shares["hentai"] + shares["porn"])
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert finding.detail.startswith("drawing 0.")


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2), (4000, 4000)])
def test_the_smallest_and_largest_pictures_get_a_proper_score(scanner: Drawn, shape: tuple[int, int]) -> None:
    pixels: Pixels = np.full((*shape, 3), 128, np.uint8)
    assert 0 <= scanner.look(pixels).score <= scanner.look(pixels).doubtful <= 1


def test_the_starter_s_pictures_are_clean(scanner: Drawn) -> None:
    """As the desk decides it: brown legs of a dog alone can make the doubtful score high, and veil a preview."""
    from backend.images import decode

    sheet = decode((ROOT / "docs/starter/contact-sheet.png").read_bytes(), max_pixels=10**7).pixels
    tiles = [sheet[y : y + 128, x : x + 128] for y in range(4, 580, 146) for x in range(4, 1056, 132)]
    assert len(tiles) == 32
    detectors: tuple[Detector, ...] = (OpenNsfw(0.5), scanner)
    assert [examine(tile, detectors).state for tile in tiles] == ["clean"] * 32
    assert max(scanner.look(tile).score for tile in tiles) < 0.1
    assert sum(not harmless(tile, detectors) for tile in tiles) <= 1


def test_missing_or_changed_weights_close_the_desk(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="missing"):
        Drawn(weights=tmp_path / "nowhere.safetensors")
    with pytest.raises(Unavailable, match="missing"):
        Drawn(weights=tmp_path)
    data = bytearray(WEIGHTS.read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "nsfwjs.safetensors"
    changed.write_bytes(data)
    with pytest.raises(Unavailable, match="not the expected file"):
        Drawn(weights=changed)
    changed.write_bytes(b"")
    with pytest.raises(Unavailable, match="not the expected file"):
        Drawn(weights=changed)


def test_the_weights_are_small_and_their_card_names_them_and_their_licence(scanner: Drawn) -> None:
    card = (CARD / "README.md").read_text(encoding="utf-8")
    assert WEIGHTS.stat().st_size < 6_000_000
    assert WEIGHTS_SHA256 in card
    assert scanner.model_sha256 == WEIGHTS_SHA256
    licence = (CARD / "LICENSE.nsfwjs").read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in licence
    assert "Infinite Red, Inc." in licence
    assert "MIT" in _told(WEIGHTS.read_bytes())["licence"]
