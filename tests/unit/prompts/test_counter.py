"""Counting tokens without torch, with CLIP's own vocabulary and the starter's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UnreadableModel
from backend.models import vocabulary
from backend.prompts.counter import Count, Counter
from backend.settings import ROOT

STARTER = ROOT / "models" / "starter" / "tokenizer"


@pytest.fixture(scope="module")
def clip() -> Counter:
    return Counter.of()


@pytest.fixture(scope="module")
def starter() -> Counter:
    return Counter.of(STARTER)


def test_clips_tokenizer_gives_the_known_ids(clip: Counter) -> None:
    assert clip.tokenise("a photo of a cat") == (320, 1125, 539, 320, 2368)
    assert clip.tokenise("A  Photo\nof a CAT,") == (320, 1125, 539, 320, 2368, 267)
    assert len(vocabulary.clip().ids) == 49_408


def test_a_folder_with_vocabulary_and_merges_is_read_as_its_tokenizer_json(tmp_path: Path, starter: Counter) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((STARTER / name).read_bytes())
    plain = Counter.of(tmp_path)
    for text in ("a red apple, on a table", "don't 42 Ünïcode 🐈!!", "<|endoftext|> x", ""):
        assert plain.tokenise(text) == starter.tokenise(text)


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"model": {"type": "BPE"}})])
def test_a_tokenizer_that_cannot_be_read_is_an_error_that_says_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UnreadableModel):
        Counter.of(tmp_path)


def test_a_folder_without_a_tokenizer_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel):
        Counter.of(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Count(0, 1, 75)),
        ("a (photo:1.5) of [a] cat", Count(5, 1, 75)),
        ("a BREAK b", Count(76, 2, 150)),
        ("word " * 76, Count(76, 2, 150)),
        ("a [cat:photo of a cat:0.5]", Count(5, 1, 75)),
        ("[a|a cat|a photo of]", Count(3, 1, 75)),
        ("a AND a photo of a cat", Count(5, 1, 75)),
        ("a <lora:some long name:1> cat # of mine", Count(2, 1, 75)),
    ],
)
def test_the_longest_text_that_a_prompt_becomes_is_counted(clip: Counter, text: str, expected: Count) -> None:
    assert clip.count(text, 20) == expected


def test_a_negative_prompt_is_not_split(clip: Counter) -> None:
    assert clip.count("a AND a cat", 20, negative=True).tokens == 4


@pytest.mark.parametrize(
    "text", ["(" * 10_000, "[a|b]" * 2_000, "🐈" * 10_000, "\x00" * 100, "\ud800", "a AND " * 5_000]
)
def test_any_text_is_counted(starter: Counter, text: str) -> None:
    count = starter.count(text, 50)
    assert 0 <= count.tokens <= count.limit == 75 * count.chunks


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(1, 30))
def test_a_count_fits_its_limit(starter: Counter, text: str, steps: int) -> None:
    count = starter.count(text, steps)
    assert 75 * (count.chunks - 1) <= count.tokens <= count.limit


def test_counting_needs_no_torch() -> None:
    code = "import sys, backend.prompts.counter, backend.prompts.expand; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
