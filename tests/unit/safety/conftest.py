"""Two installations and what sealing needs; the samples themselves are in samples.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backend.images import encode_jpeg, encode_png, encode_thumbnail
from backend.types import EngineFacts, ModelFacts, Pixels, RawImage, Verdict
from safety.keys import Keys, open_keys
from safety.provenance import Credentials
from safety.seal import Encoders
from tests.unit.safety.samples import WORDING, CornerMark, LostMark, picture, request


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return open_keys(tmp_path_factory.mktemp("installation") / "keys")


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return open_keys(tmp_path_factory.mktemp("other") / "keys")


@pytest.fixture(scope="session")
def credentials(keys: Keys) -> Credentials:
    return Credentials(keys, WORDING)


@pytest.fixture(scope="session")
def other_credentials(other_keys: Keys) -> Credentials:
    return Credentials(other_keys, WORDING)


@pytest.fixture(scope="session")
def encoders() -> Encoders:
    return Encoders(encode_png, encode_thumbnail, encode_jpeg)


@pytest.fixture
def mark() -> CornerMark:
    return CornerMark()


@pytest.fixture
def lost_mark() -> LostMark:
    return LostMark()


@pytest.fixture
def raw() -> Callable[..., RawImage]:
    def make(pixels: Pixels | None = None, *, index: int = 0, prompt: str = "a lighthouse") -> RawImage:
        pixels = picture() if pixels is None else pixels
        return RawImage(
            pixels=pixels,
            job_id="job",
            index=index,
            seed=11 + index,
            request=request(prompt, pixels.shape[0]),
            infotext=f"{prompt}\nNegative prompt: fog\nSteps: 4",
            model=ModelFacts(id="starter", title="Starter", family="starter", licence="MIT", sha256="ab" * 32),
            engine=EngineFacts(
                app="0.1.0",
                torch="2",
                diffusers="0",
                device="cpu",
                dtype="float32",
                attention="native",
                bucket=1,
                seconds=0.1,
            ),
            verdict=Verdict("allow", "personal-1"),
        )

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"
