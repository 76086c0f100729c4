"""Secret signs: reversible, linear where they say so, different for every key."""

from __future__ import annotations

import numpy as np
import pytest

from backend.errors import InvalidParameter
from safety.watermark import mark_id_of
from safety.watermark.codes import Codebook, checked_key

KEY = b"0123456789abcdef"
IDS = [0, 1, 0xFFFFFFFFFFFF, 0x123456789ABC]


def test_payloads_of_many_ids_decode_to_these_ids() -> None:
    book = Codebook(KEY)
    payloads = book.payloads(np.array(IDS, np.uint64))
    assert payloads.shape == (4, 64) and set(np.unique(payloads)) == {-1.0, 1.0}
    assert [book.decode(payload * 0.3) for payload in payloads] == IDS


def test_every_single_wrong_bit_is_noticed() -> None:
    book = Codebook(KEY)
    payload = book.payloads(np.array([IDS[3]], np.uint64))[0]
    for i in range(64):
        wrong = payload.copy()
        wrong[i] *= -1
        assert book.decode(wrong) is None


def test_two_keys_share_nothing() -> None:
    one, two = Codebook(KEY).chips(IDS[3]), Codebook(KEY + b"x").chips(IDS[3])
    assert one.shape == (96,) and 24 <= int((one == two).sum()) <= 72


def test_a_short_key_is_refused() -> None:
    with pytest.raises(InvalidParameter):
        checked_key(b"too short")


def test_a_mark_id_is_the_start_of_the_hash_of_the_record_id() -> None:
    assert mark_id_of("abc") == 0xBA7816BF8F01
