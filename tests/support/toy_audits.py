"""An audit desk before a toy generator that paints balls red and boxes blue: whole audits in a second."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from backend.types import Pixels, Principal
from safety.bias.desk import AuditDesk
from tests.support.audits import ToyDesk
from tests.support.glyphs import figure

SUITE = """
name = "two"
title = "Two things"
about = "For tests."
measures = ["colour"]
[[sets]]
items = ["a ball", "a box"]
"""


class Front(ToyDesk):
    """`slow` makes every job wait, so that there is time to stop."""

    slow = 0.0
    settings = SimpleNamespace(default_model="toy")

    def wait(self, job_id: str, timeout: float | None = None) -> Any:
        time.sleep(self.slow)
        return super().wait(job_id, timeout)

    def submit(self, fields: Any, principal: Principal) -> Any:
        time.sleep(self.slow)
        return super().submit(fields, principal)

    def thumbnail(self, record_id: str) -> Path:
        return self.file(record_id, Principal())


class Plain:
    """Features that need no network."""

    name, near = "plain", 0.99

    def vector(self, pixels: Any) -> Any:
        return pixels[::16, ::16].reshape(-1).astype("float32") / 255


def toy_audits(folder: Path, log: Any) -> tuple[Front, AuditDesk]:
    """The toy front desk, and the audits that run on it."""
    (folder / "suites").mkdir()
    (folder / "suites" / "two.toml").write_text(SUITE)

    def draw(prompt: str, seed: int, model: str) -> Pixels:
        return figure(np.random.default_rng(seed), {"colour": "red" if "ball" in prompt else "blue"})

    front, number, features = Front(folder, draw), itertools.count(1), Plain
    names = lambda: f"audit-{next(number):04d}"  # noqa: E731
    opened: Any = features
    return front, AuditDesk(folder / "audits", front, log, folder / "suites", names, opened)
