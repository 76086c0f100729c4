from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.prompt_filter.classifier import TextClassifier
from safety.prompt_filter.fluency import Fluency, Table, features, keys, readable
from training.filter import ngrams

PEOPLE = [
    "a photo of a small house by the sea",
    "portrait of an old man with a hat, oil painting",
    "a cat asleep on the sofa, soft light",
    "a red bicycle in front of a bakery in the rain",
] * 3
ODD = "vxqk lwprtz bnmgh kdjfh qpwoe zmxnc rtyghv bvncm qzxw jhgfd"


@pytest.fixture(scope="module")
def table() -> Table:
    return ngrams.table(PEOPLE, size=1 << 14)


@pytest.fixture(scope="module")
def shipped() -> Fluency:
    return TextClassifier.shipped().fluency


def test_what_the_model_reads_has_one_kind_of_space_digit_and_letter() -> None:
    assert readable("Ein\n\tÄpfel 1984 für 日本") == " ein apfel 0000 fur "


def test_hashes_of_runs_do_not_depend_on_where_they_stand() -> None:
    assert keys("xxhello", 5)[-1] == keys("hello", 5)[0]
    assert len(keys("abc", 5)) == 0


def test_seen_text_is_cheaper_than_unseen(table: Table) -> None:
    assert table.costs(readable("a photo of an old house")).mean() < table.costs(readable(ODD)).mean() - 2


def test_every_character_after_the_first_has_a_cost(table: Table) -> None:
    seen = readable("a cat, a dog")
    assert table.costs(seen).shape == (len(seen) - 1,)


def test_short_texts_and_other_scripts_are_never_odd(shipped: Fluency) -> None:
    for text in ("", "xqz", "夕焼けの海と古い灯台", "Бабушка в саду пьёт чай", "🙂" * 30):
        assert shipped.oddness(text) == 1.0


def test_a_made_up_score_is_a_share_of_people(table: Table) -> None:
    weights = ngrams.weights(table, PEOPLE, [ODD, ODD[::-1], ODD.upper()])
    first = Fluency(table, {"fluency_weights": weights, **ngrams.NO_SHARES}, lambda _: 0.0)
    people = [pair for text in PEOPLE if (pair := first.parts(text)) is not None]
    judge = Fluency(table, {"fluency_weights": weights, **ngrams.shares(people)}, lambda _: 0.0)
    shares = sorted(judge.oddness(text) for text in PEOPLE)
    assert shares[len(shares) // 2] > 0.3
    assert judge.oddness(ODD) <= shares[0]


@given(st.text(max_size=300))
def test_oddness_is_always_a_share(text: str) -> None:
    tiny = ngrams.table(["a cat"], size=1 << 8)
    judge = Fluency(tiny, {"fluency_weights": np.ones(8), **ngrams.NO_SHARES}, lambda _: 0.0)
    assert 0 <= judge.oddness(text) <= 1


@pytest.mark.parametrize(
    "text",
    [
        "a lighthouse on a cliff at sunset, oil painting, warm light",
        "1girl, solo, long hair, blue eyes, looking at viewer, smile, outdoors, cherry blossoms, masterpiece",
        "(masterpiece:1.2), best quality, portrait of a knight, intricate armor, sharp focus, [blurry:0.3], 8k",
        "castle in the clouds, concept art, trending on artstation, highly detailed, matte painting",
        "Eine alte Frau sitzt am Fenster und liest ein Buch",
        "Une vieille dame lit au bord de la mer",
    ],
)
def test_what_people_write_is_not_odd(shipped: Fluency, text: str) -> None:
    assert shipped.oddness(text) > 0.02


@pytest.mark.parametrize(
    "text", [ODD, "tuesdayxx glnqo mvpzard kjfwebster ouxhml thrqpany zzuvio brkwmq pflozt ihnrgx"]
)
def test_strings_that_nobody_wrote_are_odd(shipped: Fluency, text: str) -> None:
    assert shipped.oddness(text) < 0.02


def test_features_of_a_long_text_are_bounded_in_time(table: Table) -> None:
    assert features(table, "a small house " * 5000) is not None
