"""The history by what pictures show, in a real browser before a fake desk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, Page, expect

from backend.settings import Settings
from tests.unit.webui.fakes import FakeDesk
from tests.unit.webui.live import Watch, serving, tab
from webui.app import create_app

SHOTS = os.environ.get("SIGNET_SCREENSHOTS")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDesk, str]]:
    folder = tmp_path_factory.mktemp("data")
    desk = FakeDesk(folder, Settings(data=folder))
    for number, prompt in enumerate(("a red apple", "an apple tree", "a blue house")):
        desk.keep(desk.request(prompt, seed=number))
    desk.keep(desk.request("an apple that is covered"), state="flagged")
    with serving(create_app(desk)) as address:
        yield desk, address


@pytest.fixture
def page(browser: Browser, served: tuple[FakeDesk, str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watch = Watch(context, served[1])
    page = watch.open()
    tab(page, "History")
    page.wait_for_selector(".wall .tile")
    yield page
    watch.clean()
    context.close()


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(400)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def test_by_meaning_the_nearest_come_first_and_covered_pictures_do_not_come(page: Page) -> None:
    page.fill("#history-search", "apple")
    expect(page.locator(".wall .tile")).to_have_count(3)
    page.check("#history-meaning")
    expect(page.get_by_role("heading", name="Nearest first")).to_be_visible()
    expect(page.locator(".wall .tile")).to_have_count(2)
    expect(page.locator(".wall-words")).to_have_text("2 pictures found, nearest first")
    shot(page, "meaning")
    page.fill("#history-search", "")
    expect(page.locator(".wall .tile")).to_have_count(4)
    expect(page.get_by_role("heading", name="Nearest first")).to_have_count(0)


def test_pictures_that_wait_to_be_looked_at_are_told_and_come(page: Page, served: tuple[FakeDesk, str]) -> None:
    meaning = served[0].meaning
    meaning.waiting = 2
    page.check("#history-meaning")
    page.fill("#history-search", "apple")
    expect(page.locator(".wall-words")).to_contain_text("2 pictures not looked at yet")
    meaning.waiting = 0
    expect(page.locator(".wall-words")).to_have_text("2 pictures found, nearest first", timeout=10_000)


def test_more_like_this_leads_to_the_wall_and_back(page: Page) -> None:
    page.get_by_role("button", name="Open: a red apple").click()
    shot(page, "opened")
    page.get_by_role("button", name="More like this").click()
    expect(page.locator(".picture-dialog")).to_have_count(0)
    expect(page.locator(".likeness")).to_contain_text("Like: a red apple")
    expect(page.locator(".wall .tile")).to_have_count(2)
    expect(page.locator(".wall").get_by_role("button", name="Open: a red apple")).to_have_count(0)
    shot(page, "like")
    page.get_by_role("button", name="Show all pictures again").click()
    expect(page.locator(".wall .tile")).to_have_count(4)
    assert page.locator(".likeness").inner_text() == ""


def test_a_covered_picture_offers_no_search_by_what_it_shows(page: Page) -> None:
    page.get_by_role("button", name="Open: an apple that is covered").click()
    page.wait_for_selector(".opened")
    assert page.get_by_role("button", name="More like this").count() == 0
