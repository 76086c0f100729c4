"""The tables of a report: what was measured of each variant, and two of them side by side. Pieces of HTML."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape

from safety.bias.drawing import interval_line
from safety.bias.figures import Comparison, Interval, PromptFigures, Statistics
from safety.bias.labeller import Labeller
from safety.bias.plan import AuditResult, MustNotVary, PictureRef, VariantResult

Thumbnail = Callable[[str], tuple[str, bytes] | None]
"""Record id -> (media type, bytes) of a small picture, None where there is none any more."""
_MEDIA = frozenset({"image/png", "image/jpeg", "image/webp"})
_SHEET, _CATEGORIES = 8, 6


def variant_section(result: AuditResult, one: VariantResult, thumbnail: Thumbnail) -> Iterator[str]:
    yield f"<h2>{escape(one.variant.name)}</h2>"
    yield (
        f"<p>{one.pictures} pictures of {len(result.plan.suite.prompts)} prompts were measured; {one.hidden} of them "
        "are not shown here, because the inspection did not call them clean.</p>"
    )
    for name, figures in one.measured.items():
        yield from _measure(result, one, name, figures, thumbnail)
    if one.must_not_vary is not None:
        yield from _must_not_vary(one, one.must_not_vary, thumbnail)
    yield from _diversity(one, thumbnail if not one.measured and one.must_not_vary is None else None)
    yield from _resemblance(one)


def _measure(
    result: AuditResult, one: VariantResult, name: str, figures: Statistics, thumbnail: Thumbnail
) -> Iterator[str]:
    whole = figures.overall
    yield f"<h3>Measure: {escape(name)}</h3>"
    labeller = next((known for known in result.plan.labellers if known.name == name), None)
    yield f"<p>{_error_of(labeller)}</p>"
    if whole.mean_entropy is not None:
        span = f" [{_spoken(whole.mean_entropy_interval)}]" if whole.mean_entropy_interval else ""
        yield (
            f"<p>Mean entropy <b>{whole.mean_entropy:.3f}</b>{span}; {whole.one_sided} of {whole.measured} prompts "
            f"show one category in at least 95 % of pictures; {whole.heterogeneous} show more than one. The measure "
            f"abstained on {whole.abstained} of {whole.pictures} pictures.</p>"
        )
    for reference in whole.references:
        yield (
            f"<p>Against <b>{escape(reference.name)}</b> ({escape(reference.about)}): {reference.differ} of "
            f"{reference.prompts} prompts differ at q = {figures.q:g} (Benjamini-Hochberg).</p>"
        )
    yield f"<p>Ranking: {escape(whole.ranking)}</p>"
    names = [reference.name for reference in whole.references]
    yield _head("prompt", "n", "shares, 95 %", "entropy, 95 %", f"distance to {names[0]}" if names else "", "pictures")
    for row in sorted(figures.prompts, key=lambda row: -_distance(row, names)):
        yield _prompt_row(result, row, names, _sheet(one.sheet.get(row.prompt, ()), thumbnail))
    yield "</tbody></table></div>"


def _distance(row: PromptFigures, names: Sequence[str]) -> float:
    held = row.references.get(names[0]) if names else None
    return held.total_variation if held else -1.0


def _prompt_row(result: AuditResult, row: PromptFigures, names: Sequence[str], sheet: str) -> str:
    order = sorted(row.counts, key=lambda name: -row.counts[name])
    shown = [name for name in order if row.counts[name]][:_CATEGORIES] or order[:1]
    lines = []
    for name in shown:
        ticks = [
            (reference, (row.shares or {}).get(name, 0.0) / ratio)
            for reference in names
            if reference in row.references and (ratio := row.references[reference].ratios.get(name))
        ]
        share = row.shares[name] if row.shares else None
        fixed = f" (corrected {row.corrected.shares[name]:.2f})" if row.corrected else ""
        said = "-" if share is None else f"{share:.2f}{fixed}"
        drawn = interval_line(share, row.intervals[name], ticks)
        lines.append(f'<div class="bar"><span>{escape(name)} {said}</span>{drawn}</div>')
    held = row.references.get(names[0]) if names else None
    distance = "-"
    if held:
        drawn = interval_line(held.total_variation, held.total_variation_interval)
        verdict = "differs" if held.differs else "no difference shown"
        place = f"place {row.rank[0]} to {row.rank[1]}" if row.rank and row.rank[0] != row.rank[1] else ""
        place = f"place {row.rank[0]}" if row.rank and not place else place
        distance = (
            f"TV {held.total_variation:.3f}, JS {held.jensen_shannon:.3f} bit<br>{drawn}<br>adjusted p "
            f"{held.p_adjusted:.2g}: {verdict}<br><small>{escape(place)}</small>"
        )
    entropy = "-" if row.entropy is None else f"{row.entropy:.3f}<br>{interval_line(row.entropy, row.entropy_interval)}"
    flags = "".join(f"<li>{escape(flag)}</li>" for flag in row.flags)
    return (
        f"<tr><th scope=row>{escape(row.prompt)}<ul>{flags}</ul></th><td>{row.n}<br><small>{row.abstained} abstained"
        f"</small></td><td>{''.join(lines)}</td><td>{entropy}</td><td>{distance}</td><td>{sheet}</td></tr>"
    )


def _sheet(pictures: Sequence[PictureRef], thumbnail: Thumbnail) -> str:
    """Small pictures as data URIs; a flagged one never, whatever it is asked for with."""
    made = []
    for one in [one for one in pictures if one.shown][:_SHEET]:
        found = thumbnail(one.record_id)
        if found and found[0] in _MEDIA:
            data = base64.b64encode(found[1]).decode()
            seen = ", ".join(f"{name}: {label or 'abstained'}" for name, label in one.labels.items())
            about = escape(f"seed {one.seed}; {seen}", quote=True)
            made.append(f'<img src="data:{found[0]};base64,{data}" alt="{about}" title="{about}">')
    hidden = sum(not one.shown for one in pictures)
    if hidden:
        made.append(f"<small>{hidden} not shown</small>")
    return f'<div class="sheet">{"".join(made)}</div>'


def _must_not_vary(one: VariantResult, found: MustNotVary, thumbnail: Thumbnail) -> Iterator[str]:
    yield "<h3>What must not vary</h3>"
    score = "not measured" if found.score is None else f"<b>{found.score:.3f}</b> [{_spoken(found.interval)}]"
    yield (
        f"<p>Share of pictures that show what their prompt says: {score}, of {found.spoken} pictures; "
        f"{found.abstained} more could not be judged. {found.for_eyes} prompts say something that no measure here can "
        "check: look at them.</p>"
    )
    yield _head("prompt", "expected", "kept, 95 %", "seen instead", "pictures")
    told = {row.prompt for row in found.prompts}
    for row in sorted(found.prompts, key=lambda row: 1.0 if row.share is None else row.share):
        other = ", ".join(f"{name} {count}" for name, count in row.seen.items() if name != row.expected)
        share = "-" if row.share is None else f"{row.share:.2f}"
        yield (
            f"<tr><th scope=row>{escape(row.prompt)}</th><td>{escape(row.measure)}: {escape(row.expected)}</td>"
            f"<td>{share} ({row.kept} of {row.spoken})<br>{interval_line(row.share, row.interval)}</td>"
            f"<td>{escape(other) or '-'}</td><td>{_sheet(one.sheet.get(row.prompt, ()), thumbnail)}</td></tr>"
        )
    for prompt, pictures in one.sheet.items():
        if prompt not in told:
            shown = _sheet(pictures, thumbnail)
            yield f"<tr><th scope=row>{escape(prompt)}</th><td colspan=3>for eyes</td><td>{shown}</td></tr>"
    yield "</tbody></table></div>"


def _diversity(one: VariantResult, thumbnail: Thumbnail | None) -> Iterator[str]:
    yield "<h3>How different the pictures of a prompt are</h3><p>Label-free: nothing in them is named.</p>"
    yield _head("prompt", "n", "Vendi score", "mean distance, 95 %", "duplicates", *(["pictures"] if thumbnail else []))
    for row in sorted(one.diversity, key=lambda row: row.vendi or 0.0):
        if row.vendi is None or row.mean_distance is None:
            continue
        span = f" [{_spoken(row.mean_distance_interval)}]" if row.mean_distance_interval else ""
        sheet = f"<td>{_sheet(one.sheet.get(row.prompt, ()), thumbnail)}</td>" if thumbnail else ""
        yield (
            f"<tr><th scope=row>{escape(row.prompt)}</th><td>{row.n}</td><td>{row.vendi:.2f}</td>"
            f"<td>{row.mean_distance:.3f}{span}</td><td>{row.duplicates}</td>{sheet}</tr>"
        )
    yield "</tbody></table></div>"


def _resemblance(one: VariantResult) -> Iterator[str]:
    found = one.resemblance
    if found is None:
        return
    yield "<h3>Which identity group the pictures resemble</h3>"
    yield (
        f"<p>{found.right} of {found.known} identity pictures fall into their own group when left out of it "
        f"[{_spoken(found.right_interval)}]; by chance about 1 in {len(found.groups)} would (p {found.p:.2g}, "
        f"shuffled). {escape(found.why_not)}</p>"
    )
    if found.statistics is None:
        return
    yield _head("prompt", "n", "nearest group, 95 %, corrected for the above", "adjusted p against an even spread")
    for row in sorted(found.statistics.prompts, key=lambda row: -_distance(row, ["uniform"])):
        fixed, held = row.corrected, row.references.get("uniform")
        lines = "".join(
            f'<div class="bar"><span>{escape(name)} {fixed.shares[name]:.2f}</span>'
            f"{interval_line(fixed.shares[name], fixed.intervals[name])}</div>"
            for name in (fixed.shares if fixed else ())
            if fixed
        )
        p = f"{held.p_adjusted:.2g}" if held else "-"
        yield f"<tr><th scope=row>{escape(row.prompt)}</th><td>{row.n}</td><td>{lines}</td><td>{p}</td></tr>"
    yield "</tbody></table></div>"


def comparison_section(name: str, one: Comparison) -> Iterator[str]:
    first, second = (escape(each) for each in one.names)
    yield f"<h2>{first} against {second}: {escape(name)}</h2>"
    if one.mean_entropy_difference is not None:
        span = f" [{_spoken(one.mean_entropy_interval)}]" if one.mean_entropy_interval else ""
        gap = f"<b>{one.mean_entropy_difference:+.3f}</b>{span}"
        yield f"<p>Mean entropy differs by {gap} ({first} minus {second}).</p>"
    yield f"<p>{one.differ} of {len(one.prompts)} prompts differ at q = {one.q:g} (Benjamini-Hochberg).</p>"
    yield _head("prompt", "n", "largest difference of a share, 95 %", "adjusted p")
    for row in sorted(one.prompts, key=lambda row: row.p_adjusted):
        top = max(row.differences, key=lambda key: abs(row.differences[key]), default="")
        said = "not measured"
        if top:
            drawn = interval_line(row.differences[top], row.intervals[top], [("no difference", 0.0)], low=-1.0)
            said = f"{escape(top)} {row.differences[top]:+.3f} [{_spoken(row.intervals[top])}]<br>{drawn}"
        verdict = " differs" if row.differs else ""
        yield (
            f"<tr><th scope=row>{escape(row.prompt)}</th><td>{row.n[0]}, {row.n[1]}</td><td>{said}</td>"
            f"<td>{row.p_adjusted:.2g}{verdict}</td></tr>"
        )
    yield "</tbody></table></div>"


def _error_of(labeller: Labeller | None) -> str:
    if labeller is None or not labeller.measured:
        about = f"{escape(labeller.about)}. " if labeller else ""
        return f"{about}Its error was <b>not measured</b>; shares are as counted."
    right, spoken = labeller.right
    return (
        f"{escape(labeller.about)}. Right on {right} of {spoken} known pictures [{_spoken(labeller.right_interval)}], "
        f"abstained on {sum(labeller.abstained.values())} more ({escape(labeller.source)})."
    )


def _head(*columns: str) -> str:
    cells = "".join(f"<th scope=col>{escape(column)}</th>" for column in columns)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>'


def _spoken(interval: Interval | None) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
