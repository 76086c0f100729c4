"""Covered pictures, the review, the policy and the Passport page in a real browser before a fake desk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Page

from backend.settings import Settings
from backend.types import Principal
from tests.support.toy_audits import toy_audits
from tests.unit.webui.fakes import FakeDesk
from tests.unit.webui.live import Watch, serving
from webui.app import create_app


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDesk, str]]:
    folder = tmp_path_factory.mktemp("data")
    desk = FakeDesk(folder, Settings(data=folder))
    with serving(create_app(desk)) as address:
        yield desk, address


@pytest.fixture
def desk(served: tuple[FakeDesk, str]) -> FakeDesk:
    desk, _ = served
    desk.history.clear()
    desk.trust._trust.log.entries.clear()
    return desk


@pytest.fixture
def page(browser: Browser, served: tuple[FakeDesk, str]) -> Iterator[Page]:
    context = browser.new_context()
    watch = Watch(context, served[1])
    yield watch.open()
    watch.clean()
    context.close()


def until(met: Callable[[], bool]) -> None:
    for _ in range(200):
        if met():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within ten seconds")


def tab(page: Page, name: str) -> None:
    page.locator(f'#tabs [role=tab][data-tab-id="{name}"]').click()


def log(desk: FakeDesk, event: str) -> list[object]:
    return list(desk.trust._trust.log.said(event))


def test_a_covered_picture_is_fetched_only_when_somebody_asks(page: Page, desk: FakeDesk) -> None:
    record = desk.keep(desk.request("a red apple"), state="flagged")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    tab(page, "history")
    page.locator(f'.tile[data-id="{record.id}"]').click()
    cover = page.locator("dialog .cover")
    cover.wait_for()
    assert "flagged by opennsfw 0.93" in cover.inner_text()
    assert not [url for url in asked if url.endswith("/file") or "reveal" in url]
    assert page.locator("dialog a", has_text="Download").is_hidden()
    cover.get_by_role("button", name="Show it anyway").click()
    until(lambda: page.locator("dialog .picture img").last.evaluate("(image) => image.naturalWidth") == 96)
    assert page.locator("dialog a", has_text="Download").is_visible()
    assert log(desk, "reveal") == [{"record": record.id}]


def test_the_owner_decides_in_the_review(page: Page, desk: FakeDesk) -> None:
    for number in range(2):
        desk.keep(desk.request(f"a red apple {number}"), index=number, state="flagged")
    tab(page, "review")
    items = page.locator(".review-item")
    items.first.wait_for()
    assert items.count() == 2
    items.first.get_by_role("button", name="Look").click()
    until(lambda: items.first.locator("img").evaluate("(image) => image.naturalWidth") == 96)
    items.first.get_by_label("Note").fill("an apple is an apple")
    items.first.get_by_role("button", name="False alarm").click()
    until(lambda: items.count() == 1)
    (decision,) = desk.trust._trust.log.said("review")
    assert decision["decision"] == "false-alarm"
    items.first.get_by_role("button", name="Withhold").click()
    until(lambda: "Nothing waits" in page.locator("#signet-review .queue-state").inner_text())
    tab(page, "history")
    page.locator(".tile .veil", has_text="withheld").wait_for()


def test_a_change_of_the_policy_is_sent_and_what_is_always_refused_has_no_switch(page: Page, desk: FakeDesk) -> None:
    tab(page, "settings")
    row = page.locator('tr[data-category="violence"]')
    row.wait_for()
    assert page.locator('tr[data-category="sexual-minors"] select').count() == 0
    row.locator("select").select_option("refuse")
    until(lambda: bool(log(desk, "policy")))
    assert log(desk, "policy") == [{"edit": {"actions": {"violence": "refuse"}}}]
    page.get_by_role("button", name="classroom").click()
    until(lambda: len(log(desk, "policy")) == 2)


def test_the_passport_is_shown_row_by_row_with_the_duties(page: Page, desk: FakeDesk) -> None:
    record = desk.keep(desk.request("a red apple"))
    tab(page, "history")
    page.locator(f'.tile[data-id="{record.id}"]').click()
    page.locator("dialog .trust-row", has_text=record.id).wait_for()
    assert "none unmet" in page.locator("dialog .passport-page summary").inner_text()


def test_the_log_is_read_newest_first_and_checked(page: Page, desk: FakeDesk) -> None:
    record = desk.keep(desk.request("a red apple"))
    desk.trust.decide(record.id, "released", "", Principal())
    tab(page, "review")
    page.locator("summary", has_text="Audit log").click()
    page.locator(".log-table td", has_text="review").first.wait_for()
    page.get_by_role("button", name="Check the chain").click()
    page.get_by_text("unbroken").wait_for()


def test_an_audit_is_chosen_watched_read_and_signed(page: Page, desk: FakeDesk, tmp_path: Path) -> None:
    front, audits = toy_audits(tmp_path, desk.trust._trust.log)
    desk.audits = audits
    try:
        tab(page, "audit")
        page.reload()
        tab(page, "audit")
        page.select_option("#audit-suite", "two")
        page.fill("#audit-n", "6")
        page.locator(".audit-size", has_text="12 pictures").wait_for()
        page.click("#audit-start")
        page.locator(".audit-row h4", has_text="a ball").wait_for()
        words = page.locator(".audit-result").inner_text()
        assert "Measure: colour" in words and "red 100 %" in " ".join(words.split())
        assert page.locator(".audit-row svg").first.get_attribute("aria-label")
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Sign off").click()
        page.get_by_text("Signed off by Ada").first.wait_for()
        assert page.get_by_role("link", name="Open the report").is_visible()
        assert len(front.asked) > 0 and log(desk, "sign-off")
        page.screenshot(path=str(tmp_path / "audit.png"))
    finally:
        audits.close()
