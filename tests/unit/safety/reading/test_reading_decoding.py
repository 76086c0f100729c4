"""Disguised text is written out, and plain text of any language is left alone."""

from __future__ import annotations

import base64
import codecs
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.prompt_filter.confusables import lookalikes
from safety.prompt_filter.decoding import natural, share_of_words
from safety.prompt_filter.lexicon import Lexicon, lexicon
from safety.prompt_filter.moments import moments
from safety.prompt_filter.normalise import naturals

PLAIN = "an old fisherman mends a green net beside the quiet harbour"
LEET = str.maketrans("aeiost", "431057")
CYRILLIC = str.maketrans("aceopxy", "асеорху")


@pytest.fixture(scope="module")
def words() -> Lexicon:
    return lexicon()


def read(text: str, words: Lexicon) -> str:
    return " ".join(natural(text, words).text.lower().split())


DISGUISED = {
    "digits": PLAIN.translate(LEET),
    "homoglyphs": PLAIN.translate(CYRILLIC),
    "fullwidth": "".join(chr(ord(char) + 0xFEE0) if char != " " else char for char in PLAIN),
    "mathematical": "".join(chr(0x1D41A + ord(char) - 97) if char != " " else char for char in PLAIN),
    "zero width": "\u200b".join(PLAIN),
    "bidi": "\u202e" + PLAIN[::-1] + "\u202c",
    "variation selectors": "\ufe0f".join(PLAIN),
    "tag characters": "\U000e0061".join(PLAIN),
    "marks": "".join(f"{char}\u0336" if char != " " else char for char in PLAIN),
    "spaces": "  ".join(" ".join(word) for word in PLAIN.split()),
    "dots": " ".join(".".join(word) for word in PLAIN.split()),
    "lines": "\n".join(PLAIN.replace(" ", "\n")),
    "spliced": PLAIN.replace(" ", ""),
    "reversed": PLAIN[::-1],
    "reversed words": " ".join(word[::-1] for word in PLAIN.split()),
    "base64": base64.b64encode(PLAIN.encode()).decode(),
    "url-safe base64 without padding": base64.urlsafe_b64encode(PLAIN.encode()).decode().rstrip("="),
    "base64 of digits": base64.b64encode(PLAIN.translate(LEET).encode()).decode(),
    "hexadecimal": PLAIN.encode().hex(),
    "hexadecimal bytes": PLAIN.encode().hex(" "),
    "binary": " ".join(f"{byte:08b}" for byte in PLAIN.encode()),
    "numbers": " ".join(str(byte) for byte in PLAIN.encode()),
    "rot13": codecs.encode(PLAIN, "rot13"),
    "escapes": "".join(f"\\u{ord(char):04x}" for char in PLAIN),
    "percent": "".join(f"%{ord(char):02x}" for char in PLAIN),
    "entities": "".join(f"&#{ord(char)};" for char in PLAIN),
    "flags": "".join(chr(0x1F1E6 + ord(char) - 97) if char != " " else char for char in PLAIN),
    "boxes": "".join(chr(0x1F170 + ord(char) - 97) if char != " " else char for char in PLAIN),
}


@pytest.mark.parametrize("text", DISGUISED.values(), ids=DISGUISED)
def test_a_disguised_sentence_is_read_as_it_is_meant(text: str, words: Lexicon) -> None:
    found = set(read(text, words).split())
    lost = [word for word in PLAIN.split() if word not in found]
    assert len(lost) <= 1, natural(text, words)
    assert natural(text, words).layers or text.isascii() is False


ABROAD = [
    "обложка книги о море, закат и чайки",
    "красивый кот сидит на окне",
    "портрет девушки в парке, осень",
    "γάτα στο παράθυρο το πρωί",
    "東京の夜景、ネオンと雨",
    "一个老渔夫在港口修网",
    "바닷가의 등대와 갈매기",
    "قطة تجلس على النافذة",
    "खिड़की पर बैठी बिल्ली",
    "แมวนั่งอยู่ริมหน้าต่าง",
    "חתול יושב על החלון",
    "ein schönes Mädchen im Garten, Sonnenuntergang",
    "Donaudampfschifffahrtsgesellschaft im Nebel",
    "niño jugando con su perro en la playa",
    "żubr na łące, wiosna",
    "ışık yağmur İstanbul",
    "nhận dạng bãi biển đẹp",
    "kapybara på en äng",
]


@pytest.mark.parametrize("text", ABROAD)
def test_other_languages_stay_as_they_are(text: str, words: Lexicon) -> None:
    assert natural(text, words).text == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize(
    "text",
    [
        "1girl, 4k, 8k uhd, f/1.8, 35mm, r2d2, mp3, h264, 1980s, 3d render",
        "sci-fi city, black/white photo, well-lit room",
        "Shibuya, Akihabara, izakaya, yukata",
        "a B-52 and an F-16 over a runway",
    ],
)
def test_ordinary_notation_stays_as_it_is(text: str, words: Lexicon) -> None:
    assert natural(text, words).text == text


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("(masterpiece:1.2), [winter] <lora:oil_paint:0.8>", {"masterpiece, winter oil paint"}),
        ("light(hou:1.2)se", {"lighthouse"}),
        (r"a \(small\) boat", {"a small boat"}),
        ("snow BREAK sun", {"snow , sun"}),
    ],
)
def test_notation_is_taken_out(prompt: str, texts: set[str], words: Lexicon) -> None:
    found = {" ".join(each.text.replace("  ", " ").split()) for each in naturals(prompt, (), words)}
    assert {text.replace(" ,", ",") for text in found} == {text.replace(" ,", ",") for text in texts}


def test_of_scheduled_words_every_moment_that_reads_like_words_is_given() -> None:
    prompt = "a [lig|xq]hthouse"
    found = [each.text for each in naturals(prompt, moments(prompt, 20), lexicon())]
    assert "a lighthouse" in found
    assert len(found) <= 3


def test_a_known_word_of_another_script_alone_is_not_made_latin_among_its_like(words: Lexicon) -> None:
    assert natural("сор на полу, старый дом", words).text == "сор на полу, старый дом"
    assert read("сор car", words) == "cop car"


@given(st.text(max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_without_failing(text: str) -> None:
    found = natural(text, lexicon())
    assert 0 <= share_of_words(found.text, lexicon()) <= 1
    assert naturals(text, moments(text, 20), lexicon())


UNITS = (
    *("a", "a ", "xq", "nu3 ", "ß", "а", "обнаж ", "裸", "שלום ", "n.", "a-", "[", "(a:1.2)", "aGVsbG8", "😀", "Ａ"),
    "\u200b",
)


@pytest.mark.parametrize("unit", UNITS)
def test_ten_thousand_characters_of_any_script_take_a_moment(unit: str, words: Lexicon) -> None:
    text = (unit * 10_000)[:10_000]
    naturals("warm", (), words)
    start = time.process_time()
    naturals(text, moments(text, 20), words)
    assert time.process_time() - start < 0.4  # a tenth of that on an idle machine


def test_the_table_of_lookalikes_is_that_of_utf_39_and_more() -> None:
    table = lookalikes()
    assert len(table) > 500
    assert all(len(letter) == 1 and letter.isascii() for letter in table.values())
    for char, letter in zip("асеорхуіјѕԁӏһ", "aceopxyijsdlh", strict=True):
        assert table[ord(char)] == letter
