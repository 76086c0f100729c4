"""How well each watermark survives what happens to pictures: python -m benchmarks.watermark [FOLDER] [--count N].

Draws icon-like pictures on white and photograph-like noise (seeded), or reads the PNGs of FOLDER, marks each with a key
of its own, attacks it and looks for it among 1,000 records. A picture counts as found when its own record is named at a
corrected p <= 1e-6. Prints Markdown tables; the correctness gate is that no unmarked picture and no wrong key is found.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from backend.types import Pixels
from safety.watermark import METHODS, mark_id_of, open_watermark

RECORDS = [(f"record-{i}", mark_id_of(f"record-{i}")) for i in range(1000)]
FINE = 4


def icon(random: np.random.Generator, side: int) -> Pixels:
    """A few large flat shapes on white, with smooth edges and one shaded ball."""
    big = np.full((side * FINE, side * FINE, 3), 255, np.uint8)
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
    return np.rint(picture * (1 - inside) + inside * shade * random.uniform(60, 255, 3)).astype(np.uint8)


def photograph(random: np.random.Generator, side: int) -> Pixels:
    """Noise with the spectrum of photographs."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * side
    spectrum = np.fft.rfft2(random.standard_normal((3, side, side))) / np.maximum(frequency, 1) ** 1.2
    planes = np.fft.irfft2(spectrum, s=(side, side))
    planes = planes[[0, 0, 0]] + 0.3 * planes
    return np.clip(128 + 45 * planes / planes.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def encoded(kind: str, quality: int) -> Callable[[Pixels], Pixels]:
    def attack(pixels: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return attack


def cropped(pixels: Pixels) -> Pixels:
    dy, dx = pixels.shape[0] // 20, pixels.shape[1] // 20
    return pixels[dy : pixels.shape[0] - dy, dx : pixels.shape[1] - dx]


def noisy(pixels: Pixels) -> Pixels:
    return np.clip(pixels + np.random.default_rng(1).normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)


ATTACKS: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda pixels: pixels,
    "JPEG 90": encoded("JPEG", 90),
    "JPEG 85": encoded("JPEG", 85),
    "JPEG 75": encoded("JPEG", 75),
    "JPEG 50": encoded("JPEG", 50),
    "WebP 80": encoded("WEBP", 80),
    "resize 0.5": lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "blur r1": lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 1.0),
    "noise σ5": noisy,
    "brightness 1.2": lambda pixels: np.clip(pixels * 1.2, 0, 255).astype(np.uint8),
    "crop 90 %": cropped,
}


def wilson(hits: int, tries: int) -> tuple[float, float]:
    share, z = hits / tries, 1.96
    middle = (share + z * z / (2 * tries)) / (1 + z * z / tries)
    half = z * np.sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries)) / (1 + z * z / tries)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def measure(method: str, title: str, pictures: Sequence[Pixels]) -> bool:
    """Print one table; True if the gate holds."""
    if method != METHODS[0] and min(min(picture.shape[:2]) for picture in pictures) < 256:
        return True
    results: dict[str, list[tuple[bool, float]]] = {name: [] for name in ATTACKS}
    false_alarms, psnr, embedding, reading = 0, [], [], []
    for i, picture in enumerate(pictures):
        mark, (record_id, mark_id) = open_watermark(method, b"benchmark key %6d" % i), RECORDS[i % len(RECORDS)]
        begin = time.perf_counter()
        marked = mark.embed(picture, mark_id)
        embedding.append(time.perf_counter() - begin)
        psnr.append(10 * np.log10(255**2 / max(1e-9, ((marked.astype(float) - picture) ** 2).mean())))
        for name, attack in ATTACKS.items():
            begin = time.perf_counter()
            detection = mark.detect(np.ascontiguousarray(attack(marked)), RECORDS)
            reading.append(time.perf_counter() - begin)
            results[name].append((detection.record_id == record_id, detection.p_value))
        false_alarms += mark.detect(picture, RECORDS).found
        false_alarms += open_watermark(method, b"another key %6d" % i).detect(marked, RECORDS).found
    print(f"\n### {method}, {title}: n = {len(pictures)}, PSNR {np.mean(psnr):.1f} dB (least {np.min(psnr):.1f}), ")
    print(f"embed {np.median(embedding) * 1e3:.0f} ms, attack and detect {np.median(reading) * 1e3:.0f} ms, ")
    print(f"false alarms {false_alarms} of {2 * len(pictures)}\n\n| attack | found | 95 % interval | median p |")
    print("|---|---|---|---|")
    for name, outcomes in results.items():
        hits = sum(named for named, _ in outcomes)
        low, high = wilson(hits, len(outcomes))
        median = np.median([p_value for _, p_value in outcomes])
        print(f"| {name} | {hits / len(outcomes):.0%} | {low:.1%} to {high:.1%} | {median:.0e} |", flush=True)
    return false_alarms == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="PNGs to mark instead of drawn pictures")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    options = parser.parse_args()
    sets: dict[str, list[Pixels]] = {}
    if options.folder:
        paths = sorted(options.folder.glob("*.png"))[: options.count]
        sets[options.folder.name] = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    for side in [] if options.folder else options.sizes:
        for kind in (icon, photograph):
            drawn = [kind(np.random.default_rng(seed), side) for seed in range(options.count)]
            sets[f"{kind.__name__}s of {side} px"] = drawn
    gates = [measure(method, title, pictures) for method in options.methods for title, pictures in sets.items()]
    return 0 if all(gates) else 1


if __name__ == "__main__":
    sys.exit(main())
