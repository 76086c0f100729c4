"""English words by frequency: what tells a decoded text from noise, and where one word ends and the next begins.

`words.txt` holds the 40,000 most frequent words, the most frequent first, of the English dictionary in `symspellpy`
6.10.1 (MIT; counts from Google Books Ngrams, spelling from SCOWL). Only their order is kept. The words of the filter's
own lists are added, in every language they are written in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

_LONGEST = 18
_UNKNOWN = 25.0  # cost of a letter that belongs to no word: more than the rarest word costs
_RUN = re.compile(r"(.)\1+")
_SKELETON = str.maketrans("0134567890@$!|+lz", "oieasgtbgoasiitis")
"""Digits, signs and the letters they stand for to one letter each: `1`, `!`, `|` and `l` all read as i."""
_FAMILIAR = frozenset(
    re.findall(
        r"\w+",
        """
        describes evokes evoking exudes exuding features featuring focuses depicts depicting showcases showcasing
        bokeh selfie photorealistic hyperrealistic cgi artstation deviantart pixiv hdr dslr nsfw hentai steampunk
        vaporwave synthwave lofi chibi kawaii waifu isekai mecha deepfake watercolor gouache tshirt emoji chatgpt
        instagram tiktok youtube minecraft pikachu nudify unclothed dismembered beheading decapitation lynching
        deepnude twerking middlesex scunthorpe penistone cockermouth clitheroe lightwater babcock colors colored
        colorful colorfully coloring discolored harbor harbors neighbor neighbors neighborhood labor humor humorously
        armor armored tumor rumor vapor favorite favorites flavored centered centers theater theaters somber specter
        scepter saber traveling traveler travelers modeling jewelry aluminum pajamas mustache plow plowing woolen
        defenseless offense practicing checkered airplane airplanes jetliner biplane donut hotdog hotdogs cannot
        countertop countertops windowsill trashcan firetruck motorcyclist motorcyclists bicyclist skateboarder
        skateboarders snowboarder snowboarders skatepark stoplight streetlight streetlights sidecar speedboat
        motorboat rowboat turboprop suv atv stovetop headdress photoshopped photoshoot headshot multicolored bloodied
        bloodstained bloodstain bloodstains bloodshot splatters splattered splattering writhing grimy spiky
        nightmarish hellish hellscape ominously eerily menacingly savagely contorted disfigured emaciated maniacal
        maniacally unnerving unnervingly foreboding disheveled unkempt suffocating recoiling squirming paralyzed
        assailant brandishing weaponized poacher crowbar katana maggots slithering intertwining glinting asphyxiated
        disemboweled impaling flayed eviscerated severing strangling bludgeoned electrocuted waterboarding lynched
        claymore fentanyl ketamine mdma lsd vape deepfaked lockpick blackface antisemitic islamophobic transphobic
        supremacist swastikas ghibli akira miyazaki photorealism hyperrealist hyperrealism dystopian dystopia
        anthropomorphic cartoonish minimalistic liminal biopunk backlit chiaroscuro linework lineart fanart zbrush
        photoshop pixar vray uhd rgb dof filmic portra cinematographic tendrils tanktop bowtie loincloth curvaceous
        braless bdsm creampie upskirt covid brexit fbi nasa usa nato zelensky merkel macron bezos zuckerberg spongebob
        squarepants spiderman ironman totoro naruto goku hermione gollum
        """,
    )
)
"""Words of prompts that the dictionary, which is British and older than they are, does not know."""


class Lexicon:
    """Immutable once made. `extra` are words that count as known besides those of `words.txt`."""

    def __init__(self, words: Iterable[str], extra: Iterable[str] = ()) -> None:
        ranked = dict.fromkeys(words)
        scale = math.log(max(len(ranked), 2))
        self._cost: dict[str, float] = {word: math.log((rank + 1) * scale) for rank, word in enumerate(ranked)}
        rare = math.log(6000 * scale)
        for word in extra:
            self._cost.setdefault(word, rare)
        self._skeletons: dict[str, str] = {}
        for word in sorted(self._cost, key=self._cost.__getitem__):
            if len(word) > 2:
                self._skeletons.setdefault(skeleton(word), word)

    def __contains__(self, word: object) -> bool:
        return word in self._cost

    def meant(self, word: str) -> str | None:
        """The most frequent word that is spelled so with digits for letters and repeated letters, if there is one."""
        return self._skeletons.get(skeleton(word))

    def segmented(self, letters: str) -> tuple[tuple[str, ...], float]:
        """The likeliest words that `letters` consist of when written without gaps, and the mean cost of a letter.

        Dynamic programming over unigram costs (Zipf's law), linear in the length. A mean cost below about 2 is text.
        """
        best = [0.0]
        start = [0]
        cost = self._cost
        for end in range(1, len(letters) + 1):
            least, where = best[end - 1] + _UNKNOWN, end - 1
            for begin in range(max(0, end - _LONGEST), end):
                here = cost.get(letters[begin:end])
                if here is not None and best[begin] + here < least:
                    least, where = best[begin] + here, begin
            best.append(least)
            start.append(where)
        pieces = []
        end = len(letters)
        while end:
            pieces.append(letters[start[end] : end])
            end = start[end]
        return tuple(reversed(pieces)), best[-1] / max(len(letters), 1)


def skeleton(word: str) -> str:
    """What stays of a word when digits stand for letters and letters are written once."""
    return _RUN.sub(r"\1", word.translate(_SKELETON))


@cache
def shipped() -> tuple[str, ...]:
    """The words of `words.txt`."""
    return tuple(files(__package__).joinpath("words.txt").read_text(encoding="ascii").split())


@cache
def lexicon(*extra: str) -> Lexicon:
    return Lexicon(shipped(), (*_FAMILIAR, *extra))
