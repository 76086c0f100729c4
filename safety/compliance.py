"""What the rules on marking ask of a picture, and what was found of it: a checklist, not legal advice.

Each duty is judged by what is in the file, its Passport or the report of a verification, and says by what. A rule that
binds whoever publishes, not the tool, is "not applicable" here. For a picture from elsewhere most is "unknown": what a
stranger did cannot be seen in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backend.types import CredentialReport, Passport, VerifyReport
from safety import labels

State = Literal["met", "not met", "not applicable", "unknown"]
Judged = tuple[State, str]
_CODE = "EU: AI Act Art. 50(2), Code of Practice"


@dataclass(frozen=True, slots=True)
class Duty:
    """`because` names what the state rests on, or what is missing."""

    regime: str
    clause: str
    what: str
    state: State
    because: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one picture. `passport` is None for a picture that is not ours, `report` where nothing was
    read from the file."""

    passport: Passport | None
    report: VerifyReport | None

    @property
    def c2pa(self) -> CredentialReport | None:
        """Credentials that hold: the file's own, or those found again for a copy that shows the same picture."""
        if self.report is None:
            return None
        found = self.report.recovered
        if self.report.c2pa.state != "valid" and found and found.likeness in ("same", "part"):
            return found.credentials
        return self.report.c2pa if self.report.c2pa.state == "valid" else None

    @property
    def signed(self) -> bool:
        if self.report is None:
            return self.passport is not None and self.passport.credential.state == "valid"
        return self.report.c2pa.state == "valid"

    @property
    def marked(self) -> bool:
        if self.report is None:
            return self.passport is not None
        return self.report.watermark.found or any(each.found for each in self.report.more_marks)


def duties(passport: Passport | None, report: VerifyReport | None) -> tuple[Duty, ...]:
    """The whole checklist, always in the same order."""
    known = Evidence(passport, report)
    return tuple(Duty(regime, clause, what, *judge(known)) for regime, clause, what, judge in _DUTIES)


def _signed(known: Evidence) -> Judged:
    if known.signed:
        return "met", "The file holds Content Credentials (C2PA) that are intact."
    if known.c2pa:
        return "not met", "This copy has lost its credentials; the mark leads to a stored file that has them."
    if known.passport:
        return "not met", "The file's credentials are broken or gone."
    return "unknown", "No intact credentials are in the file; whether it ever had any cannot be seen."


def _stamped(known: Evidence) -> Judged:
    if known.c2pa and known.c2pa.time_stamp:
        return "met", f"A time-stamp authority vouches for {known.c2pa.time_stamp}."
    if known.passport and known.passport.credential.time_stamp == "made":
        return "met", "A time-stamp authority vouches for the time."
    if known.passport and known.passport.credential.time_stamp == "failed":
        return "not met", "The time-stamp authority did not answer; the credentials state this machine's clock."
    if known.passport:
        return "not met", "No time-stamp authority is set; the credentials state this machine's clock alone."
    return "unknown", "No time stamp is in the file."


def _marked(known: Evidence) -> Judged:
    if known.marked:
        return "met", "The invisible mark of this installation is in the pixels."
    if known.report and not known.report.watermark.tested:
        return "unknown", "The pixels could not be tested."
    if known.passport:
        return "not met", "The mark could not be found in this file."
    return "unknown", "Only marks of this installation can be read here."


def _logged(known: Evidence) -> Judged:
    if known.passport:
        return "met", f"It is the picture {known.passport.record_id} of the history; logging is never enough alone."
    return "unknown", "Logs of others cannot be seen."


def _kept(known: Evidence) -> Judged:
    if known.passport is None:
        return "unknown", "What went into a picture from elsewhere is known by its signer alone."
    sources = known.passport.sources
    if not sources:
        return "not applicable", "No picture went into it."
    lost = [each for each in sources if each.credentials != "absent" and not each.carried]
    if lost:
        return "not met", f"The credentials of {len(lost)} source(s) are named by hash only: {lost[0].note}"
    had = sum(each.carried for each in sources)
    return "met", f"{len(sources)} source(s); the credentials of {had} were carried over, the others had none."


def _detector(known: Evidence) -> Judged:
    if known.signed:
        return "met", "Any C2PA validator reads the credentials, without cost and offline; one is in this package."
    return ("not met" if known.passport else "unknown"), "There are no intact credentials to read."


def _mark_detector(known: Evidence) -> Judged:
    if known.passport:
        return "not met", "Only the installation that holds the key can read the mark; others have to ask it."
    return "unknown", "Which detectors others offer is not known here."


def _signpost(known: Evidence) -> Judged:
    if known.passport and known.signed:
        return "met", 'The credentials say which detector to use ("detector" in our assertion).'
    return ("not met", "Without credentials nothing in the file says it.") if known.passport else ("unknown", _NOT_OURS)


def _deployer(_known: Evidence) -> Judged:
    return "not applicable", "It binds whoever publishes a deep fake. Signet puts no visible label into pictures."


def _manifest_disclosure(known: Evidence) -> Judged:
    if known.signed:
        return "met", "The credentials are the disclosure; viewers that know C2PA show it."
    return ("not met", "The credentials are gone.") if known.passport else ("unknown", _NOT_OURS)


def latent_fields(known: Evidence) -> dict[str, str]:
    """The four facts of California's latent disclosure that can be read from the file, or from the stored one that its
    mark leads to."""
    found = known.c2pa
    if found is None:
        return {}
    version = f"{found.generator or ''} {found.generator_version or ''}".strip() if found.generator_version else ""
    facts = {
        "provider": found.signer,
        "system and version": version,
        "time": found.time_stamp or found.when,
        "unique id": found.ident,
    }
    return {name: value for name, value in facts.items() if value}


def _latent(known: Evidence) -> Judged:
    found = latent_fields(known)
    if len(found) == 4 and known.marked:
        return "met", "4 of 4 in the credentials, and the mark leads back to them where they are lost."
    if len(found) == 4:
        return ("not met" if known.passport else "unknown"), "4 of 4 in the credentials, which are removed easily."
    if known.passport:
        return "not met", f"{len(found)} of 4 can be read: {', '.join(found) or 'none'}."
    return "unknown", f"{len(found)} of 4 can be read from the file."


def _aigc(known: Evidence) -> Judged:
    if known.report is None:
        return "unknown", "The file was not read."
    if found := next((each for each in known.report.labels if each.aigc), None):
        return "met", f'The key AIGC is in its metadata (Label "{found.aigc.get("Label", "")}").'
    if known.passport and not _is_ai(known):
        return "not applicable", "No AI made it, as far as its credentials say."
    return ("not met", "The key AIGC is not in its metadata.") if known.passport else ("unknown", "There is no label.")


def _visible(known: Evidence) -> Judged:
    if known.passport:
        return "not met", "Signet puts no visible label into pictures; whoever offers them there has to add one."
    return "unknown", "Visible labels are not looked for."


def _unique_metadata(known: Evidence) -> Judged:
    if known.c2pa and known.c2pa.ident:
        return "met", f"The signed metadata names {known.c2pa.ident}; Signet offers no way to take it out."
    return ("not met", "The metadata is gone.") if known.passport else ("unknown", _NOT_OURS)


def _screened(known: Evidence) -> Judged:
    if known.passport is None:
        return "unknown", _NOT_OURS
    if not known.passport.policy or not known.passport.inspection.detectors:
        return "not met", "It is not on record that the request and the picture were checked."
    names = ", ".join(each.name for each in known.passport.inspection.detectors)
    said = f"Request checked under policy {known.passport.policy}, picture by {names}. Both have error rates"
    return "met", f"{said}; whether that is adequate no program can say."


def _is_ai(known: Evidence) -> bool:
    stated = [each.source_type for each in known.report.labels] if known.report else []
    stated += [known.c2pa.digital_source_type] if known.c2pa else []
    made = known.passport is not None and (known.passport.request.paints or known.passport.request.mode == "grid")
    return made or any(labels.is_ai(each) for each in stated)


_NOT_OURS = "It was not made here."
_DUTIES: tuple[tuple[str, str, str, Callable[[Evidence], Judged]], ...] = (
    (_CODE, "1.1.1", "Layer 1: digitally signed metadata", _signed),
    (_CODE, "1.1.1", "The signature is time-stamped", _stamped),
    (_CODE, "1.1.2", "Layer 2: an imperceptible watermark", _marked),
    (_CODE, "1.1.3", "Logging or fingerprinting (optional)", _logged),
    (_CODE, "1.2", "Marks of what went in are kept", _kept),
    (_CODE, "Commitment 2", "A free detector for layer 1", _detector),
    (_CODE, "Commitment 2", "A free detector for layer 2", _mark_detector),
    (_CODE, "3.4", "The content says which detector to use", _signpost),
    ("EU: AI Act", "Art. 50(4)", "Deep fakes are labelled visibly", _deployer),
    ("EU: AI Act", "Art. 5(1)(ba), (bb)", "Screened for intimate imagery and child abuse", _screened),
    ("California: SB 942, AB 853", "manifest disclosure", "A disclosure that people can see", _manifest_disclosure),
    ("California: SB 942, AB 853", "latent disclosure", "Provider, system and version, time, unique id", _latent),
    ("China: GB 45438-2025", "implicit label", "The key AIGC in the metadata", _aigc),
    ("China: GB 45438-2025", "explicit label", "A visible label", _visible),
    ("India: IT Rules 3(3)", "metadata", "Permanent metadata with a unique id", _unique_metadata),
    ("India: IT Rules 3(3)", "label", "A prominent label", _visible),
    (
        "UK: Data Act s.138, Crime and Policing Act",
        "prevention",
        "Screened for intimate images without consent",
        _screened,
    ),
)
