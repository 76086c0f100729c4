"""A front desk whose engine is a toy generator: audits run through it exactly as through the studio."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend import images
from backend.errors import Conflict, Refused
from backend.types import (
    CredentialFacts,
    EngineFacts,
    GenerationRequest,
    Handling,
    Inspection,
    InspectionState,
    Job,
    JobState,
    ModelFacts,
    Passport,
    Pixels,
    Principal,
    Record,
    Verdict,
    WatermarkFacts,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
_LORA = re.compile(r" <lora:[^>]*>")


@dataclass
class ToyDesk:
    """`draw` makes a picture from (prompt without LoRAs, seed, model); `flag` says how it is inspected and handled.

    Prompts in `refused` are refused, jobs for prompts in `failing` fail; after `stop_after` jobs Ctrl+C is pressed.
    """

    folder: Path
    draw: Callable[[str, int, str], Pixels]
    flag: Callable[[str, int], tuple[InspectionState, Handling]] = lambda _prompt, _seed: ("clean", "show")
    refused: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    stop_after: int | None = None
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def submit(self, fields: Mapping[str, Any], principal: Principal) -> Job:
        text = _LORA.sub("", fields["prompt"])
        if text in self.refused:
            raise Refused("The policy says no.")
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            self.stop_after = None
            raise KeyboardInterrupt
        self.asked.append(dict(fields))
        request = GenerationRequest(
            prompt=fields["prompt"], width=64, height=64, steps=5, sampler="Euler", schedule="Automatic", cfg=4.0,
            seed=fields["seed"], count=fields["count"], model=fields["model"],
        )  # fmt: skip
        ident = f"job{len(self.asked)}"
        state: JobState = "failed" if text in self.failing else "done"
        problem = {"detail": "The engine stumbled."} if state == "failed" else None
        job = Job(ident, request, principal, state, NOW, NOW, Verdict("allow", "personal"), problem=problem)
        self.jobs[ident] = job
        self.records[ident] = (
            () if problem else tuple(self._make(ident, request, text, i) for i in range(request.count))
        )
        return job

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        return self.jobs[job_id]

    def cancel(self, job_id: str, principal: Principal) -> Job:
        self.cancelled.append(job_id)
        raise Conflict("The job is already done.")  # all are, as soon as they are submitted

    def of_job(self, job_id: str) -> tuple[Record, ...]:
        return self.records[job_id]

    def file(self, record_id: str, principal: Principal) -> Path:
        return self.files[record_id]

    def _make(self, job_id: str, request: GenerationRequest, text: str, index: int) -> Record:
        seed, ident = request.seed + index, f"{job_id}-{index}"
        data = images.encode_png(self.draw(text, seed, request.model))
        path = self.folder / f"{ident}.png"
        path.write_bytes(data)
        self.files[ident] = path
        state, handling = self.flag(text, seed)
        passport = Passport(
            record_id=ident,
            sha256=hashlib.sha256(data).hexdigest(),
            media_type="image/png",
            width=64,
            height=64,
            created=NOW,
            request=request,
            seed=seed,
            model=ModelFacts(id=request.model, title="Toy", family="sd1", licence="none", sha256="ab" * 32),
            engine=EngineFacts(
                app="Signet", torch="2", diffusers="0", device="cpu", dtype="float32", attention="sdpa", bucket=1,
                seconds=0.1,
            ),
            inspection=Inspection(state=state),
            watermark=WatermarkFacts(method="none", mark_id="0" * 12, p_value=1.0, psnr_db=50.0),
            credential=CredentialFacts(manifest_id="m", state="valid", trusted=False, signer="toy"),
            policy="personal",
            admission="allow",
            handling=handling,
        )  # fmt: skip
        return Record(id=ident, job_id=job_id, index=index, path=path.name, passport=passport, infotext="")
