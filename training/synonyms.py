"""Teach the text tower words that no caption has: puppy, sofa, physician; what it says of captions stays as it is.

    python -m training synonyms --minutes 10

Of each word the sign is known that it means (`training.wordnet`). The same caption is said with the word and with the
sign's name, and the tower learns to say of the first what it said of the second before: token by token, and in the
padding behind, where the denoiser reads most. Captions of the grammar are said as well and must change nothing, so that
a denoiser trained before understands the words at once. It may be trained before or after the denoiser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModelWithProjection

from training import data, lens, running, towers, wordnet
from training.captions import COLOURS, HUES, Scene, both, caption, draw_scene
from training.data import FLAGS, OBJECTS, SYMBOLS, Record
from training.denoiser import padded
from training.everyday import EVERYDAY
from training.filter import packages
from training.geometry import SMALL, Geometry
from training.keywords import Keywords
from training.lens import Lens
from training.meanings import Meanings, english, vectors

PEAK = 4e-4
PAIRS, KEPT, OTHERS = 48, 32, 8
"""Of a batch: captions with a word and with its sign, captions, and captions about words that mean no sign."""
TWO = 0.3
"""Of the captions that must change nothing: about two signs side by side."""
SHARDS = 2
WORDS = 40_000
RARE, HARDLY_DRAWN = 0.1, 0.3
"""Weight of a word that is neither among the WORDS most usual ones nor anybody's keyword, and of one that means a sign
that the denoiser draws seldom, beside the others."""
GRAMMAR = frozenset(
    {*COLOURS, *HUES, "style", "icon", "emoji", "drawing", "picture", "background", "cartoon", "render"}
)


@dataclass(frozen=True, slots=True)
class Words:
    """English nouns with the sign that each means, and how often each is drawn beside the others."""

    signs: Mapping[str, str]
    weights: Sequence[float]


def words_of(work: Path, records: Sequence[Record]) -> Words:
    """Worked out once, with the packages fetched into `work/filter`."""
    path = work / "words.safetensors"
    if not path.exists():
        packs, meanings = packages.fetch(work / "filter"), Meanings.read(work, records)
        nouns = wordnet.Nouns.read(packs.wordnet)
        drawn = {record.base for record in records if record.group not in (FLAGS, SYMBOLS)}
        rows = [row for row, sign in enumerate(meanings.signs) if sign in drawn]
        signs, of_signs = [meanings.signs[row] for row in rows], meanings.of_signs[rows]
        numbers = sorted({number for sign in signs for number in nouns.meanings_of(sign)})
        told = [", ".join(nouns.synsets[number].words) + ": " + nouns.synsets[number].gloss for number in numbers]
        glosses = dict(zip(numbers, vectors(packs.encoder, told), strict=True))
        shown = wordnet.meant(nouns, signs, of_signs, glosses)
        usual, keywords = english(packs.vocabulary, WORDS), Keywords.read(packs.languages, records)
        named = [word for word in {**keywords.names, **keywords.keywords} if plainly(word)]
        candidates = dict.fromkeys([*usual, *named, *wordnet.names_of_kinds(nouns, shown)])
        known = {*nouns.senses, *named}
        words = [word for word in candidates if word in known and word not in GRAMMAR]
        of_words = vectors(packs.encoder, words)
        found = wordnet.words_of_signs(nouns, shown, signs, of_signs, words, of_words, keywords, EVERYDAY)
        common = {*usual, *named}
        usage = [1.0 if word in common else RARE for word in found]
        drawn_well = [1.0 if sign in EVERYDAY else HARDLY_DRAWN for sign in found.values()]
        weights = torch.tensor([one * other for one, other in zip(usage, drawn_well, strict=True)])
        running.save(path, {"weights": weights}, {"words": found})
    tensors, facts = running.load(path)
    return Words(facts["words"], tensors["weights"].tolist())


def plainly(word: str) -> bool:
    """One or two words of letters, not too short to say anything."""
    return len(word) > 1 and word.isascii() and word.count(" ") < 2 and word.replace(" ", "").isalpha()


def called(name: str, record: Record) -> Record:
    """The sign of `record` under another name, which is all that may be said of it."""
    return replace(record, label=name, base=name, tags=(), group=OBJECTS)


def twins(word: str, record: Record, scene: Scene, rng: Random) -> tuple[str, str]:
    """One caption said twice: of `word`, and of the sign of `record`."""
    seed = rng.random()
    first, second = (caption(called(name, record), scene, Random(seed), empty=0) for name in (word, record.base))
    return first, second


def lengths(ids: Tensor, end: int) -> Tensor:
    """Tokens up to and with the first `end`, (B,)."""
    return (ids == end).int().argmax(dim=1) + 1


def places(first: Tensor, second: Tensor, end: int) -> Tensor:
    """Where each token of one row finds what it should say in the other, (B, T), for ids (B, T) of twins.

    Before and behind the word the captions agree; all tokens of the word say what the name's last token says; padding
    says what the padding at its place, or the next one, says.
    """
    rows = []
    for one, two, own, other in zip(first, second, lengths(first, end), lengths(second, end), strict=True):
        mine, theirs, shorter = int(own), int(other), int(min(own, other))
        before = int((one[:shorter] == two[:shorter]).int().cumprod(0).sum())
        behind = int((one[:mine].flip(0)[:shorter] == two[:theirs].flip(0)[:shorter]).int().cumprod(0).sum())
        behind = min(behind, shorter - before)
        place = torch.arange(len(one))
        place[before : mine - behind] = max(0, theirs - behind - 1)
        place[mine - behind : mine] += theirs - mine
        place[mine:] = place[mine:].clamp(min=min(theirs, len(one) - 1))
        rows.append(place)
    return torch.stack(rows)


class Tower(nn.Module):
    """The text tower, as a function of ids."""

    def __init__(self, text: CLIPTextModelWithProjection) -> None:
        super().__init__()
        self.text = text

    def forward(self, ids: Tensor) -> Tensor:
        """States (B, T, 256)."""
        states: Tensor = self.text.text_model(input_ids=ids).last_hidden_state
        return states


def loss_of(tower: Tower, before: Tower, view: Lens, said: Tensor, meant: Tensor, end: int) -> Tensor:
    """Squared error of what the tower says of `said`, where `before` said it of `meant`, both ids (B, T) of twins; as
    the denoiser sees it."""
    place = places(said, meant, end)
    with running.half(running.device_of(tower)):
        with torch.no_grad():
            wanted = before(meant)
        states = tower(said)
    wanted = wanted.gather(1, place[..., None].expand_as(wanted))
    return functional.mse_loss(view.view(states.float()), view.view(wanted.float()))


class Sayings:
    """Draws what is said in a batch."""

    def __init__(self, records: Sequence[Record], words: Words, others: Sequence[str]) -> None:
        self.records, self.others = records, others
        self.weights = [record.weight**0.5 for record in records]
        self.words, self.often = list(words.signs.items()), words.weights
        self.shown: dict[str, list[Record]] = {}
        for record in records:
            self.shown.setdefault(record.base, []).append(record)

    def twins(self, count: int, rng: Random) -> tuple[list[str], list[str]]:
        """Captions with a word, and with the sign that it means."""
        pairs = []
        for word, sign in rng.choices(self.words, self.often, k=count):
            record = rng.choice(self.shown[sign])
            pairs.append(twins(word, record, draw_scene(record, rng), rng))
        return [first for first, _ in pairs], [second for _, second in pairs]

    def kept(self, count: int, rng: Random) -> list[str]:
        """Captions of the grammar, some about two signs."""
        said = []
        for record in rng.choices(self.records, self.weights, k=count):
            scene = draw_scene(record, rng)
            if rng.random() < TWO:
                record, scene = both(record, rng.choice(self.records)), replace(scene, hue="")
            said.append(caption(record, scene, rng, empty=0.02))
        return said

    def other(self, count: int, rng: Random) -> list[str]:
        """Captions about words that mean no sign."""
        drawn = rng.choices(self.records, k=count)
        return [
            caption(called(word, record), Scene(), rng, empty=0)
            for record, word in zip(drawn, rng.choices(self.others, k=count), strict=True)
        ]


def train(work: Path, *, minutes: float, seed: int, resume: bool, shape: Geometry = SMALL) -> None:
    """Trains for `minutes` and leaves `work/synonyms.safetensors`, which `towers.load_text` then reads."""
    torch.manual_seed(seed)
    rng = Random(seed)
    tokenizer = towers.learn_tokenizer(work)
    before, tower = (Tower(towers.load_text(work, shape, synonyms=False)) for _ in range(2))
    records = data.load(work)[1]
    words = words_of(work, records)
    others = [word for word in Meanings.read(work, records).words if word not in words.signs]
    sayings = Sayings(records, words, others)
    end = tokenizer.eos_token_id
    with torch.no_grad():
        view = lens.of(work) or lens.fit(before(padded(tokenizer, sayings.kept(512, rng))).flatten(0, 1))
    run = running.begin(tower, minutes=minutes, peak=PEAK, decay=0.99, weight_decay=0.0, rng=rng)
    path = work / towers.TAUGHT
    if resume and path.exists():
        run.resume(path)
    trunk = towers.stamp(work)
    over = run.step > 0 and run.budget.share() >= 1
    while not over:
        first, second = sayings.twins(PAIRS, rng)
        same = [*sayings.kept(KEPT, rng), *sayings.other(OTHERS, rng)]
        said, meant = padded(tokenizer, [*first, *same]), padded(tokenizer, [*second, *same])
        shards = zip(said.chunk(SHARDS), meant.chunk(SHARDS), strict=True)
        run.advance(*[partial(loss_of, tower, before, view, *shard, end) for shard in shards])
        if run.step % 25 == 0:
            print(f"synonyms: step {run.step} loss {run.loss:.4f} {run.budget.share():.0%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path, trunk=trunk)
