"""PNG Info, Queue and ControlNet with the real engine behind them."""

from __future__ import annotations

import io
import time
from typing import Any

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

from tests.e2e.conftest import Studio
from tests.unit.webui.live import Watch, until

INFOTEXT = """a red apple on a wooden table
Negative prompt: blurry, text
Steps: 13, Sampler: DDIM, Schedule type: Automatic, CFG scale: 5.5, Seed: 20261121, Size: 256x192, Hobby: sailing"""


def _show(watch: Watch, name: str) -> None:
    watch.page.click(f"#tabs [role=tab][data-tab-id={name}]")


def _disc(text: str = "") -> dict[str, Any]:
    """A red disc as a file to choose, perhaps with A1111's text in it."""
    image = Image.new("RGB", (256, 256), (225, 215, 200))
    ImageDraw.Draw(image).ellipse((58, 58, 198, 198), fill=(170, 20, 25))
    notes = PngInfo()
    if text:
        notes.add_text("parameters", text)
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=notes)
    return {"name": "disc.png", "mimeType": "image/png", "buffer": out.getvalue()}


def _waits(watch: Watch, studio: Studio, number: int) -> None:
    """Until so many jobs stand in line."""
    deadline = time.monotonic() + 20
    while len(studio.get("/queue")["waiting"]) != number:
        assert time.monotonic() < deadline, studio.get("/queue")
        watch.page.wait_for_timeout(50)


def _value(name: str) -> str:
    return f"document.querySelector('#f-{name} input, #f-{name} textarea').value"


def test_a_picture_of_a1111_fills_the_form(watch: Watch) -> None:
    page = watch.open()
    _show(watch, "pnginfo")
    page.set_input_files("#pnginfo-file", _disc(INFOTEXT))
    page.wait_for_selector(".pnginfo .findings", timeout=60_000)
    words = page.inner_text(".pnginfo .answer")
    assert "Made with A1111" in words and "Hobby" in words and "sailing" in words
    assert "No mark of this studio found" in words and "None. That says nothing" in words
    page.get_by_role("button", name="Send to txt2img").locator("visible=true").click()
    page.wait_for_selector("#generate >> visible=true")
    until(page, f"{_value('seed')} === '20261121'")
    found = [page.evaluate(_value(name)) for name in ("prompt", "negative", "cfg", "sampler", "steps", "height")]
    assert found == ["a red apple on a wooden table", "blurry, text", "5.5", "DDIM", "13", "192"]
    watch.clean()


def test_a_paused_queue_is_put_in_order_and_goes_on(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _show(watch, "queue")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    _show(watch, "txt2img")
    page.fill("#f-steps input[type=number]", "4")
    for number, prompt in enumerate(("first asked", "second asked"), 1):
        page.fill("#f-prompt textarea", prompt)
        page.click("#generate")
        _waits(watch, studio, number)
    _show(watch, "queue")
    until(page, "document.querySelectorAll('.job.waiting').length === 2")
    assert studio.get("/queue")["running"] == []
    page.locator(".job.waiting").nth(1).focus()
    page.keyboard.press("Alt+ArrowUp")
    until(page, "document.querySelector('.job.waiting .job-prompt').textContent === 'second asked'")
    assert page.evaluate("document.activeElement.querySelector('.job-prompt').textContent") == "second asked"
    page.get_by_role("button", name="Resume").click()
    until(page, "document.querySelectorAll('.job.waiting').length === 0", timeout=60_000)
    jobs = _ended(page, studio, 2)
    until(page, "document.querySelectorAll('[data-state=done] .thumb').length >= 2", timeout=60_000)
    assert {job["state"] for job in jobs.values()} == {"done"}
    made = {name: studio.get(f"/records/{job['records'][0]}")["passport"]["created"] for name, job in jobs.items()}
    assert made["second asked"] < made["first asked"]
    watch.clean()


def _ended(page: Page, studio: Studio, number: int) -> dict[str, dict[str, Any]]:
    """The newest jobs by prompt, once none of them runs any more."""
    for _ in range(600):
        jobs = {job["request"]["prompt"]: job for job in studio.get(f"/jobs?limit={number}")["jobs"]}
        if not {job["state"] for job in jobs.values()} & {"queued", "running", "sealing"}:
            break
        page.wait_for_timeout(200)
    return jobs


def test_a_model_is_let_go_and_the_next_picture_loads_it_again(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    page.fill("#f-prompt textarea", "a small stone")
    page.fill("#f-steps input[type=number]", "2")
    page.click("#generate")
    page.wait_for_selector("#signet-canvas .passport", timeout=120_000)
    _show(watch, "queue")
    page.locator(".loaded").get_by_role("button").first.click()
    page.wait_for_selector(".loaded .nothing", timeout=30_000)
    assert studio.get("/health")["loaded"] == []
    watch.clean()


WHITE = """async () => {
  const image = document.querySelector('.hint-frame img');
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const pen = canvas.getContext('2d');
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  let white = 0, other = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] > 250) white += 1;
    else if (data[at] > 5) other += 1;
  }
  return [canvas.width, canvas.height, white, other];
}"""


def test_a_control_unit_previews_the_edges_of_a_picture(watch: Watch) -> None:
    page = watch.open()
    _show(watch, "control")
    unit = page.locator(".unit").first
    unit.locator(".well input[type=file]").set_input_files(_disc())
    until(page, "document.querySelector('.unit option[value=canny]')")
    unit.get_by_label("Preprocessor").select_option("canny")
    unit.get_by_role("button", name="Preview", exact=True).click()
    page.wait_for_selector(".hint-frame img >> visible=true")
    width, height, white, other = page.evaluate(WHITE)
    assert (width, height) == (256, 256)
    assert 300 < white < 2000 and other == 0, "thin white lines around the disc on black"
    before = page.get_attribute(".hint-frame img", "src")
    unit.get_by_label("Preprocessor").select_option("invert")
    until(page, f"document.querySelector('.hint-frame img').getAttribute('src') !== {before!r}")
    assert page.evaluate(WHITE)[2] < 300
    watch.clean()


def test_the_starters_edge_control_guides_a_picture(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    _show(watch, "control")
    unit = page.locator(".unit").first
    unit.locator(".well input[type=file]").set_input_files(_disc())
    until(page, "document.querySelector('.unit option[value=starter-edges]')")
    unit.get_by_label("Control model").select_option("starter-edges")
    unit.get_by_label("Preprocessor").select_option("canny")
    until(page, "document.querySelector('.unit-badge')?.textContent === '1 on'")
    page.fill("#f-prompt textarea", "a yellow star")
    page.fill("#f-steps input[type=number]", "6")
    page.click("#generate")
    page.wait_for_selector("#signet-canvas .passport", timeout=120_000)
    job = studio.get("/jobs?limit=1")["jobs"][0]
    passport = studio.get(f"/records/{job['records'][0]}")["passport"]
    assert [network["id"] for network in passport["networks"]] == ["starter-edges"]
    assert [source["relation"] for source in passport["sources"]] == ["input"]
    watch.clean()
