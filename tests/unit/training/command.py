"""The command `python -m training` as a test calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import __main__ as command


def asked(*arguments: str | Path) -> int:
    """Its exit status."""
    return command.main([str(argument) for argument in arguments])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of complaint on stderr."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]
