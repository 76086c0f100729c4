"""The report of an audit: one HTML file that needs nothing else. Texts of others are escaped; no script, no link."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from safety.bias.definitions import DEFINITIONS
from safety.bias.diversity import DIVERSITY_DEFINITIONS
from safety.bias.plan import AuditResult, digest
from safety.bias.report_style import STYLE
from safety.bias.report_tables import Thumbnail, comparison_section, variant_section


def report(result: AuditResult, thumbnail: Thumbnail = lambda _: None) -> str:
    """The whole page. Pictures that anything flagged are counted on it and never shown."""
    suite = result.plan.suite
    body = [
        f"<h1>Bias audit: {escape(suite.title)}</h1>",
        f'<p class="lead">{escape(suite.about)}</p>',
        *_incomplete(result),
        *(part for one in result.variants for part in variant_section(result, one, thumbnail)),
        *(part for name, one in result.comparisons.items() for part in comparison_section(name, one)),
        *_notes(result),
        *_repeat(result),
        *_definitions(),
        *_sign_off(result),
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Bias audit: {escape(suite.title)}</title><style>{STYLE}</style></head><body><main>"
    )
    return head + "\n".join(body) + "</main></body></html>\n"


def _incomplete(result: AuditResult) -> Iterator[str]:
    if not result.complete:
        made = sum(one.pictures + one.identity_pictures for one in result.variants)
        yield f'<p class="warn">Not finished: {made} of {result.plan.pictures} pictures were measured.</p>'


def _notes(result: AuditResult) -> Iterator[str]:
    yield "<h2>What this does not show</h2><ul>"
    yield from (f"<li>{escape(text)}</li>" for text in (*result.notes, *result.limits))
    yield "</ul>"
    if result.failures:
        missing = sum(one.count for one in result.failures)
        yield f"<h3>{missing} pictures that could not be made</h3><ul>"
        for one in result.failures[:50]:
            prompts = result.plan.suite.identities if one.identity else result.plan.suite.prompts
            yield f"<li>{escape(prompts[one.prompt].text)}, seed {one.seed}: {escape(one.why)}</li>"
        yield "</ul>"


def _repeat(result: AuditResult) -> Iterator[str]:
    plan = result.plan
    yield "<h2>To repeat it</h2><dl>"
    facts: list[tuple[str, Any]] = [
        ("audit", f"{plan.id}, plan sha256 {digest(plan)}"),
        ("begun, finished", f"{plan.created}, {result.finished}"),
        ("suite", f"{plan.suite.name}, version {plan.suite.version}"),
        ("seeds of every prompt", f"{plan.first_seed} to {plan.first_seed + plan.n - 1}"),
        ("identity pictures of every prompt", plan.n_identities),
        ("negative prompt", plan.suite.negative or "none"),
        ("fields of every request", ", ".join(f"{k} = {v}" for k, v in plan.fields.items()) or "the model's own"),
        ("features", plan.features),
        ("many tests", f"Benjamini-Hochberg over prompts, q = {plan.q:g}"),
        ("draws behind intervals", plan.bootstrap),
    ]
    facts += [("reference", f"{one.name} for {one.measure}: {one.about}") for one in plan.references]
    for variant in result.variants:
        facts += [
            (
                f"model of {variant.variant.name}",
                f"{one.model}, weights sha256 {one.model_sha256 or 'not known'}, licence {one.licence}; "
                f"{one.sampler}, {one.schedule}, {one.steps} steps, guidance {one.cfg:g}, {one.width} x {one.height}; "
                f"{'; '.join(one.networks) or 'nothing added'}; {one.engine}",
            )
            for one in variant.facts
        ]
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    yield "</dl><h3>Prompts, verbatim</h3><ol>"
    yield from (f"<li><code>{escape(one.text)}</code></li>" for one in plan.suite.prompts)
    yield "</ol>"
    if plan.n_identities and plan.suite.identities:
        yield "<h3>Identity prompts, verbatim</h3><ol>"
        yield from (f"<li>{escape(one.group)}: <code>{escape(one.text)}</code></li>" for one in plan.suite.identities)
        yield "</ol>"


def _definitions() -> Iterator[str]:
    yield "<details><summary>Definitions</summary><dl>"
    for name, about in (*DEFINITIONS.items(), *DIVERSITY_DEFINITIONS):
        yield f"<dt>{escape(name)}</dt><dd>{escape(about)}</dd>"
    yield "</dl></details>"


def _sign_off(result: AuditResult) -> Iterator[str]:
    signed = result.sign_off
    yield "<h2>Sign-off</h2>"
    if signed:
        yield f"<p>{escape(signed.who)}, {escape(signed.when)}: {escape(signed.note)}</p>"
    else:
        yield '<p class="sign">Looked at by <span></span> on <span></span>, note <span></span></p>'
