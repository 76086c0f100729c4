"""A real browser for the tests that need one; playwright is imported only then, and may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="playwright is not installed")
    from tests.unit.webui.live import chromium

    with chromium() as found:
        yield found
