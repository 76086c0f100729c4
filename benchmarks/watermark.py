"""How well each watermark survives what happens to pictures: python -m benchmarks.watermark [FOLDER] [--count N].

Draws icon-like pictures, photograph-like noise and scenes of both (seeded), or reads the pictures of FOLDER, marks each
with a key of its own, attacks it and looks for it among 1,000 records (100 for marks of 32 bits, which cannot tell more
apart). Found means a corrected p <= 1e-6; named means that its own record is singled out too. Prints Markdown tables;
the gate is that no unmarked picture and no wrong key is found.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from backend.types import Pixels
from benchmarks.trust import share
from safety.passport import psnr_db
from safety.watermark import METHODS, OWN, mark_id_of, open_watermark
from safety.watermark.lattice import Plane, luma_of

RECORDS = [(f"record-{i}", mark_id_of(f"record-{i}")) for i in range(1000)]
SMALLEST_OF_OTHERS = 256
FINE = 4
SEALED_SHEET = Path(__file__).resolve().parents[1] / "docs" / "starter" / "contact-sheet.png"
"""32 pictures of the starter model, 128 px, four rows of eight."""

Attack = Callable[[Pixels], Pixels]
T = TypeVar("T")


def icon(random: np.random.Generator, side: int) -> Pixels:
    """A few large flat shapes on white or one colour, with smooth edges and one shaded ball."""
    ground = (255, 255, 255) if random.random() < 0.6 else tuple(int(c) for c in random.integers(60, 256, 3))
    big = np.full((side * FINE, side * FINE, 3), ground, np.uint8)
    for _ in range(random.integers(3, 8)):
        colour = tuple(int(c) for c in random.integers(0, 256, 3))
        centre = random.uniform(0.25, 0.75, 2) * side * FINE
        size = random.uniform(0.08, 0.3, 2) * side * FINE
        angle = float(random.uniform(0, 180))
        box = (centre.tolist(), (2 * size).tolist(), angle)
        if random.random() < 0.5:
            cv2.ellipse(big, box, colour, -1)
        else:
            cv2.fillPoly(big, [np.intp(cv2.boxPoints(box))], colour)
    picture = cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA).astype(np.float64)
    y, x = np.mgrid[0:side, 0:side] / side
    cx, cy, radius = random.uniform(0.3, 0.7), random.uniform(0.3, 0.7), random.uniform(0.08, 0.2)
    inside = np.clip((radius - np.hypot(x - cx, y - cy)) * side, 0, 1)[..., None]
    shade = np.clip(1.1 - 0.6 * np.hypot(x - cx + radius / 3, y - cy + radius / 3) / radius, 0.2, 1)[..., None]
    drawing: Pixels = np.rint(picture * (1 - inside) + inside * shade * random.uniform(60, 255, 3)).astype(np.uint8)
    return drawing


def photograph(random: np.random.Generator, side: int) -> Pixels:
    """Noise with the spectrum of photographs."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * side
    spectrum = np.fft.rfft2(random.standard_normal((3, side, side))) / np.maximum(frequency, 1) ** 1.2
    planes = np.fft.irfft2(spectrum, s=(side, side))
    planes = planes[[0, 0, 0]] + 0.3 * planes
    noise: Pixels = np.clip(128 + 45 * planes / planes.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
    return noise


def scene(random: np.random.Generator, side: int) -> Pixels:
    """Shapes of an icon, each filled with texture or smooth light of its own, softened here and there."""
    shapes = icon(random, side).astype(np.float32)
    texture = photograph(random, side).astype(np.float32) - 128
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    light = 1 - random.uniform(0.1, 0.6) * np.hypot(x - random.random(), y - random.random())
    rough = np.clip(np.abs(shapes - shapes.mean(axis=(0, 1))).mean(axis=2, keepdims=True) / 90, 0.1, 1.2)
    picture = (0.75 * shapes + 25) * light[..., None] + rough * texture
    soft = cv2.GaussianBlur(picture, (0, 0), side / 160)
    sharp = np.clip(4 * (x - random.random()) + 0.5, 0, 1)[..., None]
    drawing: Pixels = np.clip(picture * sharp + soft * (1 - sharp), 0, 255).astype(np.uint8)
    return drawing


def starter(count: int) -> list[Pixels]:
    """The first `count` pictures that the starter model made for the documentation (they carry an older mark)."""
    sheet = np.asarray(Image.open(SEALED_SHEET).convert("RGB"))
    corners = [(4 + row * 146, 4 + column * 132) for row in range(4) for column in range(8)]
    return [np.ascontiguousarray(sheet[y : y + 128, x : x + 128]) for y, x in corners[:count]]


def encoded(kind: str, quality: int) -> Attack:
    def attack(pixels: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, quality=quality)
        return np.array(Image.open(buffer).convert("RGB"))

    return attack


def resized(across: float, down: float | None = None, *, back: bool = False) -> Attack:
    def attack(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        size = (round(width * across), round(height * (across if down is None else down)))
        small = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC) if back else small)

    return attack


def cropped(part: float, *, back: bool = False) -> Attack:
    """The middle, `part` of each side."""

    def attack(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        top, left = round(height * (1 - part) / 2), round(width * (1 - part) / 2)
        middle = pixels[top : height - top, left : width - left]
        return resized(width / middle.shape[1], height / middle.shape[0])(middle) if back else middle

    return attack


def rotated(degrees: float, *, whole: bool = False, method: Image.Resampling = Image.Resampling.BICUBIC) -> Attack:
    """Turned with black corners, in the same frame or in one that holds the `whole` picture."""
    return lambda pixels: np.asarray(Image.fromarray(pixels).rotate(degrees, resample=method, expand=whole))


def noisy(deviation: float) -> Attack:
    def attack(pixels: Pixels) -> Pixels:
        noise = np.random.default_rng(1).normal(0, deviation, pixels.shape)
        return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)

    return attack


def brightened(factor: float) -> Attack:
    return lambda pixels: np.clip(pixels * factor, 0, 255).astype(np.uint8)


def _both(first: Attack, second: Attack) -> Attack:
    return lambda pixels: second(first(pixels))


ATTACKS: Mapping[str, Attack] = {
    "none": lambda pixels: pixels,
    "JPEG 75": encoded("JPEG", 75),
    "JPEG 50": encoded("JPEG", 50),
    "WebP 80": encoded("WEBP", 80),
    "WebP 50": encoded("WEBP", 50),
    "half size": resized(0.5),
    "half size and back": resized(0.5, back=True),
    "half size, JPEG 60": _both(resized(0.5), encoded("JPEG", 60)),
    "blur, sigma 1": lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 1.0),
    "noise, sigma 5": noisy(5),
    "noise, sigma 10": noisy(10),
    "brightness +40 %": brightened(1.4),
    "brightness -40 %": brightened(0.6),
    "crop to 90 %": cropped(0.9),
    "crop to 75 %": cropped(0.75),
    "crop to 75 %, back to size": cropped(0.75, back=True),
    "turned by 5 degrees": rotated(5),
    "turned by -5 degrees, whole": rotated(-5, whole=True),
    "turned by 2 degrees, nearest": rotated(2, method=Image.Resampling.NEAREST),
    "resized to 73 %": resized(0.73),
    "stretched, 120 by 90 %": resized(1.2, 0.9),
    "mirrored": lambda pixels: pixels[:, ::-1],
}

DRAWN: Mapping[str, Callable[[np.random.Generator, int], Pixels]] = {
    "icons": icon,
    "photograph-like": photograph,
    "scenes": scene,
}


@dataclass(slots=True)
class Outcome:
    """What one attack left of the marks of one set."""

    tried: int = 0
    found: int = 0
    named: int = 0
    p_values: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Measured:
    """One method on one set of pictures. Times are in milliseconds of this machine, as busy as it was."""

    method: str
    title: str
    count: int
    outcomes: dict[str, Outcome]
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    embedding_ms: list[float] = field(default_factory=list)
    reading_ms: list[float] = field(default_factory=list)
    searching_ms: list[float] = field(default_factory=list)
    false_alarms: int = 0


def ssim(first: Pixels, second: Pixels) -> float:
    """Mean structural similarity of the luma (Wang et al. 2004: Gaussian window of 11 px, sigma 1.5)."""
    a, b = luma_of(first), luma_of(second)

    def mean(plane: Plane) -> Plane:
        around: Plane = cv2.GaussianBlur(plane, (11, 11), 1.5)
        return around

    of_a, of_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - of_a**2, mean(b * b) - of_b**2, mean(a * b) - of_a * of_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * of_a * of_b + c1) * (2 * both + c2) / ((of_a**2 + of_b**2 + c1) * (var_a + var_b + c2))))


def measure(
    method: str, title: str, pictures: Sequence[Pixels], attacks: Mapping[str, Attack] = ATTACKS, seed: int = 0
) -> Measured:
    """Mark every picture under a key of its own, attack it in every way, and look for it."""
    known = RECORDS if method in OWN else RECORDS[:100]
    made = Measured(method, title, len(pictures), {name: Outcome() for name in attacks})
    for i, picture in enumerate(pictures):
        mark = open_watermark(method, b"benchmark key %8d %6d" % (seed, i))
        record_id, mark_id = known[i % len(known)]
        marked, took = _timed(lambda: mark.embed(picture, mark_id))  # noqa: B023 - called at once
        made.embedding_ms.append(took)
        made.psnr.append(psnr_db(picture, marked))
        made.ssim.append(ssim(picture, marked))
        for name, attack in attacks.items():
            attacked = np.ascontiguousarray(attack(marked))
            seen, took = _timed(lambda: mark.detect(attacked, known))  # noqa: B023
            if name == "none":
                made.reading_ms.append(took)
            outcome = made.outcomes[name]
            outcome.tried += 1
            outcome.found += seen.found
            outcome.named += seen.record_id == record_id
            outcome.p_values.append(seen.p_value)
        seen, took = _timed(lambda: mark.detect(picture, known))  # noqa: B023
        made.searching_ms.append(took)
        made.false_alarms += seen.found
        made.false_alarms += open_watermark(method, b"another key %8d" % i).detect(marked, known).found
    return made


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begin = time.perf_counter()
    result = work()
    return result, 1e3 * (time.perf_counter() - begin)


def drawn(kind: str, side: int, count: int, seed: int = 0) -> list[Pixels]:
    return [DRAWN[kind](np.random.default_rng([seed, i]), side) for i in range(count)]


def pictures_of(folder: Path, count: int, side: int | None = None) -> list[Pixels]:
    """The first `count` pictures of a folder; with `side` their middle squares at that size."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
    return [_square(np.asarray(Image.open(path).convert("RGB")), side) for path in paths[:count]]


def _square(pixels: Pixels, side: int | None) -> Pixels:
    if side is None:
        return pixels
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    method = cv2.INTER_AREA if short > side else cv2.INTER_CUBIC
    square: Pixels = cv2.resize(pixels[top : top + short, left : left + short], (side, side), interpolation=method)
    return square


def _printed(made: Measured) -> None:
    print(f"\n### {made.method}, {made.title}: n = {made.count}, PSNR {np.mean(made.psnr):.1f} dB", end="")
    print(f" (least {np.min(made.psnr):.1f}), SSIM {np.mean(made.ssim):.4f} (least {np.min(made.ssim):.4f}),")
    print(f"embed {np.median(made.embedding_ms):.0f} ms, read {np.median(made.reading_ms):.0f} ms,", end=" ")
    print(f"search in vain {np.median(made.searching_ms):.0f} ms, false alarms {made.false_alarms} of {2 * made.count}")
    print("\n| attack | found at p <= 1e-6 | named | median p | worst p |\n|---|---|---|---|---|")
    for name, outcome in made.outcomes.items():
        median, worst = np.median(outcome.p_values), np.max(outcome.p_values)
        found, named = share(outcome.found, outcome.tried), f"{outcome.named / outcome.tried:.1%}"
        print(f"| {name} | {found} | {named} | {median:.0e} | {worst:.0e} |", flush=True)


def _sets(options: argparse.Namespace) -> Iterator[tuple[str, list[Pixels]]]:
    if options.folder:
        for side in options.sizes or [None]:
            yield f"{options.folder.name}, {side or 'own size'}", pictures_of(options.folder, options.count, side)
        return
    for side in options.sizes or [128, 512]:
        for kind in options.kinds:
            yield f"{kind} of {side} px", drawn(kind, side, options.count)
    if not options.sizes or 128 in options.sizes:
        yield "of the starter, 128 px", starter(options.count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="pictures to mark instead of drawn ones")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--kinds", nargs="+", choices=DRAWN, default=list(DRAWN))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    options = parser.parse_args()
    attacks = {name: ATTACKS[name] for name in options.attacks}
    alarms = 0
    for title, pictures in _sets(options):
        for method in options.methods:
            if method in OWN or min(min(picture.shape[:2]) for picture in pictures) >= SMALLEST_OF_OTHERS:
                made = measure(method, title, pictures, attacks)
                _printed(made)
                alarms += made.false_alarms
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
