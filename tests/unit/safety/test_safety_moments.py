from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.prompt_filter.moments import moments


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("plain (words:1.2) in [brackets]", set()),
        ("n[u|x]de", {"nude", "nxde"}),
        ("[a|b|c]", {"a", "b", "c"}),
        ("[from:to:0.5]", {"from", "to"}),
        ("[late:10]", {"", "late"}),
        ("[early::0.25]", {"early", ""}),
        ("[a|b][c|d]", {"ac", "bd"}),
        ("[a:b:5] [c:d:10]", {"a c", "b c", "b d"}),
        ("[(a:1.2):b:0.5]", {"(a:1.2)", "b"}),
        ("[[a|b]:c:0.5]", {"a", "b", "c"}),
        ("[a:b:1.5]", {"a", "b"}),
        ("[a:b:25]", {"a", "b"}),
        ("[|a]", {"", "a"}),
        (r"\[a|b\]", set()),
        ("[a|b", set()),
        ("a|b]", set()),
        ("[a:b]", set()),
    ],
)
def test_every_text_that_some_step_shows_is_found(prompt: str, texts: set[str]) -> None:
    assert set(moments(prompt, 20)) == texts


def test_of_very_many_moments_the_most_shown_are_kept() -> None:
    prompt = "[a|" + "|".join(str(i) for i in range(2, 100)) + "][x:y:140]"
    found = moments(prompt, 150)
    assert len(found) == 48
    assert "ax" in found


@given(st.text(alphabet="ab[]()|:\\. 015", max_size=60), st.integers(0, 200))
def test_no_text_breaks_the_reading_and_the_letters_are_those_of_the_prompt(prompt: str, steps: int) -> None:
    for text in moments(prompt, steps):
        assert set(text) <= set(prompt)
        assert len(text) <= len(prompt)
