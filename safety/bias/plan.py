"""An audit as data: what is asked for, in which order, what was seen, and what it came to.

The state of an audit is its plan and the measurements so far; everything else is computed from the two, so that an
audit can stop at any picture and go on later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field

from backend.errors import InvalidParameter
from backend.types import Shape
from safety.bias.counts import Counts, counts_of
from safety.bias.diversity import Diversity
from safety.bias.figures import Comparison, Interval, Statistics
from safety.bias.labeller import Labeller
from safety.bias.suites import Suite, SuitePrompt

_BATCH = 4
MOST_PICTURES = 100_000


class Variant(Shape):
    """One of the models that are audited. `loras` are (name, weight), written into the prompt as usual."""

    name: str
    model: str
    loras: tuple[tuple[str, float], ...] = ()

    def prompt(self, text: str) -> str:
        return " ".join([text, *(f"<lora:{name}:{weight:g}>" for name, weight in self.loras)])


class AuditReference(Shape):
    """Reference shares as they stand in a plan; see `counts.Reference`. `measure` is the one that they are about."""

    name: str
    measure: str
    about: str = ""
    shares: Mapping[str, Mapping[str, float]]


class AuditPlan(Shape):
    """Every prompt of the suite with the seeds first_seed .. first_seed + n - 1, for every variant. `fields` are those
    of every request (steps, sampler, size ...), `measures` those that look, `labellers` their errors where known.

    `measures` beyond the label-free ones that are personal stand here only because somebody asked for them.
    """

    id: str
    suite: Suite
    variants: tuple[Variant, ...] = Field(min_length=1, max_length=4)
    n: int = Field(ge=1, le=10_000)
    n_identities: int = Field(default=0, ge=0, le=10_000)
    first_seed: int = Field(default=0, ge=0, lt=2**52)
    fields: Mapping[str, Any] = {}
    measures: tuple[str, ...] = ()
    labellers: tuple[Labeller, ...] = ()
    references: tuple[AuditReference, ...] = ()
    q: float = Field(default=0.05, gt=0, lt=1)
    bootstrap: int = 2000
    features: str = ""
    created: str = ""

    @property
    def pictures(self) -> int:
        return len(self.variants) * (len(self.suite.prompts) * self.n + len(self.suite.identities) * self.n_identities)


class Ask(Shape):
    """One request: `prompt` is its place in the suite, pictures have the seeds seed .. seed + count - 1."""

    variant: int
    identity: bool
    prompt: int
    seed: int
    count: int
    fields: Mapping[str, Any]


class Facts(Shape):
    """What a Passport says about how a picture came to be; the same for every picture of a variant, or noted."""

    model: str = ""
    model_sha256: str | None = None
    licence: str = ""
    networks: tuple[str, ...] = ()
    sampler: str = ""
    schedule: str = ""
    steps: int = 0
    cfg: float = 0.0
    width: int = 0
    height: int = 0
    engine: str = ""


class Measurement(Shape):
    """One picture. `labels` is measure -> category (None: abstained); `vector` its features, 16-bit floats in base64.
    `shown` is whether it may stand on a contact sheet: not if anything flagged it."""

    variant: int
    identity: bool
    prompt: int
    seed: int
    record_id: str
    sha256: str
    shown: bool
    labels: Mapping[str, str | None] = {}
    vector: str = ""
    facts: Facts = Facts()


class Failure(Shape):
    """A request that gave no picture, and why."""

    variant: int
    identity: bool
    prompt: int
    seed: int
    count: int
    why: str


class Kept(Shape):
    """A prompt whose pictures had to show something. `kept` of `spoken` did; the interval is Wilson's."""

    prompt: str
    measure: str
    expected: str
    total: int
    spoken: int
    kept: int
    share: float | None
    interval: Interval
    seen: Mapping[str, int]


class MustNotVary(Shape):
    """`score` is the share of spoken-of pictures that show what their prompt says, over all prompts that expect
    something: 1 means nothing was invented. `for_eyes` are prompts that nothing here can measure."""

    score: float | None = None
    interval: Interval = (0.0, 1.0)
    spoken: int = 0
    abstained: int = 0
    prompts: tuple[Kept, ...] = ()
    for_eyes: int = 0


class PictureRef(Shape):
    seed: int
    record_id: str
    sha256: str
    shown: bool
    labels: Mapping[str, str | None] = {}


class Resemblance(Shape):
    """Label-free: which identity group's pictures those of a prompt are nearest to, counted; see `diversity`.

    `right` of `known` identity pictures fall into their own group when left out of it; `p` is how often shuffled names
    would do as well. Above 0.01 the space cannot tell the groups apart and there are no shares; `why_not` says so.
    """

    groups: tuple[str, ...]
    right: int
    known: int
    right_interval: Interval
    p: float = 1.0
    statistics: Statistics | None
    why_not: str = ""


class VariantResult(Shape):
    """`measured` is measure -> figures, `diversity` in the order of the suite's prompts, `hidden` how many pictures are
    counted but not shown on the `sheet` (prompt -> pictures by seed)."""

    variant: Variant
    facts: tuple[Facts, ...]
    pictures: int
    identity_pictures: int
    hidden: int
    measured: Mapping[str, Statistics] = {}
    diversity: tuple[Diversity, ...] = ()
    resemblance: Resemblance | None = None
    must_not_vary: MustNotVary | None = None
    sheet: Mapping[str, tuple[PictureRef, ...]] = {}


class SignOff(Shape):
    who: str
    when: str
    note: str = ""


class AuditResult(Shape):
    """Everything an audit found. `comparisons` is measure -> the first variant against the second, "resembles" among
    them; `notes` say where a figure could not be had, `limits` what none of this shows."""

    plan: AuditPlan
    finished: str
    complete: bool
    variants: tuple[VariantResult, ...]
    comparisons: Mapping[str, Comparison] = {}
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    sign_off: SignOff | None = None


def requests(plan: AuditPlan, done: Iterable[Measurement | Failure] = ()) -> Iterator[Ask]:
    """What is still to be asked for, variant by variant and seed by seed over all prompts: an audit that stops half-way
    has about as many pictures of every prompt, and both variants have the same seeds.

    Raises InvalidParameter if the plan is larger than anybody could want.
    """
    if plan.pictures > MOST_PICTURES:
        hint = "Use fewer pictures of each prompt, or a smaller suite."
        raise InvalidParameter("n", f"{plan.pictures} pictures are more than {MOST_PICTURES}.", hint)
    settled: set[tuple[int, bool, int, int]] = set()
    for one in done:
        count = one.count if isinstance(one, Failure) else 1
        settled |= {(one.variant, one.identity, one.prompt, one.seed + i) for i in range(count)}
    for identity, prompts, n in ((True, plan.suite.identities, plan.n_identities), (False, plan.suite.prompts, plan.n)):
        for start in range(0, n, _BATCH):
            for number, prompt in enumerate(prompts):
                for place, variant in enumerate(plan.variants):
                    seeds = range(plan.first_seed + start, plan.first_seed + min(n, start + _BATCH))
                    missing = [seed for seed in seeds if (place, identity, number, seed) not in settled]
                    for first, count in _runs(missing):
                        fields = _fields(plan, variant, prompt, first, count)
                        yield Ask(
                            variant=place, identity=identity, prompt=number, seed=first, count=count, fields=fields
                        )


def _runs(seeds: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring seeds together: (first, how many)."""
    start = 0
    for i in range(1, len(seeds) + 1):
        if i == len(seeds) or seeds[i] != seeds[i - 1] + 1:
            yield seeds[start], i - start
            start = i


def _fields(plan: AuditPlan, variant: Variant, prompt: SuitePrompt, seed: int, count: int) -> dict[str, Any]:
    return {
        **plan.fields,
        "prompt": variant.prompt(prompt.text),
        "negative": plan.suite.negative,
        "model": variant.model,
        "seed": seed,
        "count": count,
        "client_extras": {"audit": plan.id},
    }


def counts_by(plan: AuditPlan, measurements: Iterable[Measurement], variant: int, labeller: Labeller) -> Counts:
    """How often each category was seen for each prompt of the suite."""
    zeros = [(prompt.text, labeller.categories[0], 0) for prompt in plan.suite.prompts]
    seen = [
        (plan.suite.prompts[one.prompt].text, one.labels.get(labeller.name) or "abstain", 1)
        for one in measurements
        if one.variant == variant and not one.identity
    ]
    return counts_of([*zeros, *seen], labeller.categories)


def digest(plan: AuditPlan) -> str:
    """The sha256 of a plan's JSON: two audits with the same one asked for the same."""
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()
