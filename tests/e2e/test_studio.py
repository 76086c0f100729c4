"""What people do, in a real browser, with the real engine, seal and history."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import SHOTS, Studio
from tests.unit.webui.live import Watch, tab, until

LONG = "150"
"""Steps enough to look, cancel and reload while the job runs."""


def _ask(watch: Watch, prompt: str, steps: str) -> None:
    watch.page.fill("#f-prompt textarea", prompt)
    watch.page.fill("#f-steps input[type=number]", steps)
    watch.page.keyboard.press("Control+Enter")
    watch.page.wait_for_selector("body.job-running", timeout=60_000)


def _done(watch: Watch, prompt: str) -> None:
    watch.page.get_by_alt_text(f"Picture for: {prompt}").first.wait_for(timeout=120_000)
    watch.page.wait_for_selector("body:not(.job-running)", timeout=60_000)
    watch.page.wait_for_selector("#signet-canvas .passport")


def _preview(watch: Watch) -> None:
    shown = "document.querySelector('.stage img.live')?.src.includes('/preview?v=')"
    until(watch.page, f"{shown} && document.querySelector('.stage img.live').naturalWidth > 0", timeout=120_000)


def _shot(watch: Watch, name: str) -> None:
    """A screenshot for the documentation, small enough to be checked in."""
    if SHOTS:
        watch.page.evaluate("scrollTo(0, 0)")
        watch.page.wait_for_timeout(600)
        shot = Image.open(io.BytesIO(watch.page.screenshot()))
        shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(Path(SHOTS) / f"{name}.png", optimize=True)


def test_a_newcomer_makes_a_picture_and_knows_what_it_is(watch: Watch, studio: Studio, tmp_path: Path) -> None:
    page = watch.open()
    assert page.locator("#f-prompt textarea").get_attribute("placeholder")
    page.click("#example-1")
    until(page, "document.querySelector('#f-prompt textarea').value.length > 3")
    prompt = page.input_value("#f-prompt textarea")
    _ask(watch, prompt, "60")
    _preview(watch)
    assert page.locator("body.job-running").count() == 1, "the preview came only after the end"
    assert re.search(r"step \d+/60", page.inner_text("#progress-line"))
    before = page.locator(".stage").bounding_box()
    _done(watch, prompt)
    assert page.locator(".stage").bounding_box() == before, "the picture jumped"
    words = page.inner_text("#signet-canvas .passport")
    assert (
        "inspected" in words and "marked (p <" in words and "signed by this installation, not on a trust list" in words
    )
    assert "60 steps" in words

    src = page.locator(".stage img.live").get_attribute("src") or ""
    record = studio.get(f"/records/{src.split('/')[-2]}")
    with page.expect_download() as waiting:
        page.click("#signet-canvas a[download]")
    saved = tmp_path / "saved.png"
    waiting.value.save_as(saved)
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == record["passport"]["sha256"]
    _shot(watch, "txt2img")

    tab(page, "Verify")
    page.set_input_files("#verify-file", saved)
    page.wait_for_selector(".findings", timeout=60_000)
    findings = page.inner_text(".findings")
    assert "Intact" in findings and "A mark of this studio is in the pixels" in findings and "Byte for byte" in findings
    _shot(watch, "verify")
    page.click("#verify-open")
    page.wait_for_selector("dialog .opened")
    page.keyboard.press("Escape")
    watch.clean()


def test_a_job_is_cancelled_within_a_step_and_leaves_nothing(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    before = len(studio.get("/records")["records"])
    _ask(watch, "a picture nobody wants", LONG)
    _preview(watch)
    page.click("#cancel")
    page.wait_for_selector("body:not(.job-running)", timeout=15_000)
    assert page.inner_text("#progress-line").startswith("Cancelled")
    assert page.input_value("#f-prompt textarea") == "a picture nobody wants"
    assert len(studio.get("/records")["records"]) == before
    assert studio.get("/jobs?limit=1")["jobs"][0]["state"] == "cancelled"
    watch.clean()


def test_escape_cancels_too(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _ask(watch, "another one", LONG)
    until(page, "/step/.test(document.querySelector('#progress-line').textContent)", timeout=60_000)
    page.keyboard.press("Escape")
    page.wait_for_selector("body:not(.job-running)", timeout=15_000)
    assert studio.get("/jobs?limit=1")["jobs"][0]["state"] == "cancelled"


def test_a_reload_goes_on_where_it_was(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _ask(watch, "a green boat", LONG)
    _preview(watch)
    page.reload()
    page.wait_for_selector("body.job-running", timeout=30_000)
    _preview(watch)
    until(page, "document.querySelector('#f-prompt textarea').value === 'a green boat'")
    _done(watch, "a green boat")
    page.reload()
    _done(watch, "a green boat")
    assert page.input_value("#f-seed input") == "-1"
    jobs = [job for job in studio.get("/jobs")["jobs"] if job["request"]["prompt"] == "a green boat"]
    assert len(jobs) == 1 and jobs[0]["state"] == "done"
    watch.clean()


def test_history_finds_a_picture_by_a_word_and_repeats_it(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _ask(watch, "a yellow umbrella", "8")
    _done(watch, "a yellow umbrella")
    tab(page, "History")
    page.locator(".tile").first.wait_for()
    page.fill("#history-search", "umbre")
    until(page, "document.querySelectorAll('.tile').length === 1", timeout=20_000)
    page.click(".tile")
    page.wait_for_selector("dialog .infotext pre")
    assert "Steps: 8" in page.inner_text("dialog .infotext pre")
    page.click("dialog .stars button:nth-of-type(4)")
    page.wait_for_selector("dialog .star.lit >> nth=3")
    seed = studio.get("/records?q=umbrella")["records"][0]["passport"]["seed"]
    assert studio.get("/records?q=umbrella&rating=4")["records"]
    page.get_by_role("button", name="Send to txt2img").locator("visible=true").click()
    page.wait_for_selector("#generate >> visible=true")
    until(page, f"document.querySelector('#f-seed input').value === '{seed}'")
    tab(page, "History")
    page.fill("#history-search", "zzzz")
    page.wait_for_selector(".empty-state")
    page.get_by_role("button", name="Clear the search").click()
    page.locator(".tile").first.wait_for()
    _shot(watch, "history")
    tab(page, "Settings")
    page.wait_for_selector("#settings-table table")
    _shot(watch, "settings")
    watch.clean()


def test_a_deleted_picture_is_gone_after_asking_twice(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _ask(watch, "a doomed teapot", "4")
    _done(watch, "a doomed teapot")
    tab(page, "History")
    page.fill("#history-search", "doomed")
    until(page, "document.querySelectorAll('.tile').length === 1", timeout=20_000)
    page.click(".tile")
    page.click("dialog .deletion button")
    assert studio.get("/records?q=doomed")["records"]
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_selector(".empty-state")
    assert not studio.get("/records?q=doomed")["records"]


def test_what_cannot_be_done_is_said_beside_the_form(watch: Watch) -> None:
    page = watch.open()
    page.fill("#f-prompt textarea", "")
    page.click("#generate")
    page.wait_for_selector("#signet-problem .problem")
    assert "The prompt is empty." in page.inner_text("#signet-problem")
    tab(page, "Verify")
    page.set_input_files("#verify-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"not a picture"})
    page.wait_for_selector("#signet-verify .problem")
    assert "not a PNG, JPEG, WebP or AVIF" in page.inner_text("#signet-verify .problem")
    watch.clean()


@pytest.mark.parametrize("width", [390, 700, 1280])
def test_no_width_needs_scrolling_sideways(watch: Watch, width: int) -> None:
    watch.page.set_viewport_size({"width": width, "height": 844})
    page = watch.open()
    for name in ("txt2img", "History", "Verify", "Settings"):
        tab(page, name)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_everything_that_can_be_used_has_a_name(watch: Watch) -> None:
    page = watch.open()
    for name in ("txt2img", "History", "Verify", "Settings"):
        tab(page, name)
        page.wait_for_timeout(200)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, textarea, a[href]')]
            .filter((n) => n.offsetParent && !(n.textContent.trim() || n.getAttribute('aria-label') || n.title
              || n.labels?.length || n.placeholder || n.getAttribute('aria-labelledby')))
            .map((n) => n.outerHTML.slice(0, 200))"""
        )
        assert nameless == [], json.dumps(nameless)


def test_all_jobs_that_a_restart_interrupted_are_offered_again(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _ask(watch, "an interrupted tower", LONG)
    _preview(watch)
    page.fill("#f-prompt textarea", "an interrupted bridge")
    page.fill("#f-steps input[type=number]", "4")
    page.click("#generate")  # Ctrl+Enter would stop the first one
    until(page, "/1 more waiting/.test(document.querySelector('#progress-line').textContent)")
    studio.stop(kill=True)
    until(page, "/connection was lost/.test(document.querySelector('#progress-line').textContent)", timeout=20_000)
    studio.start()
    offers = page.locator(".interrupted li")
    until(page, "document.querySelectorAll('.interrupted li').length === 2", timeout=60_000)
    page.evaluate("localStorage.clear()")
    page.reload()
    until(page, "document.querySelectorAll('.interrupted li').length === 2")
    assert page.get_by_role("button", name="Run all again").count() == 1
    offers.filter(has_text="tower").get_by_role("button", name="Dismiss").click()
    until(page, "document.querySelectorAll('.interrupted li').length === 1")
    offers.get_by_role("button", name="Run again").click()
    _done(watch, "an interrupted bridge")
    assert offers.count() == 0
    jobs = {job["request"]["prompt"]: (job["state"], job["attempt"]) for job in studio.get("/jobs?limit=2")["jobs"]}
    assert jobs == {"an interrupted bridge": ("done", 2), "an interrupted tower": ("cancelled", 1)}
