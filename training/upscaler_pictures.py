"""What the upscaler learns on: scenes of the art at 256 px, and how they look when they come out of the starter.

`WORK/upscaler/scenes.npy` holds uint8 (N, 256, 256, 3), `decoded.npy` uint8 (N, 128, 128, 3): the same scenes halved,
sent through the starter's autoencoder and back. The first `held` scenes show concepts that no other scene shows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
import resvg_py
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from backend.types import Pixels
from training import data, pictures
from training.captions import draw_scene

FOLDER = "upscaler"
SIZE = 256
HELD_SHARE = 20  # one concept in so many is never trained on
STRAY = 0.35
"""Largest noise on the latents before they are decoded, in units of their deviation: the denoiser misses a little."""
_DECODE = 16  # pictures sent through the autoencoder at once
_FLAT = 16.0  # grey levels of deviation below which a patch has nothing to teach
_FILTERS = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


def render(source: bytes) -> NDArray[np.uint8]:
    """One SVG or WebP file to premultiplied uint8 (256, 256, 4)."""
    if source[:4] != b"RIFF":
        text = source.decode()
        source = bytes(resvg_py.svg_to_bytes(svg_string=text, width=SIZE, height=SIZE, skip_system_fonts=True))
    image = Image.open(io.BytesIO(source)).convert("RGBA").convert("RGBa")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def is_held(base: str) -> bool:
    """Whether a concept, by its label without skin tone, is kept from training: in every style, in every tone."""
    return Random(base).randrange(HELD_SHARE) == 0


def halved(scenes: Pixels) -> Pixels:
    """(..., 2H, 2W, 3) to (..., H, W, 3): the mean of every 2 x 2 pixels, as the starter's own pictures were made."""
    *rest, height, width, colours = scenes.shape
    means = scenes.reshape(*rest, height // 2, 2, width // 2, 2, colours).astype(np.float32).mean(axis=(-4, -2))
    return np.asarray(means.round(), dtype=np.uint8)


@torch.no_grad()
def there_and_back(vae: AutoencoderKL, small: Pixels, dice: torch.Generator) -> Pixels:
    """(B, H, W, 3) through the autoencoder and back; half of them with a little noise on their latents."""
    values = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = vae.encode(values).latent_dist.mean
    amount = torch.rand(len(small), 1, 1, 1, generator=dice) * STRAY / vae.config.scaling_factor
    amount *= torch.rand(len(small), 1, 1, 1, generator=dice) < 0.5
    latents = latents + amount * torch.randn(latents.shape, generator=dice)
    made = vae.decode(latents).sample.clamp(-1, 1)
    seen: Pixels = ((made + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return seen


def prepare(work: Path, model: Path, tarballs: Path, *, count: int, held: int, seed: int) -> None:
    """Leaves the two arrays and `facts.json`; does nothing if they are there."""
    folder = work / FOLDER
    if (folder / "facts.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    records, sources = data.collect(tarballs)
    dice = Random(seed)
    known = {
        kept: [row for row, record in enumerate(records) if is_held(record.base) == kept] for kept in (True, False)
    }
    # The square root flattens the weights: everyday things more often, rare ones too.
    chosen = [
        row
        for kept, size in ((True, held), (False, count))
        for row in dice.choices(known[kept], [records[row].weight ** 0.5 for row in known[kept]], k=size)
    ]
    vae = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32, local_files_only=True).eval()
    noise = torch.Generator().manual_seed(seed)
    scenes = _array(folder / "scenes.tmp.npy", (len(chosen), SIZE, SIZE, 3))
    decoded = _array(folder / "decoded.tmp.npy", (len(chosen), SIZE // 2, SIZE // 2, 3))
    for start in range(0, len(chosen), _DECODE):
        rows = chosen[start : start + _DECODE]
        shown = [pictures.show(render(sources[row]), draw_scene(records[row], dice)) for row in rows]
        large = np.asarray(((np.stack(shown) + 1) * 127.5).round().clip(0, 255), dtype=np.uint8).transpose(0, 2, 3, 1)
        scenes[start : start + len(rows)] = large
        decoded[start : start + len(rows)] = there_and_back(vae, halved(large), noise)
        if start % (_DECODE * 16) == 0:
            print(f"upscaler: {start} of {len(chosen)} scenes", flush=True)
    for array, name in ((scenes, "scenes"), (decoded, "decoded")):
        array.flush()
        (folder / f"{name}.tmp.npy").replace(folder / f"{name}.npy")
    # Written last: it says that the arrays are whole.
    (folder / "facts.json").write_text(
        json.dumps({"count": count, "held": held, "seed": seed}) + "\n", encoding="utf-8"
    )


def _array(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


@dataclass(frozen=True, slots=True)
class Scenes:
    """Large scenes (N, 256, 256, 3) and what the starter's autoencoder makes of their halves (N, 128, 128, 3)."""

    large: Pixels
    decoded: Pixels

    @classmethod
    def read(cls, work: Path, *, held: bool) -> Scenes:
        """The held-out scenes, or all the others; memory-mapped."""
        folder = work / FOLDER
        if not (folder / "facts.json").exists():
            raise SystemExit("There are no scenes yet: run `python -m training.upscaler data`.")
        kept = json.loads((folder / "facts.json").read_text(encoding="utf-8"))["held"]
        part = slice(0, kept) if held else slice(kept, None)
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r")[part] for name in ("scenes", "decoded")))

    def draw(self, count: int, side: int, dice: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Patches as a network sees them, (B, side, side, 3), and as they should become, (B, 2 side, 2 side, 3).

        Half of them come out of the starter's autoencoder, half were made small in some other way.
        """
        pairs = [self._patch(side, dice) for _ in range(count)]
        return np.stack([small for small, _ in pairs]), np.stack([large for _, large in pairs])

    def _patch(self, side: int, dice: np.random.Generator) -> tuple[Pixels, Pixels]:
        large = small = np.zeros((0, 0, 3), np.uint8)
        for _ in range(4):  # plain background is half of every picture; a few looks find something better
            row = int(dice.integers(len(self.large)))
            top, left = dice.integers(0, self.decoded.shape[1] - side + 1, 2).tolist()
            large = self.large[row, 2 * top : 2 * (top + side), 2 * left : 2 * (left + side)]
            small = self.decoded[row, top : top + side, left : left + side]
            if large.std() > _FLAT:
                break
        small = _worn(small, dice, 0.2) if dice.random() < 0.5 else _worn(_shrunk(large, dice), dice, 0.25)
        turns, mirrored = int(dice.integers(4)), dice.random() < 0.5
        return _turned(small, turns, mirrored), _turned(large, turns, mirrored)


def _shrunk(large: Pixels, dice: np.random.Generator) -> Pixels:
    """Half the size by a filter drawn at random, sometimes blurred."""
    side = large.shape[0] // 2
    small = cv2.resize(np.ascontiguousarray(large), (side, side), interpolation=int(dice.choice(_FILTERS)))
    if dice.random() < 0.25:
        small = cv2.GaussianBlur(small, (0, 0), dice.uniform(0.3, 1.0))
    return np.asarray(small, dtype=np.uint8)


def _worn(small: Pixels, dice: np.random.Generator, share: float) -> Pixels:
    """With probability `share` each: a little noise, and the marks of JPEG at quality 60 to 95."""
    if dice.random() < share:
        noisy = small + dice.normal(0, dice.uniform(1, 5), small.shape)
        small = np.asarray(noisy.round().clip(0, 255), dtype=np.uint8)
    if dice.random() < share:
        quality = int(dice.integers(60, 96))
        blue_first = np.ascontiguousarray(small[..., ::-1])
        _, packed = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
        small = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]
    return small


def _turned(picture: Pixels, turns: int, mirrored: bool) -> Pixels:
    turned = np.rot90(picture, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


INPUTS: dict[str, Callable[[Scenes], Iterator[Pixels]]] = {
    "small": lambda scenes: (halved(large) for large in scenes.large),
    "starter": lambda scenes: iter(scenes.decoded),
}
"""What the held-out scenes are enlarged from: their exact halves, or what the starter's autoencoder leaves of those."""
