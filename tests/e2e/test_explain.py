"""See how it works: a film, the maps of its words, plots and the strip of guidance, with the starter model."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.e2e.conftest import Studio
from tests.unit.webui.live import Watch, tab, until

PROMPT = "a red apple on a green meadow"
RUNNING = 60_000


def _open(watch: Watch) -> Page:
    page = watch.open()
    tab(page, "Explain")
    page.wait_for_selector("#path-schedules input")
    page.fill("#explain-prompt", PROMPT)
    page.fill("#explain-seed", "5")
    page.fill("#explain-steps", "8")
    return page


def _run(page: Page) -> None:
    page.click("#explain-go")
    page.wait_for_selector("#explain-open", timeout=RUNNING)


def _drawn(selector: str) -> str:
    return f"[...document.querySelectorAll({selector!r})].every((image) => image.naturalWidth > 0)"


def test_a_picture_is_watched_from_noise_to_its_passport(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    _run(page)
    assert page.locator(".film-thumb").count() == 8
    until(page, _drawn(".film-pair img, .film-thumb img, .film-sealed img"))
    noisy, clean = (page.locator(".film-pair img").nth(place) for place in (0, 1))
    last = noisy.get_attribute("src"), clean.get_attribute("src")
    assert "step 8 of 8" in page.inner_text(".film-words") and "σ" in page.inner_text(".film-words")
    page.focus("#film-step")
    page.keyboard.press("ArrowLeft")
    until(page, "/step 7 of 8/.test(document.querySelector('.film-words').textContent)")
    until(page, f"document.querySelector('.film-pair img').src !== {last[0]!r}")
    assert clean.get_attribute("src") != last[1] and noisy.get_attribute("src") != clean.get_attribute("src")
    page.keyboard.press("Home")
    page.click("#film-play")
    until(page, "/step 8 of 8/.test(document.querySelector('.film-words').textContent)")
    job = studio.get("/jobs?limit=1")["jobs"][0]
    record = studio.get(f"/records/{job['records'][0]}")
    assert record["passport"]["request"]["prompt"] == PROMPT
    page.click("#explain-open")
    page.wait_for_selector("dialog .opened")
    watch.clean()


def test_every_word_shows_where_it_looked(watch: Watch) -> None:
    page = _open(watch)
    _run(page)
    assert page.locator(".word span").all_inner_texts() == PROMPT.split()
    until(page, _drawn(".word img"))
    page.locator(".word", has_text="apple").hover()
    until(page, "/“apple” at step 8/.test(document.querySelector('.words-view output').textContent)")
    hovered = page.locator(".words-view .heat").get_attribute("src")
    page.locator(".word", has_text="meadow").click()
    until(page, f"document.querySelector('.words-view .heat').src !== {hovered!r}")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".word[aria-checked=true]").inner_text().startswith("green")
    page.locator(".film-thumb").first.click()
    until(page, "/“green” at step 1:/.test(document.querySelector('.words-view output').textContent)")
    assert (
        page.locator(".words-view .heat").evaluate("image => Math.max(image.naturalWidth, image.naturalHeight)") <= 64
    )
    watch.clean()


def test_schedules_are_drawn_and_compared_before_anything_runs(watch: Watch) -> None:
    page = _open(watch)
    page.wait_for_selector(".plot svg")
    before = page.locator(".plot").first.locator("path.plot-line").count()
    page.check("#path-schedules input[value='KL Optimal']")
    until(page, f"document.querySelector('.plot').querySelectorAll('path.plot-line').length === {before + 1}")
    assert "KL Optimal goes from" in (page.locator(".plot svg title").first.text_content() or "")
    page.locator(".plot-place").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".plot-readout").first.inner_text().startswith("step 1:")
    page.select_option("#explain-sampler", "Heun")
    until(page, "/asked 15 times in 8 steps/.test(document.querySelector('.paths').textContent)")
    watch.clean()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(watch: Watch, width: int) -> None:
    watch.page.set_viewport_size({"width": width, "height": 844})
    page = _open(watch)
    _run(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(
        "[...document.querySelectorAll('#signet-explain :is(section, figure, svg, form)')]"
        ".every((part) => part.getBoundingClientRect().right <= innerWidth)"
    )
    watch.clean()


def test_what_cannot_be_is_said_beside_the_form(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    before = studio.get("/jobs?limit=1")["jobs"][:1]
    page.fill("#explain-prompt", "  ")
    page.click("#explain-go")
    assert "Write a prompt first" in page.inner_text("#explain-line")
    page.fill("#explain-prompt", PROMPT)
    page.fill("#explain-cfg", "99")
    page.click("#explain-go")
    page.wait_for_selector("#signet-explain .problem")
    assert "cfg" in page.inner_text("#signet-explain .problem")
    assert page.locator("#explain-go").is_enabled()
    page.fill("#guidance-values", "1, many")
    page.click("#guidance-make")
    assert "numbers from 1 to 30" in page.inner_text(".guidance")
    assert studio.get("/jobs?limit=1")["jobs"][:1] == before
    watch.clean()


def test_guidance_is_compared_and_sealed_as_a_sheet(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    page.fill("#guidance-values", "1 4 9")
    page.click("#guidance-make")
    until(page, "!document.querySelector('#guidance-sheet').disabled", timeout=RUNNING)
    assert page.locator(".guidance-strip figcaption").all_inner_texts() == ["CFG 1", "CFG 4", "CFG 9"]
    until(page, _drawn(".guidance-strip img"))
    made = studio.get("/jobs?limit=3")["jobs"]
    assert [job["request"]["cfg"] for job in reversed(made)] == [1, 4, 9]
    assert len({job["request"]["seed"] for job in made}) == 1
    page.click("#guidance-sheet")
    page.wait_for_selector("#guidance-open", timeout=RUNNING)
    sheet = studio.get("/jobs?limit=1")["jobs"][0]
    assert sheet["request"]["mode"] == "grid" and sheet["request"]["grid"]["columns"] == 3 and sheet["images"] == 1
    watch.clean()
