"""What verification says about a picture, in sentences that claim no more than was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from backend.types import (
    CredentialReport,
    HistoryMatch,
    IngredientReport,
    LabelReport,
    RecoveredCredential,
    WatermarkReport,
)
from safety import labels

_MADE_BY_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
_AIGC: Mapping[str, str] = {"1": "states that it is", "2": "states that it may be", "3": "suspects that it is"}
_NAMED = 3
State = Literal["valid", "invalid", "absent"]
_OWN: Mapping[State, str] = {
    "valid": "whose own credentials were valid",
    "invalid": "whose own credentials were broken",
    "absent": "of which it holds no credentials",
}
_SOME: Mapping[State, str] = {
    "valid": "valid credentials",
    "invalid": "broken credentials",
    "absent": "none that it holds",
}


def summary(
    c2pa: CredentialReport,
    declared: Sequence[LabelReport],
    mark: WatermarkReport,
    more: Sequence[WatermarkReport],
    history: HistoryMatch,
    recovered: RecoveredCredential | None,
    infotext: str | None,
) -> str:
    said = [
        *_on_credentials(c2pa),
        *_on_labels(declared, c2pa),
        *_on_mark(mark),
        *_on_more(more),
        *_on_history(history, mark, infotext),
        *_on_recovered(recovered),
    ]
    return " ".join(said)


def _on_credentials(report: CredentialReport) -> list[str]:
    if report.state == "absent" and report.failures:
        return ["Its Content Credentials lie on a remote server, which is never asked; nothing is known of them."]
    if report.state == "absent":
        return ["The file carries no Content Credentials; most programs drop them when they save a picture anew."]
    if report.state == "invalid":
        return [_broken(report)]
    return [_intact(report), *_on_time(report), *_declared(report), *_made_from(report)]


def _broken(report: CredentialReport) -> str:
    if "signingCredential.expired" in report.failures:
        return "Its Content Credentials cannot be relied on: the certificate of the signer has run out."
    return (
        "Its Content Credentials are broken: the file was changed after it was signed, or they belong to another "
        "file. Do not rely on what they say."
    )


def _intact(report: CredentialReport) -> str:
    if report.ours and report.trusted:
        name = f' as "{report.signer}"' if report.signer else ""
        return f"Unchanged since it was signed by this installation{name}, whose authority is on your trust list."
    if report.ours:
        return "Unchanged since it was signed by this installation, which is not on a trust list."
    who = f'"{report.signer}"' if report.signer else "an unnamed signer"
    if report.trusted:
        return f"Unchanged since it was signed by {who}, whose authority is on your trust list."
    return (
        f"Unchanged since it was signed by {who}, who is unknown here and not on a trust list: anybody can sign under "
        "any name."
    )


def _declared(report: CredentialReport) -> list[str]:
    kind = (report.digital_source_type or "").rsplit("/", 1)[-1]
    if kind not in _MADE_BY_AI:
        return []
    how = "made by AI" if kind == _MADE_BY_AI[0] else "made partly by AI"
    return [f"The signer declares it {how}" + (f" with {report.generator}." if report.generator else ".")]


def _made_from(report: CredentialReport) -> list[str]:
    """About the pictures that went in. That they fitted their credentials is the word of whoever signed this one."""
    went_in = [each for each in report.ingredients if each.kind == "file"]
    said = [_files(went_in, "picture" if report.ours else "file")] if went_in else []  # others name fonts too
    if models := [each.title or "one without a name" for each in report.ingredients if each.kind == "model"]:
        more = f" and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
        said.append(f"The signer names as models: {', '.join(models[:_NAMED])}{more}.")
    ai = any(labels.is_ai(each.digital_source_type) and each.state == "valid" for each in went_in)
    if ai and not labels.is_ai(report.digital_source_type):
        said.append("What it was made from is declared made by AI, at least in part.")
    return said


def _files(went_in: Sequence[IngredientReport], what: str) -> str:
    count, states = len(went_in), Counter(each.state for each in went_in)
    if len(states) == 1:
        whose = _OWN[went_in[0].state]
        return f"It was made from {count} other {what}{'s' if count > 1 else ''}, {whose}."
    parts = ", ".join(f"{states[state]} with {words}" for state, words in _SOME.items() if states[state])
    return f"It was made from {count} other {what}s: {parts}."


def _on_time(report: CredentialReport) -> list[str]:
    if not report.time_stamp:
        return []
    who = "whose authority is on your trust list" if report.time_stamp_trusted else "which is unknown here"
    return [f"A time-stamp service, {who}, says that it was signed at {report.time_stamp}."]


def _on_labels(found: Sequence[LabelReport], report: CredentialReport) -> list[str]:
    """What the labels add to credentials that hold: nothing."""
    if report.state == "valid":
        return []
    said = []
    if any(labels.is_ai(each.source_type) for each in found):
        said.append("A label in its metadata declares it made by AI; anybody can write or remove such a label.")
    elif any(each.source_type for each in found):
        kind = next(each.source_type for each in found if each.source_type) or ""
        said.append(
            f'A label in its metadata declares its kind as "{kind.rsplit("/", 1)[-1]}", which anybody can write.'
        )
    if aigc := next((each.aigc for each in found if each.aigc), None):
        what = _AIGC.get(aigc.get("Label", ""), "names it as")
        who = aigc.get("ContentProducer") or "nobody"
        said.append(f'China\'s AIGC label {what} made by AI and names "{who}" as its producer; it is not signed.')
    return said


def _on_mark(mark: WatermarkReport) -> list[str]:
    if not mark.tested:
        return ["This picture cannot be tested for the mark of this studio; that does not mean that it is not AI-made."]
    if not mark.found:
        return ["No mark of this studio was found; that does not mean that it is not AI-made."]
    return [
        f"The mark of this studio was found (p = {mark.p_value:.0e}): evidence that it passed through here, not proof "
        "that its content is unchanged."
    ]


def _on_more(marks: Sequence[WatermarkReport]) -> list[str]:
    said = []
    for mark in marks:
        name = mark.method or "another method"
        if not mark.tested:
            why = f": {mark.detail}" if mark.detail else "."
            said.append(f"It could not be tested for the mark of {name}{why}")
        elif mark.found:
            said.append(f"The mark of {name} was found too (p = {mark.p_value:.0e}).")
        else:
            said.append(
                f"The mark of {name} was not found (p = {mark.p_value:.1g}); that does not mean that it is not AI-made."
            )
    return said


def _on_recovered(found: RecoveredCredential | None) -> list[str]:
    if found is None:
        return []
    said = f"The stored picture {found.record_id} has intact credentials of this installation"
    declared = " ".join(_declared(found.credentials))
    if found.likeness == "same":
        alike = (
            f"This file shows the same picture ({found.psnr_db:g} dB at the same size), so they tell of this one too"
        )
        return [f"{said}. {alike}.", *([declared] if declared else [])]
    if found.likeness == "part":
        return [f"{said}. This file shows a part of that picture.", *([declared] if declared else [])]
    if found.likeness == "changed":
        share = f"{100 * (found.changed or 0):.0f} %"
        return [f"{said}. The picture differs: about {share} of this file shows something else than the stored one."]
    if found.likeness == "different":
        return [
            f"{said}. The picture differs: this file does not show what the stored one shows. The mark may have been "
            "laid over another picture; do not take those credentials for this one."
        ]
    return [f"{said}. Whether this file shows the same picture could not be told."]


def _on_history(history: HistoryMatch, mark: WatermarkReport, infotext: str | None) -> list[str]:
    said = []
    if history.match == "exact":
        said.append(f"It is byte for byte the picture {history.record_id} of the history.")
    elif history.match == "watermark":
        said.append(
            f"The mark leads to the picture {history.record_id} of the history; this file differs from the stored one."
        )
    elif mark.found:
        said.append("The picture it belongs to is no longer in the history.")
    if infotext:
        said.append("It contains generation parameters as plain text, which anybody can write.")
    return said
