"""What the door out says when it stays shut."""

from __future__ import annotations

from backend.errors import Problem, SignetError


class Unsealable(SignetError):
    """The picture is fine to see but cannot be marked or signed, so it is withheld."""

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(Problem("unsealable", "The picture cannot be sealed", detail, 422, hint=hint))
