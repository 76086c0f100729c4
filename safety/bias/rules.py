"""How figures are computed: the false discovery rate, and the draws behind intervals."""

from __future__ import annotations

from dataclasses import dataclass

from backend.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class Rules:
    """`q` is the false discovery rate, `bootstrap` the draws behind an interval. Equal seeds give equal figures."""

    q: float = 0.05
    bootstrap: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.q < 1:
            raise InvalidParameter("q", f"q is {self.q:g}; it must lie between 0 and 1.", "0.05 is usual.")
        if not 100 <= self.bootstrap <= 100_000:
            raise InvalidParameter("bootstrap", f"{self.bootstrap} draws cannot be used.", "Use 100 to 100000.")
        if not 0 <= self.seed < 2**53:
            raise InvalidParameter("seed", "The seed must be a whole number from 0 to 2^53 - 1.")
