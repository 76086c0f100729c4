"""Letters of every script that can be taken for Latin ones: the part of Unicode's confusables that hides words.

`confusables.txt` beside this module holds a line for each Latin letter or digit with the code points that look like it.
It was written from the data of UTS #39 as packaged in `confusable-homoglyphs` 3.3.1 (MIT) by

    python -m safety.prompt_filter.confusables PATH/TO/confusables.json > safety/prompt_filter/confusables.txt

Characters that NFKC and case folding already turn into Latin letters are left out: what uses the table does that first.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

# What people use beyond UTS #39, which asks for letters that look the same: here those that can be read as another.
_ALSO = (
    "аa еe оo рp сc уy хx іi јj ѕs ԁd ԛq ԝw һh ӏl ґr вb нh кk мm тt ьb зe гr ѵv пn иu яr шw "
    "αa βb γy δd εe ζz ηn θo ιi κk λl μu νv οo πn ρp σo ςc τt υu χx ωw ϲc ϳj ξe "
    "ոn սu օo ցg հh ѡw ɑa ɡg ıi ɩi ɪi ʟl ɴn ʀr ꜱs ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ᴊj ᴋk ᴍm ᴏo ᴘp ᴛt ᴜu ᴠv ᴡw ʏy ᴢz "
    "ƅb ɓb ƈc ɗd đd ɛe ɠg ɦh ɨi łl ŋn øo ɵo ʂs ŧt ʋv ƶz ᗩa ᗷb ᑕc ᗪd ᖴf ᕼh ᒍj ᒪl ᗰm ᑎn ᑭp ᖇr ᔕs ᑌu ᐯv ᗯw "
    "卂a 乃b 匚c ᗞd 乇e 千f 卄h 丨i 几n 尺r 丂s 丅t 凵u 乂x 丫y "
    "ɐa ɔc ǝe ɟf ƃg ɥh ᴉi ɾj ʞk ɯm ɹr ʇt ʌv ʍw ʎy ¢c €e £l ¥y ₩w ₮t ₱p ₦n ₲g ₴s ×x ƒf ßb "
)


@cache
def lookalikes() -> Mapping[int, str]:
    """Code point of a folded character -> the Latin letter (or digit) it can be taken for; for `str.translate`."""
    table: dict[int, str] = {}
    for line in files(__package__).joinpath("confusables.txt").read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            letter, *points = line.split()
            table |= {int(point, 16): letter for point in points}
    table |= {ord(pair[0]): pair[1] for pair in _ALSO.split()}
    # Letters inside boxes and circles, and the regional indicators that flags are made of, have no decomposition.
    table |= {start + i: chr(ord("a") + i) for start in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}
    return table


def _compact(homoglyphs: Mapping[str, list[Mapping[str, str]]]) -> str:
    """The lines of `confusables.txt`. Capitals count as their small letters, and what small letters say goes first."""
    found: dict[int, str] = {}
    for own_case in (True, False):
        for char, others in homoglyphs.items():
            looks = sorted(other["c"] for other in others if len(other["c"]) == 1 and other["c"].isascii())
            latin = [look for look in looks if look.isalpha()] or [look for look in looks if look.isdigit()]
            folded = unicodedata.normalize("NFKC", char.strip("\u200e")).casefold()
            if latin and len(folded) == 1 and not folded.isascii() and (folded == char) == own_case:
                small = [look for look in latin if look.islower()]
                found.setdefault(ord(folded), (small or latin)[0].lower())
    lines = defaultdict(list)
    for point, letter in found.items():
        lines[letter].append(f"{point:04X}")
    head = "# Made by safety.prompt_filter.confusables from the data of UTS #39 (confusable-homoglyphs 3.3.1, MIT)."
    return "\n".join([head, *(f"{letter} {' '.join(sorted(lines[letter]))}" for letter in sorted(lines))])


if __name__ == "__main__":
    print(_compact(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
