"""The Passport as rows that anybody can read: what is known of a picture, how good that is, and why.

Green is what was checked and found, amber what a reader should know, grey what is unknown or has no meaning here. The
same rows are shown for a picture from elsewhere; those of which nothing is known then say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backend.types import Passport, VerifyReport
from safety import labels
from safety.compliance import Evidence, latent_fields

Colour = Literal["green", "amber", "grey"]
Cell = tuple[str, Colour, str]
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """`name` is stable, for programs; `reason` says in one line what `value` rests on."""

    name: str
    title: str
    value: str
    colour: Colour
    reason: str


def rows(passport: Passport | None, report: VerifyReport | None) -> tuple[Row, ...]:
    """All rows, always the same ones in the same order; `passport` is None for a picture that is not ours."""
    known = Evidence(passport, report)
    return tuple(Row(name, title, *fill(known)) for name, title, fill in _ROWS)


def _unknown(reason: str = "It was not made here, and its file does not say.") -> Cell:
    return UNKNOWN, "grey", reason


def _ai(known: Evidence) -> Cell:
    stated = known.c2pa.digital_source_type if known.c2pa else None
    if known.passport and known.passport.request.mode == "txt2img":
        return "fully", "green", "A model made it from words."
    if known.passport and (known.passport.request.paints or known.passport.request.mode == "grid"):
        return "partly", "green", "A model changed a picture, or it is a sheet of such pictures."
    if known.passport:
        inherited = next((each.source_type for each in known.report.labels), None) if known.report else None
        if labels.is_ai(inherited):
            return "as its source", "green", "Another file or size of a picture that is declared made by AI."
        return "not declared", "amber", "Nothing is known of the picture it was converted or enlarged from."
    if labels.is_ai(stated):
        return "declared", "amber", "Its signer says so; who that is, see layer 1."
    if known.report and any(labels.is_ai(each.source_type) or each.aigc for each in known.report.labels):
        return "labelled", "amber", "Plain metadata says so, which anybody can write."
    return _unknown("Nothing in it says so; that does not mean that it is not AI-made.")


def _generator(known: Evidence) -> Cell:
    if found := known.c2pa:
        version = f"{found.generator or 'not named'} {found.generator_version or ''}".strip()
        spec = f", C2PA {found.spec_version}" if found.spec_version else ""
        return version + spec, "green" if found.ours else "amber", "As its credentials state."
    if known.passport:
        return f"Signet {known.passport.engine.app}", "amber", "By our records; this file does not say it."
    return _unknown()


def _models(known: Evidence) -> Cell:
    if known.passport:
        facts = known.passport
        used = [(facts.model.title, facts.model.sha256)] if facts.request.paints else []
        used += [(each.id, each.sha256) for each in facts.networks]
        if not used:
            return "none", "green", "No model had a part in it."
        value = "; ".join(f"{title} ({sha256[:10] if sha256 else 'no hash yet'})" for title, sha256 in used)
        whole = all(sha256 for _, sha256 in used)
        return (
            value,
            "green" if whole else "amber",
            "SHA-256 of the files" if whole else "A hash was not ready in time.",
        )
    named = [each.title for each in known.c2pa.ingredients if each.kind == "model"] if known.c2pa else []
    return ("; ".join(named), "amber", "As its signer states.") if named else _unknown()


def _created(known: Evidence) -> Cell:
    if known.c2pa and known.c2pa.time_stamp:
        return (
            known.c2pa.time_stamp,
            "green" if known.c2pa.time_stamp_trusted else "amber",
            "By a time-stamp authority.",
        )
    if known.passport:
        return known.passport.created.strftime("%Y-%m-%d %H:%M:%S UTC"), "amber", "By the clock of this machine."
    if known.c2pa and known.c2pa.when:
        return known.c2pa.when, "amber", "By the clock of its signer."
    return _unknown()


def _ident(known: Evidence) -> Cell:
    if known.passport:
        return known.passport.record_id, "green", "In the credentials, the history and, as a number, in the mark."
    if known.c2pa and known.c2pa.ident:
        return known.c2pa.ident, "amber", "As its signer states."
    return _unknown()


def _layer_1(known: Evidence) -> Cell:
    if known.report is None:
        if known.passport is None:
            return _unknown("The file was not read.")
        return known.passport.credential.state, "amber", "When it was sealed; the file was not read again."
    found = known.report.c2pa
    if found.state == "absent":
        return "absent", "amber" if known.passport else "grey", "Most programs drop credentials when they save anew."
    if found.state == "invalid":
        return (
            "broken",
            "amber",
            f"Changed after signing, or not its own ({', '.join(found.failures[:2]) or 'damaged'}).",
        )
    who = found.signer or "an unnamed signer"
    if found.trusted:
        return f"valid, {who}", "green", "The signer stands under an authority of your trust list."
    if found.ours:
        return "valid, this installation", "green", "Signed by this installation, which is not on a trust list."
    return f"valid, {who}", "amber", "The signer is unknown here; anybody can sign under any name."


def _layer_2(known: Evidence) -> Cell:
    if known.report is None:
        if known.passport is None:
            return _unknown("The file was not read.")
        mark = known.passport.watermark
        return f"{mark.method}, p = {mark.p_value:.0e}", "green", "Read back when it was sealed."
    found = known.report.watermark
    if found.found:
        return f"{found.method or 'found'}, p = {found.p_value:.0e}", "green", "Evidence that it passed through here."
    if not found.tested:
        return "not testable", "grey", "The picture is too small or too damaged to be tested."
    if known.passport:
        return "not found", "amber", "This copy has lost it."
    return "not found", "grey", "Only marks of this installation can be read; others may be in it."


def _latent_mark(known: Evidence) -> Cell:
    more = known.report.more_marks if known.report else ()
    if found := next((each for each in more if each.found), None):
        return f"{found.method}, p = {found.p_value:.0e}", "green", "Read from the noise it was made from."
    if known.passport and known.passport.latent_mark:
        return known.passport.latent_mark, "green", "Put into the noise; to be read where the same model is loaded."
    if known.passport:
        return "none", "grey", "It was not made from marked noise."
    return _unknown("It can be told only of pictures made here.")


def _time_stamp(known: Evidence) -> Cell:
    if known.c2pa and known.c2pa.time_stamp:
        trusted = known.c2pa.time_stamp_trusted
        return (
            "yes",
            "green" if trusted else "amber",
            "Of an authority " + ("you trust." if trusted else "unknown here."),
        )
    if known.passport and known.passport.credential.time_stamp == "made":
        return "yes", "amber", "Made when it was sealed; the file was not read again, or has lost it."
    if known.passport and known.passport.credential.time_stamp == "failed":
        return "failed", "amber", "The authority did not answer, and the settings let the picture go without."
    return "no", "amber" if known.passport else "grey", "No authority vouches for the time; a clock can be set back."


def _incoming(known: Evidence) -> Cell:
    if known.passport:
        sources = known.passport.sources
        if not sources:
            return "nothing went in", "green", "It was made from words."
        lost = sum(each.credentials != "absent" and not each.carried for each in sources)
        kept = sum(each.carried for each in sources)
        value = f"{len(sources)} pictures, credentials of {kept} kept"
        reason = f"{lost} could not be carried." if lost else "Those that had any are in the file whole."
        return value, "amber" if lost else "green", reason
    files = [each for each in known.c2pa.ingredients if each.kind == "file"] if known.c2pa else []
    return (f"{len(files)} files", "amber", "As its signer states.") if files else _unknown()


def _visible(known: Evidence) -> Cell:
    if known.passport:
        return "none", "amber", "Whoever publishes a deep fake in the EU has to label it visibly (Art. 50(4))."
    return _unknown("Visible labels are not looked for.")


def _aigc(known: Evidence) -> Cell:
    if known.report is None:
        return _unknown("The file was not read.")
    if found := next((each for each in known.report.labels if each.aigc), None):
        value = f"Label {found.aigc.get('Label', '')}, {found.aigc.get('ContentProducer') or 'no producer'}"
        signed = known.report.c2pa.state == "valid"
        return value, "green" if signed else "amber", "In signed metadata." if signed else "Anybody can write it."
    return "not written", "amber" if known.passport else "grey", "The key AIGC is not in the metadata."


def _california(known: Evidence) -> Cell:
    found = latent_fields(known)
    whole = len(found) == 4 and known.marked
    if found or known.passport:
        reason = ", ".join(found) or "Nothing of it can be read from this file."
        return f"{len(found)} of 4", "green" if whole else "amber", reason
    return _unknown("No intact credentials are in the file.")


def _prompt(known: Evidence) -> Cell:
    if known.passport is None:
        return _unknown("Only pictures made here were screened here.")
    facts = known.passport
    found = ", ".join(dict.fromkeys(each.category for each in facts.reasons))
    value = f"{facts.admission}, {facts.policy}"
    return value, "amber" if found else "green", f"Found: {found}." if found else "Nothing was found in the text."


def _pixels(known: Evidence) -> Cell:
    if known.passport is None:
        return _unknown("Only pictures made here were screened here.")
    facts = known.passport.inspection
    value = "; ".join(
        f"{each.name}: {each.state}" + (f" ({each.score:.2f})" if each.score is not None else "")
        for each in facts.detectors
    )
    good = facts.state == "clean" and bool(facts.detectors)
    reason = f"Shown as: {known.passport.handling}. Every detector has an error rate."
    return value or facts.state, "green" if good else "amber", reason


def _people(known: Evidence) -> Cell:
    if known.passport is None:
        return _unknown()
    if not known.passport.request.inputs:
        return "no picture brought", "green", "Nobody's photograph went in; a likeness by name is a matter of the text."
    if known.passport.request.consent:
        return "consent declared", "amber", "Whoever asked declared it; nobody can check that here."
    return "no declaration", "amber", "Pictures went in, and the policy asked for no declaration."


def _training(known: Evidence) -> Cell:
    use = known.c2pa.training_use if known.c2pa else None
    if use:
        return use, "green", "Stated in the credentials; whether others keep to it is theirs."
    return _unknown("This file does not say; the stored one may.") if known.passport else _unknown()


def _history(known: Evidence) -> Cell:
    match = known.report.history if known.report else None
    if match and match.match == "exact":
        return f"{match.record_id}, the very file", "green", "Byte for byte."
    found = known.report.recovered if known.report else None
    if match and match.match == "watermark":
        likeness = found.likeness if found else "unknown"
        good = likeness in ("same", "part")
        return (
            f"{match.record_id}, by its mark",
            "green" if good else "amber",
            f"Compared with the stored one: {likeness}.",
        )
    if known.passport:
        return known.passport.record_id, "green", "It is in the history."
    return "none", "grey", "The history does not know it."


def _log(known: Evidence) -> Cell:
    if known.passport and known.passport.audit_head:
        head = known.passport.audit_head
        return head[:80], "green", "The newest entry of the audit log then; this picture is a witness of it."
    if known.passport:
        return "none", "amber", "The audit log had no entry yet."
    return _unknown("It is no witness of this log.")


def _detector(known: Evidence) -> Cell:
    if known.passport or (known.c2pa and known.c2pa.ours):
        return "Verify page; launch.py verify", "green", "Layer 1: any C2PA validator. Layer 2: this installation only."
    return "any C2PA validator", "grey", "Which detector reads its mark, if it has one, is not known here."


def _limits(_known: Evidence) -> Cell:
    return (
        "not proven: who made it, that it is true, that it is not AI-made",
        "amber",
        "Credentials can be stripped and marks removed by whoever tries; a signature of our own proves no name.",
    )


_ROWS: tuple[tuple[str, str, Callable[[Evidence], Cell]], ...] = (
    ("ai", "AI-generated", _ai),
    ("generator", "Made with", _generator),
    ("models", "Models", _models),
    ("created", "Created", _created),
    ("ident", "Unique id", _ident),
    ("layer_1", "Layer 1: signed metadata", _layer_1),
    ("layer_2", "Layer 2: invisible mark", _layer_2),
    ("latent_mark", "Mark in the noise", _latent_mark),
    ("time_stamp", "Time stamp", _time_stamp),
    ("incoming", "Incoming credentials", _incoming),
    ("visible", "Visible label", _visible),
    ("aigc", "China's AIGC key", _aigc),
    ("california", "California's latent set", _california),
    ("prompt", "Request screened", _prompt),
    ("pixels", "Picture screened", _pixels),
    ("people", "Persons", _people),
    ("training", "Use for training", _training),
    ("history", "History", _history),
    ("log", "Audit log", _log),
    ("detector", "Detector to use", _detector),
    ("limits", "Not guaranteed", _limits),
)
