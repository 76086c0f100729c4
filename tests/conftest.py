"""Shared by all tests: quiet threads, no network, a data folder, and the fate of browser tests without a browser."""

from __future__ import annotations

import os

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # before anybody imports torch, whose idle threads spin otherwise

from collections.abc import Generator
from pathlib import Path

import pytest

from backend.netguard import forbid_outgoing, keep_quiet
from webui.doctor import find_browser

keep_quiet()
forbid_outgoing()

REQUIRED = bool(os.environ.get("SIGNET_REQUIRE_BROWSER"))
_NO_BROWSER = "no Chromium found (install one, or let SIGNET_BROWSER name it)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests under tests/e2e are browser tests; without a browser they are skipped, each with the reason."""
    missing = find_browser() is None
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)
        if missing and item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.skip(reason=_NO_BROWSER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SIGNET_REQUIRE_BROWSER a browser test that was skipped, for whatever reason, has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("e2e"):
        item.config.stash.setdefault(_SKIPPED, []).append(f"{item.nodeid}: {_reason(report)}")
        if REQUIRED:
            report.outcome = "failed"
            report.longrepr = f"SIGNET_REQUIRE_BROWSER is set, but this browser test was skipped: {_reason(report)}"
    return report


_SKIPPED: pytest.StashKey[list[str]] = pytest.StashKey()


def _reason(report: pytest.TestReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash.get(_SKIPPED, [])
    if skipped:
        terminalreporter.section("browser tests that were skipped")
        for line in skipped:
            terminalreporter.line(line)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The Chromium to drive. Only for tests marked e2e, which are skipped without one."""
    found = find_browser()
    if found is None:
        pytest.skip(_NO_BROWSER)
    return found
