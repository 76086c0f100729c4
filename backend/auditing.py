"""What goes on record, and which facts of it.

Facts are plain JSON values without a word that anybody typed: what people wrote goes to the log as texts, which are
kept beside the chain and can be erased. A sentence of an error may quote the prompt, so only its code is a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from backend.errors import SignetError
from backend.types import GenerationRequest, Job, Record, SpokenReason, Verdict

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "start": "the studio started",
        "stop": "the studio was closed",
        "verdict": "a request was admitted",
        "refusal": "a request was refused",
        "policy": "the policy was changed",
        "review": "the owner decided about a picture",
        "audit": "an audit of a model was started, resumed or stopped",
        "sign-off": "a reviewer accepted a report",
        "reveal": "a covered picture was looked at",
        "deletion": "a picture was deleted",
        "export": "something was handed out in one go",
        "erase": "texts were erased from the log",
        "install": "something was installed or removed",
        "extension": "an extension was switched on or off",
        "training": "a training was started",
        "keys": "the keys of the installation were changed",
        "login": "somebody logged in, or tried to",
        "share": "a public link was opened or closed",
        "backup": "the database was copied before its tables changed",
    }
)
"""Every kind of entry, in words."""


def verdict_facts(verdict: Verdict) -> dict[str, Any]:
    """What admission decided, and on what it rests: categories, layers, scores and fields, not the words found."""
    return {
        "action": verdict.action,
        "policy": verdict.policy,
        "score": round(verdict.score, 4),
        "flagged": verdict.flagged,
        "previews": verdict.previews,
        "reasons": [reason_facts(reason) for reason in verdict.reasons],
    }


def reason_facts(reason: SpokenReason) -> dict[str, Any]:
    """One finding without its span, which is text of the prompt."""
    return {
        "category": reason.category,
        "layer": reason.layer,
        "score": round(reason.score, 4),
        "field": reason.field,
    }


def refusal_facts(error: SignetError) -> dict[str, Any]:
    """Why something was refused. A refusal by admission names its `reasons` and its `policy`; others only a code."""
    reasons = getattr(error, "reasons", ())
    policy = getattr(error, "policy", None)
    facts: dict[str, Any] = {"code": error.problem.code, "field": error.problem.field}
    if policy is not None:
        facts["policy"] = str(getattr(policy, "id", policy))
    facts["reasons"] = [reason_facts(reason) for reason in reasons if isinstance(reason, SpokenReason)]
    return facts


def job_facts(job: Job) -> dict[str, Any]:
    """A job, with what was decided about it."""
    return {"job": job.id, "model": job.request.model, **verdict_facts(job.verdict)}


def record_facts(record: Record) -> dict[str, Any]:
    """A picture: what is enough to know it again, and how it may be shown."""
    return {"record": record.id, "job": record.job_id, "sha256": record.passport.sha256, "handling": record.handling}


def texts_of(request: GenerationRequest) -> dict[str, str]:
    """What a person wrote into a request, by field. Fields without a word are left out."""
    second = request.hires.prompt if request.hires else ""
    said = {"prompt": request.prompt, "negative": request.negative, "hires": second}
    return {field: text for field, text in said.items() if text}
