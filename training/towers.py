"""Train the text tower on words alone, then freeze it for the denoiser.

What a caption says is known, because the grammar wrote it: which sign, which style, ground, hue and skin tone. The
tower learns to tell all of it from its state at the end token, and from the padding behind it, where the denoiser reads
it. So two captions that mean different pictures end in states that differ, however alike their words are. (Pulled
towards pictures alone, as CLIP's towers are, nine tenths of the states' variance lay in six directions.)

What lies near in meaning lies near in state: the same places foretell a sentence encoder's vector of the sign's name
and, for English words that no caption has, the vector of the word and the signs it may mean.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from training import data, geometry, running
from training.captions import COLOURS, HUES, SYNONYMS, both, caption, draw_scene, vocabulary_texts
from training.data import STYLES, Record
from training.geometry import SMALL, Geometry
from training.meanings import WIDTH, Meanings

FILE, TAUGHT = "towers.safetensors", "synonyms.safetensors"
BATCH = 192
SHARDS = 2
PEAK = 1.2e-3
WORD_SHARE, PAIR_SHARE = 0.3, 0.08
FULL_EVERY, FULL_BATCH = 4, 48
"""Every fourth batch is padded to all 77 tokens, as the denoiser will be shown it."""
REACHED = 32
"""Positions that captions reach; those behind take the mean of the last eight of them."""
TOLD = {
    "style": ("", *STYLES),
    "ground": ("", *COLOURS),
    "hue": ("", *HUES),
    "tone": ("", *(f"{tone} skin tone" for tone in ("light", "medium-light", "medium", "medium-dark", "dark"))),
}
"""What a caption may tell beside its sign; "" is: nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Said:
    """Texts with what they tell: `told` (B, 4) places in TOLD, `signs` (B, S) shares of each sign meant, `sure` (B,)
    whether they mean one, `vectors` (B, 384)."""

    texts: list[str]
    told: Tensor
    signs: Tensor
    sure: Tensor
    vectors: Tensor


def told_by(text: str, style: str, ground: str, hue: str) -> tuple[int, int, int, int]:
    """Places in TOLD of what `text`, made for a picture of that style, ground and hue, in truth says."""
    low = text.lower()
    styled = style if any(word in low for word in (*SYNONYMS[style], f"style of {style}")) else ""
    grounded = ground if f"{ground} background" in low else ""
    tones = [tone for tone in TOLD["tone"][1:] if tone in low]
    tone = max(tones, key=len, default="")  # "medium-dark skin tone" holds "dark skin tone"
    found = (styled, grounded, hue if low else "", tone)
    places = [TOLD[kind].index(value) for kind, value in zip(TOLD, found, strict=True)]
    return places[0], places[1], places[2], places[3]


class Reading(nn.Module):
    """The tower and what is asked of its states."""

    def __init__(self, signs: int, shape: Geometry = SMALL) -> None:
        super().__init__()
        self.text = geometry.text_tower(shape=shape)
        width = geometry.TEXT_WIDTH
        self.signs = nn.Linear(width, signs)
        self.told = nn.ModuleList(nn.Linear(width, len(values)) for values in TOLD.values())
        self.meant = nn.Linear(width, WIDTH)

    def forward(self, ids: Tensor, places: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Token ids (B, T) and two places (B, 2) to logits of signs (2B, S), of what is told, and vectors (2B, 384)."""
        states = self.text(input_ids=ids).last_hidden_state
        picked = states.gather(1, places[..., None].expand(-1, -1, states.shape[-1])).flatten(0, 1)
        meant = functional.normalize(self.meant(picked).float(), dim=-1)
        return self.signs(picked).float(), [head(picked).float() for head in self.told], meant


class Sayings:
    """Draws captions and words with what they tell."""

    def __init__(self, records: list[Record], meanings: Meanings) -> None:
        self.records, self.meanings = records, meanings
        self.weights = [record.weight**0.5 for record in records]
        self.places = {name: place for place, name in enumerate(meanings.signs)}
        self.likely, self.near = meanings.likely()

    def draw(self, count: int, rng: Random) -> Said:
        """`count` texts: some about two signs, some about a word of the language, most about a sign."""
        texts, told, shares, sure, meant = [], [], [], [], []
        whole = torch.eye(len(self.places))
        for record in rng.choices(self.records, self.weights, k=count):
            scene = draw_scene(record, rng)
            kind = rng.random()
            if kind < PAIR_SHARE:
                other = rng.choices(self.records, self.weights)[0]
                scene = replace(scene, hue="")
                text = caption(both(record, other), scene, rng, empty=0)
                first, second = self.places[record.base], self.places[other.base]
                shares.append((whole[first] + whole[second]) / 2)
                sure.append(True)
                meant.append(
                    functional.normalize(self.meanings.of_signs[first] + self.meanings.of_signs[second], dim=0)
                )
            elif kind < PAIR_SHARE + WORD_SHARE:
                number = rng.randrange(len(self.meanings.words))
                text = self.meanings.words[number]
                shown = replace(record, label=text, base=text, tags=(), group=-1)
                text = caption(shown, scene, rng, empty=0)
                shares.append(self.likely[number])
                sure.append(bool(self.near[number]))
                meant.append(self.meanings.of_words[number])
            else:
                text = caption(record, scene, rng, empty=0)
                place = self.places[record.base]
                shares.append(whole[place])
                sure.append(True)
                meant.append(self.meanings.of_signs[place])
            texts.append(text)
            told.append(told_by(text, record.style, scene.background, scene.hue))
        return Said(texts, torch.tensor(told), torch.stack(shares), torch.tensor(sure).float(), torch.stack(meant))


def ids_and_places(tokenizer: CLIPTokenizer, texts: list[str], rng: Random, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Ids (B, T), T a little more than the longest or all 77, and two places each: the end token and a later one."""
    ids = tokens(tokenizer, texts)
    if whole or ids.shape[1] < geometry.TOKENS:
        more = geometry.TOKENS if whole else min(geometry.TOKENS, ids.shape[1] + rng.randint(1, 6))
        ids = functional.pad(ids, (0, more - ids.shape[1]), value=tokenizer.eos_token_id)
    ends = (ids == tokenizer.eos_token_id).int().argmax(dim=1)
    later = torch.tensor([rng.randint(min(int(end) + 1, ids.shape[1] - 1), ids.shape[1] - 1) for end in ends])
    return ids, torch.stack([ends, later], dim=1)


def loss_of(module: nn.Module, ids: Tensor, places: Tensor, said: Said) -> Tensor:
    """How badly the states tell what was said, summed over what is asked."""
    device = running.device_of(module)
    ids, places, shares, sure, true, vectors = running.moved(
        device, ids, places, said.signs, said.sure, said.told, said.vectors
    )
    with running.half(device):
        signs, told, meant = module(ids, places)
    twice = partial(torch.repeat_interleave, repeats=2, dim=0)
    missed = -(twice(shares) * signs.log_softmax(dim=1)).sum(dim=1)
    total: Tensor = (missed * twice(sure)).mean()
    for number, logits in enumerate(told):
        total = total + 0.5 * functional.cross_entropy(logits, twice(true[:, number]))
    apart: Tensor = (1 - (meant * twice(vectors)).sum(dim=1)).mean()
    return total + 2 * apart


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Ids (B, T), cut to the longest of the batch: attention is causal, so padding changes nothing before it."""
    ids = tokenizer(captions, padding="longest", truncation=True, return_tensors="pt").input_ids
    return torch.as_tensor(ids)


def learn_tokenizer(work: Path) -> CLIPTokenizer:
    """Trains the tokenizer on all captions, or reads it if it is there."""
    folder = work / "tokenizer"
    if not (folder / "vocab.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = geometry.train_tokenizer(vocabulary_texts(data.load(work)[1]))
        geometry.save_tokenizer(tokenizer, folder)
    return CLIPTokenizer.from_pretrained(folder)


def train(
    work: Path,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    shape: Geometry = SMALL,
    device: torch.device | str = "cpu",
) -> None:
    """Trains for `minutes` and leaves `work/tokenizer/` and `work/towers.safetensors`."""
    torch.manual_seed(seed)
    rng = Random(seed)
    tokenizer = learn_tokenizer(work)
    records = data.load(work)[1]
    meanings = Meanings.read(work, records)
    sayings = Sayings(records, meanings)
    reading = Reading(len(meanings.signs), shape)
    run = running.begin(reading, minutes=minutes, peak=PEAK, decay=0.995, weight_decay=0.05, device=device, rng=rng)
    path = work / FILE
    if resume and path.exists():
        run.resume(path)
    over = run.step > 0 and run.budget.share() >= 1
    while not over:
        whole = run.step % FULL_EVERY == 0
        losses = []
        for _ in range(SHARDS):
            said = sayings.draw((FULL_BATCH if whole else BATCH) // SHARDS, rng)
            ids, places = ids_and_places(tokenizer, said.texts, rng, whole=whole)
            losses.append(partial(loss_of, run.module, ids, places, said))
        run.advance(*losses)
        if run.step % 50 == 0:
            note = f"step {run.step} loss {run.loss:.3f} {run.budget.seconds():.0f} s {run.budget.share():.0%}"
            print(f"towers: {note}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path)


def stamp(work: Path) -> str:
    """Tells one trained text tower from another."""
    return hashlib.sha256((work / FILE).read_bytes()).hexdigest()[:16]


def load_text(work: Path, shape: Geometry = SMALL, *, synonyms: bool = True) -> CLIPTextModelWithProjection:
    """The trained text tower (averaged weights), positions that no caption reached filled in; with the words that it
    was taught since (`training.synonyms`), if it was, unless told without."""
    trained = running.part(running.load(work / FILE)[0], "average")
    taught = work / TAUGHT
    if synonyms and taught.exists():
        tensors, facts = running.load(taught)
        if facts["trunk"] == stamp(work):  # else they are another tower's
            trained = running.part(tensors, "average")
    tower = geometry.text_tower(shape=shape)
    tower.load_state_dict(running.part(trained, "text"))
    positions = next(value for name, value in tower.named_parameters() if name.endswith("position_embedding.weight"))
    with torch.no_grad():
        positions[REACHED:] = positions[REACHED - 8 : REACHED].mean(dim=0)
    return tower.eval()
