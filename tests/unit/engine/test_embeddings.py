"""Textual inversion: what files hold, whom they fit, and that the vectors stand where the word stood."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from backend.engine.embeddings import Embedding, fits, read_embedding, spliced
from backend.errors import UnreadableModel
from tests.support.lora import said
from tests.support.models import Shelf, shelf

__all__ = ["shelf"]


def _file(folder: Path, **tensors: Tensor) -> Path:
    save_file(tensors, folder / "word.safetensors")
    return folder / "word.safetensors"


@pytest.mark.parametrize(
    ("key", "shape", "count"), [("emb_params", (3, 32), 3), ("<猫>", (32,), 1), ("<猫>", (2, 32), 2)]
)
def test_one_tensor_is_a_word_of_one_encoder(tmp_path: Path, key: str, shape: tuple[int, ...], count: int):
    given = torch.randn(shape)
    word = read_embedding(_file(tmp_path, **{key: given.half()}), "猫")
    assert (word.name, len(word), len(word.vectors)) == ("猫", count, 1)
    assert torch.equal(word.vectors[0], given.half().float().reshape(count, 32))


def test_sdxl_has_vectors_for_both_encoders_in_their_order(tmp_path: Path):
    large, small = torch.randn(2, 1280), torch.randn(2, 768)
    word = read_embedding(_file(tmp_path, clip_g=large, clip_l=small), "word")
    assert [tuple(vectors.shape) for vectors in word.vectors] == [(2, 768), (2, 1280)]


@pytest.mark.parametrize(
    ("tensors", "said_about_it"),
    [
        ({"a": torch.zeros(2, 8), "b": torch.zeros(2, 8)}, "2 tensors"),
        ({"clip_l": torch.zeros(2, 8), "clip_g": torch.zeros(3, 8)}, "different numbers"),
        ({"emb_params": torch.zeros(2, 3, 8)}, "vectors"),
        ({"emb_params": torch.zeros(0, 8)}, "vectors"),
        ({"emb_params": torch.zeros(76, 8)}, "at most 75"),
        ({"emb_params": torch.full((1, 8), float("nan"))}, "not numbers"),
        ({"emb_params": torch.zeros(1, 8, dtype=torch.int32)}, "vectors"),
    ],
)
def test_what_is_no_word_is_refused_by_name(tmp_path: Path, tensors: dict[str, Tensor], said_about_it: str):
    with pytest.raises(UnreadableModel, match=said_about_it) as refused:
        read_embedding(_file(tmp_path, **tensors), "odd one")
    assert "odd one" in refused.value.problem.title


def test_pickles_and_torn_files_are_refused(tmp_path: Path):
    torn = _file(tmp_path, emb_params=torch.zeros(4, 32))
    torn.write_bytes(torn.read_bytes()[:-7])
    with pytest.raises(UnreadableModel, match="cut off"):
        read_embedding(torn, "torn")
    with pytest.raises(UnreadableModel, match="pickle"):
        read_embedding(tmp_path / "word.pt", "word")


def test_a_word_fits_models_with_encoders_of_its_widths(shelf: Shelf):
    narrow, wide = shelf.model("one"), shelf.model("wide")
    word = Embedding("word", (torch.zeros(2, 32),))
    assert fits(word, narrow)
    assert not fits(word, wide)
    assert not fits(Embedding("word", (torch.zeros(2, 32), torch.zeros(2, 64))), narrow)


def test_a_word_with_the_vectors_of_a_token_reads_like_the_token(shelf: Shelf):
    model = shelf.model("one")
    encoder = model.text_encoder
    plain, other = said(model, encoder, "a red cat"), said(model, encoder, "a blue cat")
    blue = model.tokenizer("blue", add_special_tokens=False).input_ids
    vectors = encoder.get_input_embeddings().weight[blue].clone()
    assert len(blue) == 1
    with spliced(encoder, [(2, vectors)]):
        assert torch.equal(said(model, encoder, "a red cat"), other)
    assert not torch.equal(plain, other)
    assert torch.equal(said(model, encoder, "a red cat"), plain)


def test_several_words_and_one_that_reaches_behind_the_end(shelf: Shelf):
    model = shelf.model("one")
    encoder = model.text_encoder
    seen = []
    vectors = torch.randn(4, 32)
    with spliced(encoder, [(1, vectors[:2]), (75, vectors)]):
        handle = encoder.get_input_embeddings().register_forward_hook(lambda _m, _i, out: seen.append(out))
        said(model, encoder)
        handle.remove()
    assert torch.equal(seen[0][0, 1:3], vectors[:2])
    assert torch.equal(seen[0][0, 75:77], vectors[:2])


def test_nothing_stays_behind_after_an_error(shelf: Shelf):
    model = shelf.model("one")
    plain = said(model, model.text_encoder)
    with pytest.raises(RuntimeError, match="halfway"), spliced(model.text_encoder, [(1, torch.ones(1, 32))]):
        raise RuntimeError("halfway")
    assert torch.equal(said(model, model.text_encoder), plain)
