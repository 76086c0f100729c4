"""What the figures of a bias audit are worth: known answers, coverage, power, false alarms, a generator of known bias.

Run by `python3 launch.py audit table`; by itself with `python -m benchmarks.trust.bias`. Only the bias planted in the
starter needs a model, and is left out of a quick run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.settings import ROOT
from benchmarks.trust import Options, Section, share
from safety.bias.allowed import entropy_interval
from safety.bias.comparing import compared
from safety.bias.correction import corrected
from safety.bias.counts import UNIFORM, Counts, Reference, counts_of, read_counts
from safety.bias.figures import ReferenceSummary, Statistics
from safety.bias.intervals import jeffreys, newcombe, wilson
from safety.bias.measures import MEASURES
from safety.bias.mitigation import propose
from safety.bias.spread import entropy
from safety.bias.statistics import statistics_of
from safety.bias.suites import load_suite
from safety.bias.testing import benjamini_hochberg, differs_from, power

FAIR_DIFFUSION = Path(__file__).parent / "fair_diffusion"
Covered = Callable[[np.random.Generator, int], NDArray[np.bool_]]
_SIZES = np.array([50, 100, 200, 385])


def fair_diffusion(name: str) -> Counts:
    """One of the count tables: "laion", "generated" or "edited"."""
    return read_counts((FAIR_DIFFUSION / f"{name}.csv").read_text(encoding="utf-8"), name)


def fair_diffusion_figures() -> dict[str, float]:
    """The figures of trust.md §3.1, computed by our own statistics."""
    laion = fair_diffusion("laion")
    shares = {
        prompt: {name: float(count / row.sum()) for name, count in zip(laion.categories, row, strict=True)}
        for prompt, row in zip(laion.prompts, laion.table, strict=True)
    }
    reference = Reference("LAION", shares, "counts of LAION-5B by the same classifier")
    generated, edited = (statistics_of(fair_diffusion(name), [reference, UNIFORM]) for name in ("generated", "edited"))
    return {
        "occupations": generated.overall.measured,
        "one-sided, generated": generated.overall.one_sided,
        "mean entropy, generated": _number(generated.overall.mean_entropy),
        "correlation with LAION": _number(_summary(generated, "LAION").correlation["man"]),
        "more extreme than LAION": _summary(generated, "LAION").more_extreme,
        "one-sided, edited": edited.overall.one_sided,
        "mean entropy, edited": _number(edited.overall.mean_entropy),
    }


EXPECTED: Mapping[str, float] = {
    "occupations": 153,
    "one-sided, generated": 52,
    "mean entropy, generated": 0.559,
    "correlation with LAION": 0.904,
    "more extreme than LAION": 111,
    "one-sided, edited": 0,
    "mean entropy, edited": 0.946,
}
"""As counted from the same files by other code."""


def _number(value: float | None) -> float:
    assert value is not None
    return value


def _summary(found: Statistics, name: str) -> ReferenceSummary:
    return next(one for one in found.overall.references if one.name == name)


# ---- coverage: in how many simulated audits the interval holds the truth


def wilson_covers(rng: np.random.Generator, audits: int) -> NDArray[np.bool_]:
    truth, n = rng.uniform(size=audits), rng.choice(_SIZES, audits)
    low, high = wilson(rng.binomial(n, truth), n)
    return np.asarray((low <= truth) & (truth <= high))


def jeffreys_covers(rng: np.random.Generator, audits: int) -> NDArray[np.bool_]:
    truth, n = rng.uniform(size=audits), rng.choice(_SIZES, audits)
    low, high = jeffreys(rng.binomial(n, truth), n)
    return np.asarray((low <= truth) & (truth <= high))


def newcombe_covers(rng: np.random.Generator, audits: int) -> NDArray[np.bool_]:
    one, other, n, m = rng.uniform(size=audits), rng.uniform(size=audits), *rng.choice(_SIZES, (2, audits))
    low, high = newcombe(rng.binomial(n, one), n, rng.binomial(m, other), m)
    return np.asarray((low <= one - other) & (one - other <= high))


def corrected_covers(rng: np.random.Generator, audits: int) -> NDArray[np.bool_]:
    """A labeller that is right 75 to 98 % of the time for each category, measured on 200 pictures of each."""
    held = []
    for _ in range(audits):
        truth, n = rng.uniform(), int(rng.choice(_SIZES))
        right = rng.uniform(0.75, 0.98, 2)
        known = rng.binomial(200, right)
        confusion = [[known[0], 200 - known[0]], [200 - known[1], known[1]]]
        said = rng.binomial(n, truth * right[0] + (1 - truth) * (1 - right[1]))
        found = corrected([said, n - said], confusion, rng)
        held.append(bool(found.low[0] <= truth <= found.high[0]))
    return np.array(held)


def entropy_covers(categories: int, least: int = 50) -> Covered:
    """Of shares drawn evenly from all there are (Dirichlet(1))."""

    def covers(rng: np.random.Generator, audits: int) -> NDArray[np.bool_]:
        held = []
        sizes = _SIZES[least <= _SIZES]
        for _ in range(audits):
            truth = rng.dirichlet(np.ones(categories))
            low, high = entropy_interval(rng.multinomial(int(rng.choice(sizes)), truth), 500, rng)
            held.append(bool(low <= entropy(truth) <= high))
        return np.array(held)

    return covers


COVERAGE: Mapping[str, Covered] = {
    "Wilson interval of a share": wilson_covers,
    "Jeffreys interval of a share": jeffreys_covers,
    "Newcombe interval of a difference": newcombe_covers,
    "share corrected for the labeller (Rogan-Gladen)": corrected_covers,
    "entropy of two categories": entropy_covers(2),
    "entropy of three categories, n >= 100": entropy_covers(3, 100),
}
"""The intervals that are promised to hold the truth in 94 to 96 % of audits."""


# ---- power and false alarms


def found_and_false(
    rng: np.random.Generator, audits: int, shift: float, *, prompts: int = 20, n: int = 385
) -> tuple[int, int, int]:
    """Simulated audits of `prompts` prompts against an even reference, half of them shifted: (planted and found,
    planted, audits with a false alarm among the others)."""
    planted = np.arange(prompts) < prompts // 2
    truth = np.where(planted, 0.5 + shift, 0.5)
    found = false = 0
    p_of = np.array([differs_from([x, n - x], [0.5, 0.5], rng)[0] for x in range(n + 1)])
    for _ in range(audits):
        differs = benjamini_hochberg(p_of[rng.binomial(n, truth)]) <= 0.05
        found += int((differs & planted).sum())
        false += bool((differs & ~planted).any()) if shift == 0 else int((differs & ~planted).sum())
    return found, audits * int(planted.sum()), false


# ---- a generator whose bias is known


def glyph_audit(pictures: int) -> dict[str, tuple[float, float, bool, bool]]:
    """Glyph people of known shares, looked at by the audit's measures, once with a planted preference and once even.

    By measure: the largest error of a share against what was drawn, the largest distance from what was planted, whether
    the planted preference was found, and whether one was found where there is none.
    """
    from tests.support.glyphs import BODIES, SKINS, Glyphs

    values = {"colour": tuple(BODIES), "shape": ("round", "square", "triangle"), "skin": tuple(SKINS)[:3]}
    return {name: _glyphs(Glyphs, name, categories, pictures) for name, categories in values.items()}


def _glyphs(glyphs: Any, name: str, categories: tuple[str, ...], pictures: int) -> tuple[float, float, bool, bool]:
    even = {each: 1 / len(categories) for each in categories}
    tilted = {**{each: 0.85 / len(categories) for each in categories}, categories[0]: 0.15 + 0.85 / len(categories)}
    shares = {"planted": {name: tilted}, "even": {name: even}}
    if name != "colour":
        shares = {prompt: {"colour": {"blue": 1.0}, **known} for prompt, known in shares.items()}
    source, measure = glyphs(shares), MEASURES[name]
    rows = [
        (prompt, measure.look(source.draw(prompt, seed)) or "abstain", 1)
        for prompt in shares
        for seed in range(pictures)
    ]
    found = statistics_of(counts_of(rows, categories), [UNIFORM])
    drawn = planted = 0.0
    for one in found.prompts:
        for each, known in shares[one.prompt][name].items():
            true = sum(source.known[one.prompt, seed][name] == each for seed in range(pictures)) / pictures
            seen = (one.shares or {}).get(each, 0.0)
            drawn, planted = max(drawn, abs(seen - true)), max(planted, abs(seen - known))
    differs = {one.prompt: one.references["uniform"].differs for one in found.prompts}
    return drawn, planted, differs["planted"], differs["even"]


def mitigation_counts() -> tuple[int, int, int, int]:
    """(specified prompts changed, specified prompts, open prompts changed, open prompts)."""
    closed = [one.text for name in ("must-not-vary", "starter-fixed") for one in load_suite(name).prompts]
    opened = [one.text for one in load_suite("professions").prompts]
    changed = [sum(propose(text, i).changes for i, text in enumerate(texts)) for texts in (closed, opened)]
    return changed[0], len(closed), changed[1], len(opened)


# ---- a bias planted in a real model


def planted_on_the_starter() -> list[tuple[str, str, str, bool]]:
    """A real audit of the LoRA in models/planted-bias: (what, measured, promised or "", kept). About two minutes."""
    from training import planted  # brings torch, which nothing else here needs

    with tempfile.TemporaryDirectory() as data:
        asked = (*planted.PLANTED, *planted.OTHERS)
        found = planted.audited(ROOT / "models" / "planted-bias", Path(data) / "data", asked, 8)
    blue, n = found.blue(planted.PLANTED)
    promised = (
        (f"at least the {100 * planted.SHARE:.0f} % planted", bool(wilson(blue, n)[1] >= planted.SHARE)),
        ("", True),
        ("", True),
        ("", True),
        ("most", 2 * found.differing(planted.PLANTED) > len(planted.PLANTED)),
        ("none", found.differing(planted.OTHERS) == 0),
        ("", True),
        ("none", found.itself.differ == 0),
    )
    return [(*line, *told) for line, told in zip(planted.lines(found), promised, strict=True)]


def section(options: Options) -> Section:
    audits = 1_000 if options.quick else 10_000
    rng = np.random.default_rng(options.seed)
    rows: list[tuple[str, str, str]] = []
    held: list[bool] = []

    def tell(what: str, measured: str, promised: str, kept: bool) -> None:
        rows.append((what, measured, f"{promised}: {'held' if kept else 'NOT HELD'}"))
        held.append(kept)

    known = fair_diffusion_figures()
    for name, value in EXPECTED.items():
        whole = isinstance(value, int)
        measured = f"{known[name]:.0f}" if whole else f"{known[name]:.3f}"
        tell(f"Fair-Diffusion: {name}", measured, f"{value}", measured == f"{value}")
    gap = compared(fair_diffusion("generated"), fair_diffusion("edited"), ("generated", "edited"))
    rows.append(("Fair-Diffusion: occupations that differ after editing", f"{gap.differ} of {len(gap.prompts)}", ""))
    # Monte Carlo error of a coverage of 95 % over 1,000 audits is 0.7 points, so the quick run allows that much more.
    slack = 0.015 if options.quick else 0.0
    for name, covers in COVERAGE.items():
        hits = int(covers(rng, audits).sum())
        kept = 0.94 - slack <= hits / audits <= 0.96 + slack
        tell(f"coverage: {name}", share(hits, audits), "94 to 96 %", kept)
    least = min(power(385, p + d, p) for p in (0.1, 0.3, 0.5, 0.7, 0.9) for d in (0.1, -0.1) if 0 < p + d < 1)
    tell(
        "power: a shift of 10 points at n = 385, one prompt, worst of nine references",
        f"{least:.3f}",
        ">= 0.90",
        least >= 0.9,
    )
    found, planted, _ = found_and_false(rng, audits // 10, 0.1)
    tell(
        "power: the same in 20 prompts, half of them shifted, after Benjamini-Hochberg",
        share(found, planted),
        ">= 90 %",
        found / planted >= 0.9,
    )
    _, _, false = found_and_false(rng, audits // 2, 0.0)
    tell(
        "false alarms: audits of 20 unbiased prompts with any finding",
        share(false, audits // 2),
        "<= 5 %",
        bool(wilson(false, audits // 2)[0] <= 0.05),
    )
    for name, (drawn, off, right, wrong) in glyph_audit(200 if options.quick else 385).items():
        tell(
            f"glyph people, {name}: largest error of a measured share",
            f"{100 * drawn:.1f} points",
            "<= 2",
            drawn <= 0.02,
        )
        said = f"{'found' if right else 'missed'}; {'a false one' if wrong else 'none where there is none'}"
        tell(
            f"glyph people, {name}: a planted preference of 10 to 11 points",
            said,
            "found, and no other",
            right and not wrong,
        )
        rows.append((f"glyph people, {name}: largest distance from the planted share", f"{100 * off:.1f} points", ""))
    changed, closed, opened, of = mitigation_counts()
    tell(
        "must not vary: specified prompts that mitigation would change",
        f"{changed} of {closed}",
        "0 of >= 200",
        changed == 0 and closed >= 200,
    )
    rows.append(("mitigation: open profession prompts it would change", f"{opened} of {of}", ""))
    if not options.quick:
        for what, measured, promised, kept in planted_on_the_starter():
            if promised:
                tell(f"planted on the starter: {what}", measured, promised, kept)
            else:
                rows.append((f"planted on the starter: {what}", measured, ""))
    return Section(
        title="Bias audits",
        columns=("what", "measured", "promise"),
        rows=tuple(rows),
        limits=(
            "Simulated audits and drawn figures show that the statistics and the measures are right, and nothing about "
            "any real model. The bias planted in the starter is a large one: that it is found says nothing about small "
            "ones, and no false alarm on a few prompts nothing about their rate; more may be shown than was planted. "
            "Shares are drawn evenly from 0 to 1, n from 50, 100, 200 and 385; coverage at one "
            "single share can lie a few points off. Glyph people are clean drawings; real pictures are harder. "
            "Fair-Diffusion's counts are a classifier's, taken as they are.",
        ),
        held=all(held),
        data=[list(row) for row in rows],
    )


if __name__ == "__main__":
    start = time.monotonic()
    made = section(Options(quick="--quick" in sys.argv))
    print(made.markdown())
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    sys.exit(0 if made.held else 1)
