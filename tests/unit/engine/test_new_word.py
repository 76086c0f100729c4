"""Where the vectors of a new word go, and what they begin as: the text side of textual inversion."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.engine import lora_state
from backend.engine.embedding_training import NewWord
from backend.engine.lora_dataset import TrainingImage, worded
from backend.engine.lora_settings import TrainingSettings
from backend.types.training import TrainingRequest
from tests.support import tiny

SETTINGS = TrainingSettings(kind="embedding", vectors=4, init_word="red cat")


def pictures() -> tuple[TrainingImage, ...]:
    found = []
    for number, caption in enumerate(("a red cat, glow", "a blue cat", "a Glow dog")):
        pixels = np.full((32, 32, 3), 40, np.uint8)
        pixels[8:24, 8 + number : 24] = (240, 220, 40)
        found.append(TrainingImage(pixels, caption, f"{number}.png"))
    return tuple(found)


@pytest.fixture(scope="module")
def model() -> Any:
    pipe = tiny.pipeline("sd1")
    one = {"text_encoder": pipe.text_encoder, "text_encoders": (pipe.text_encoder,), "tokenizers": (pipe.tokenizer,)}
    return SimpleNamespace(
        **one,
        tokenizer=pipe.tokenizer,
        is_sdxl=False,
        is_refiner=False,
        device=torch.device("cpu"),
        text_encoder_2=None,
    )


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("a cat", "a cat, glow"),
        ("a cat, ", "a cat, glow"),
        ("", "glow"),
        ("a Glow cat", "a Glow cat"),
        ("glowing", "glowing, glow"),
        ("glow2", "glow2, glow"),
        ("(glow)", "(glow)"),
    ],
)
def test_the_word_stands_in_every_caption_once(caption: str, told: str) -> None:
    assert worded(caption, "glow") == told


@settings(deadline=None)
@given(st.text(max_size=40), st.from_regex(r"\w[\w .-]{0,10}\w", fullmatch=True))
def test_a_caption_with_the_word_is_left_as_it_is(caption: str, word: str) -> None:
    once = worded(caption, word)
    assert worded(once, word) == once


def test_vectors_begin_as_the_words_they_are_told(model: Any) -> None:
    table = model.text_encoder.get_input_embeddings().weight.detach()
    red, cat = model.tokenizer("red cat", add_special_tokens=False).input_ids
    ((name, vectors),) = NewWord(model, SETTINGS, "glow").named()
    assert name == "emb_params" and vectors.dtype == torch.float32
    assert torch.equal(vectors, table[[red, cat, red, cat]])


def test_without_words_they_are_drawn_from_the_seed_as_wide_as_the_known_ones(model: Any) -> None:
    drawn = [
        next(NewWord(model, TrainingSettings(kind="embedding", vectors=8, seed=seed), "glow").named())[1]
        for seed in (1, 1, 2)
    ]
    table = model.text_encoder.get_input_embeddings().weight.detach()
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert 0.5 < float(drawn[0].detach().std() / table.std()) < 2


def test_the_states_change_with_the_vectors_and_only_from_the_word_on(model: Any) -> None:
    word = NewWord(model, SETTINGS, "glow")
    plain, _ = word.said("a cat, glow")
    with torch.no_grad():
        next(word.named())[1].add_(1.0)
    moved, _ = word.said("a cat, glow")
    before = len(model.tokenizer("a cat,", add_special_tokens=False).input_ids) + 1
    assert torch.equal(plain[:, :before], moved[:, :before])
    assert not torch.equal(plain[:, before], moved[:, before])
    assert torch.equal(word.said("")[0], NewWord(model, SETTINGS, "glow").said("")[0])
    assert word.moves("a cat, glow") and not word.moves("")


def test_a_word_behind_the_end_of_the_context_comes_first_instead(model: Any) -> None:
    word = NewWord(model, SETTINGS, "glow")
    states, _ = word.said("a red cat " * 40 + ", glow")
    assert states.shape[1] == 77
    states.sum().backward()
    assert next(word.named())[1].grad is not None


def test_captions_get_the_word_and_pictures_stay(model: Any) -> None:
    found = NewWord(model, SETTINGS, "glow").captioned(pictures())
    assert [one.caption for one in found] == ["a red cat, glow", "a blue cat, glow", "a Glow dog"]
    assert all((one.pixels == two.pixels).all() for one, two in zip(found, pictures(), strict=True))


def test_a_checkpoint_says_only_what_its_kind_of_training_has() -> None:
    told = lora_state.describe(SETTINGS, "data", "model", 3, None)["settings"]
    assert (told["kind"], told["vectors"], told["init_word"]) == ("embedding", 4, "red cat")
    assert not {"rank", "alpha", "targets"} & told.keys()
    plain = lora_state.describe(TrainingSettings(), "data", "model", 3, None)["settings"]
    assert not {"kind", "vectors", "init_word"} & plain.keys(), "checkpoints of earlier versions can go on"


def test_a_training_of_an_earlier_version_is_one_of_a_lora(tmp_path: Path) -> None:
    old = {"name": "style", "model": "starter", "steps": 5, "learning_rate": 1e-3, "resolution": 128}
    assert TrainingRequest.model_validate(old).kind == "lora"
