"""The ways to make a picture out of another one, and the keyboard, in a real browser with the real engine."""

from __future__ import annotations

import io
import re
import time
import urllib.request
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.e2e.conftest import Studio
from tests.unit.webui.live import Watch, tab, until

CREATE = ("txt2img", "img2img", "inpaint", "upscale")


def _open(watch: Watch, prompt: str = "a red apple", steps: str = "4") -> Page:
    page = watch.open()
    page.fill("#f-prompt textarea", prompt)
    page.fill("#f-steps input[type=number]", steps)
    page.keyboard.press("Tab")
    return page


def _newest(studio: Studio) -> str:
    found = studio.get("/records?limit=1")["records"]
    return str(found[0]["id"]) if found else ""


def _finished(page: Page, studio: Studio, before: str) -> Any:
    """The passport of the picture that came after `before`, once it is on the canvas."""
    deadline = time.monotonic() + 120
    while (ident := _newest(studio)) == before:
        assert time.monotonic() < deadline, page.inner_text("#signet-problem") + page.inner_text("#progress-line")
        page.wait_for_timeout(50)
    until(page, f"document.body.dataset.shown === '{ident}'")
    page.wait_for_selector("body:not(.job-running)")
    page.wait_for_selector("#signet-canvas .passport")
    return studio.get(f"/records/{ident}")["passport"]


def _made(page: Page, studio: Studio) -> Any:
    before = _newest(studio)
    page.click("#generate")
    return _finished(page, studio, before)


def _send(page: Page, target: str) -> None:
    """The picture on the canvas goes to a tab; waits until it lies in the well."""
    page.click("#signet-canvas .send-more")
    page.get_by_role("menuitem", name=re.compile(f"^{target}")).click()
    until(page, f"document.body.dataset.tab === '{target}'")
    until(page, f"/px/.test(document.querySelector('#signet-{target} .well-words')?.textContent)")


def _paint(page: Page) -> None:
    page.locator(".mask-picture canvas").scroll_into_view_if_needed()
    box = page.locator(".mask-picture canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()


def _inked(page: Page) -> int:
    return int(
        page.evaluate(
            """() => {
            const canvas = document.querySelector('.mask-picture canvas');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, at) => at % 4 === 3 && value > 127).length;
            }"""
        )
    )


def _value(page: Page, field: str) -> str:
    return page.input_value(f"[data-field='{field}'] input[type=number] >> visible=true")


def test_a_picture_is_painted_over_and_the_record_repeats_it(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    first = _made(page, studio)
    _send(page, "img2img")
    page.fill("[data-field=denoise] input[type=number] >> visible=true", "0.4")
    page.keyboard.press("Tab")
    passport = _made(page, studio)
    request = passport["request"]
    assert request["mode"] == "img2img" and request["denoise"] == 0.4
    assert request["init_image"] == first["sha256"]
    assert (passport["width"], passport["height"]) == (first["width"], first["height"])
    assert passport["sources"][0]["credentials"] == "valid"

    page.reload()
    page.wait_for_selector("#signet-canvas .passport")
    until(page, "document.body.dataset.tab === 'img2img'")
    until(page, f"document.querySelector('.well-thumb img')?.src.includes('{request['init_image']}')")
    assert _value(page, "denoise") == "0.4"
    watch.clean()


def test_what_is_painted_over_is_made_anew(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    first = _made(page, studio)
    _send(page, "inpaint")
    page.click("#generate")
    page.wait_for_selector("#signet-problem .problem")
    assert "There is no mask." in page.inner_text("#signet-problem")
    assert page.locator(".mask-editor.field-wrong").count() == 1
    _paint(page)
    painted = _inked(page)
    assert painted > 20
    page.keyboard.press("Control+z")
    assert _inked(page) == 0
    page.keyboard.press("Control+y")
    assert _inked(page) == painted
    page.get_by_role("button", name="Invert").click()
    assert _inked(page) > painted
    page.get_by_role("button", name="Undo").click()
    assert _inked(page) == painted
    page.get_by_text("only masked", exact=True).click()
    page.fill("#f-prompt textarea", "a green apple")
    passport = _made(page, studio)
    request = passport["request"]
    assert request["mode"] == "inpaint" and request["inpaint"]["area"] == "masked" and request["inpaint"]["mask"]
    mask = studio.get(f"/inputs/{request['inpaint']['mask']}")
    assert (mask["width"], mask["height"]) == (first["width"], first["height"])
    assert passport["credential"]["state"] == "valid" and passport["watermark"]["p_value"] < 1e-3

    page.reload()
    until(page, "document.body.dataset.tab === 'inpaint'")
    until(page, "document.querySelector('.mask-picture canvas')?.width > 1")
    page.wait_for_timeout(500)
    assert abs(_inked(page) - painted) <= painted * 0.1, "the mask did not come back"
    watch.clean()


def test_a_mask_is_painted_by_keyboard(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    _made(page, studio)
    _send(page, "inpaint")
    page.focus(".mask-picture canvas")
    before = int(_value(page, "mask.size"))
    page.keyboard.press("]")
    assert int(_value(page, "mask.size")) > before
    page.keyboard.press("Space")
    dot = _inked(page)
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    line = _inked(page)
    assert 0 < dot < line
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert _inked(page) == line
    page.keyboard.press("e")
    page.keyboard.press("Space")
    assert _inked(page) < line


def test_the_canvas_grows_where_it_is_asked_to(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    first = _made(page, studio)
    _send(page, "inpaint")
    page.click("#group-outpaint summary")
    page.fill("[data-field='outpaint.right'] input[type=number]", "64")
    page.keyboard.press("Tab")
    assert page.get_attribute(".mask-sheet.grown", "data-size") == f"{first['width'] + 64} × {first['height']}"
    passport = _made(page, studio)
    assert (passport["width"], passport["height"]) == (first["width"] + 64, first["height"])
    assert passport["request"]["inpaint"]["mask"] is None


def test_a_picture_is_enlarged_without_a_prompt(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    first = _made(page, studio)
    _send(page, "upscale")
    assert not page.locator("#f-prompt textarea").is_visible(), "plain enlarging needs no words"
    passport = _made(page, studio)
    assert passport["request"]["mode"] == "upscale" and passport["width"] == 2 * first["width"]
    page.click("[data-field='upscale.diffusion']")
    page.locator("#f-prompt textarea").wait_for()
    passport = _made(page, studio)
    assert passport["request"]["upscale"]["diffusion"] and passport["request"]["denoise"] == 0.35


def test_a_second_larger_pass_and_rarer_things_are_kept(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    page.click("#group-hires summary")
    page.click("[data-field=hires]")
    page.fill("[data-field='hires.scale'] input[type=number]", "1.5")
    page.click("#group-more summary")
    page.fill("[data-field='variation.strength'] input[type=number]", "0.3")
    page.click("[data-field=tiling]")
    assert page.inner_text("#group-more .badge") == "2 set"
    passport = _made(page, studio)
    request = passport["request"]
    assert request["hires"]["width"] == passport["width"] == request["width"] * 1.5
    assert request["tiling"] and request["variation"]["strength"] == 0.3
    page.reload()
    page.wait_for_selector("#signet-canvas .passport")
    until(page, "document.querySelector('[data-field=tiling] input')?.checked")
    assert page.locator("#group-more").get_attribute("open") is not None, "groups stay as they were left"
    assert _value(page, "hires.scale") == "1.5" and _value(page, "variation.strength") == "0.3"
    watch.clean()


def test_a_picture_is_made_and_sent_on_by_keyboard_alone(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    page.focus("#f-prompt textarea")
    page.keyboard.type("a red apple")
    before = _newest(studio)
    page.keyboard.press("Control+Enter")
    _finished(page, studio, before)
    page.focus("#signet-canvas .send-more")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=menuitem]:focus")
    page.keyboard.press("Enter")
    until(page, "/px/.test(document.querySelector('#signet-img2img .well-words')?.textContent)")
    page.focus("#f-prompt textarea")
    before = _newest(studio)
    page.keyboard.press("Control+Enter")
    assert _finished(page, studio, before)["request"]["mode"] == "img2img"


def test_generating_again_interrupts_what_runs(watch: Watch, studio: Studio) -> None:
    page = _open(watch, "the first of two", "150")
    page.click("#generate")
    until(page, r"/\d% · /.test(document.title)", timeout=60_000)
    page.fill("#f-steps input[type=number]", "3")
    page.fill("#f-prompt textarea", "the second of two")
    page.keyboard.press("Control+Enter")
    page.get_by_alt_text("Picture for: the second of two").first.wait_for(timeout=60_000)
    page.wait_for_selector("body:not(.job-running)")
    jobs = studio.get("/jobs?limit=2")["jobs"]
    assert [(job["request"]["prompt"], job["state"]) for job in jobs] == [
        ("the second of two", "done"),
        ("the first of two", "cancelled"),
    ]
    assert "%" not in page.title()


def test_forever_goes_on_until_it_is_cancelled(watch: Watch, studio: Studio) -> None:
    page = _open(watch, "one of many", "25")
    page.click("#generate", button="right")
    page.get_by_role("menuitem", name="Generate forever").click()
    until(page, "document.querySelectorAll('.strip .thumb').length >= 2", timeout=60_000)
    page.wait_for_selector("body.job-running")
    page.click("#cancel")
    page.wait_for_selector("body:not(.forever)")
    page.wait_for_selector("body:not(.job-running)", timeout=30_000)
    many = len(studio.get("/jobs?limit=50")["jobs"])
    page.wait_for_timeout(800)
    assert len(studio.get("/jobs?limit=50")["jobs"]) == many


WEIGHTS = [
    ("a |red apple", 1, "a (red:1.1) apple"),
    ("a [red apple]", 1, "a (red apple:1.1)"),
    ("a (re|d:1.1) apple", 1, "a (red:1.2) apple"),
    ("a (re|d:1.1) apple", -1, "a red apple"),
    ("a ((re|d)) apple", -1, "a (red:1.11) apple"),
    ("a (((re|d))) apple", 1, "a (red:1.43) apple"),
    ("a \\u005bre|d\\u005d apple", 1, "a (red:1.01) apple"),
    ("<lora:x:0.|8>", 1, "<lora:x:0.85>"),
    ("<lora:x:1|>", -1, "<lora:x:0.95>"),
    (r"a \(re|d\) apple", 1, r"a \((red:1.1)\) apple"),
    ("(a (re|d:1.3) apple)", -1, "(a (red:1.2) apple)"),
]
"""Where "|" is the caret and "[" "]" the ends of a selection; \\u005b and \\u005d are brackets of the text itself."""


def _marked(text: str) -> tuple[str, int, int]:
    """The text without its marks, and where the selection starts and ends."""
    text = text.replace("\\u005b", "\1").replace("\\u005d", "\2")
    places = [match.start() - number for number, match in enumerate(re.finditer(r"[\[\]|]", text))]
    return re.sub(r"[\[\]|]", "", text).replace("\1", "[").replace("\2", "]"), places[0], places[-1]


def test_weights_are_turned_by_ctrl_and_arrows(watch: Watch) -> None:
    page = watch.open()
    for marked, turn, expected in WEIGHTS:
        text, start, end = _marked(marked)
        page.fill("#f-prompt textarea", text)
        page.evaluate(f"document.querySelector('#f-prompt textarea').setSelectionRange({start}, {end})")
        page.keyboard.press("Control+ArrowUp" if turn > 0 else "Control+ArrowDown")
        assert page.input_value("#f-prompt textarea") == expected, marked
        page.keyboard.press("Control+z")
        assert page.input_value("#f-prompt textarea") == text, "the browser's own undo takes it back"


def test_items_move_past_their_commas(watch: Watch) -> None:
    page = watch.open()
    page.fill("#f-prompt textarea", "red apple, (one, two:1.2),  table")
    page.evaluate("document.querySelector('#f-prompt textarea').setSelectionRange(2, 2)")
    page.keyboard.press("Alt+ArrowRight")
    assert page.input_value("#f-prompt textarea") == "(one, two:1.2), red apple,  table"
    page.keyboard.press("Alt+ArrowRight")
    assert page.input_value("#f-prompt textarea") == "(one, two:1.2), table,  red apple"
    page.keyboard.press("Alt+ArrowRight")
    page.keyboard.press("Alt+ArrowLeft")
    assert page.input_value("#f-prompt textarea") == "(one, two:1.2), red apple,  table"


def test_the_prompt_is_counted_and_a_pasted_text_fills_the_form(watch: Watch) -> None:
    page = watch.open()
    page.fill("#f-prompt textarea", "a red apple on a table")
    until(page, "/^[5-9]\\/75$/.test(document.querySelector('#f-prompt .tokens').textContent)")
    settings = "Steps: 11, Sampler: Euler, CFG scale: 3.5, Seed: 42, Size: 128x192, Clip skip: 2"
    text = f"a blue boat\nNegative prompt: fog\n{settings}"
    page.fill("#f-prompt textarea", text)
    page.click("#paste")
    until(page, "document.querySelector('#f-prompt textarea').value === 'a blue boat'")
    assert page.input_value("#f-negative textarea") == "fog"
    until(page, "document.querySelector('#f-steps input[type=number]').value === '11'")
    assert page.input_value("#f-seed input") == "42" and page.input_value("#f-height input[type=number]") == "192"
    until(page, "document.querySelector('[data-field=clip_skip] input[type=number]').value === '2'")
    watch.clean()


DROP = """([selector, bytes, type]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "x.png", { type }));
    const event = { dataTransfer: data, bubbles: true, cancelable: true };
    document.querySelector(selector).dispatchEvent(new DragEvent("drop", event));
}"""


def _drop(page: Page, selector: str, data: bytes) -> None:
    page.evaluate(DROP, [selector, list(data), "image/png"])


def test_a_picture_dropped_on_the_prompt_fills_the_form(watch: Watch, studio: Studio) -> None:
    page = _open(watch, "a red apple", "7")
    _made(page, studio)
    file = urllib.request.urlopen(studio.address + (page.get_attribute(".stage img.live", "src") or "")).read()
    page.fill("#f-prompt textarea", "")
    page.fill("#f-steps input[type=number]", "20")
    _drop(page, "#f-prompt textarea", file)
    until(page, "document.querySelector('#f-prompt textarea').value === 'a red apple'")
    until(page, "document.querySelector('#f-steps input[type=number]').value === '7'")
    plain = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(plain, "PNG")
    _drop(page, "#f-prompt textarea", plain.getvalue())
    page.wait_for_selector("#signet-problem .problem")
    assert "does not say how it was made" in page.inner_text("#signet-problem")
    tab(page, "img2img")
    page.wait_for_selector("#signet-img2img .well")
    _drop(page, "#signet-img2img .well", file)
    until(page, "/px/.test(document.querySelector('#signet-img2img .well-words').textContent)")
    watch.clean()


def test_a_repainted_picture_is_repainted_again_or_repeated_from_its_source(watch: Watch, studio: Studio) -> None:
    page = _open(watch)
    first = _made(page, studio)
    _send(page, "inpaint")
    _paint(page)
    page.fill("[data-field='inpaint.blur'] input[type=number]", "7")
    page.keyboard.press("Tab")
    second = _made(page, studio)
    page.get_by_role("button", name="Remove").locator("visible=true").click()
    _send(page, "inpaint")
    shown = "document.querySelector('.mask-picture img').src"
    until(page, f"{shown}.includes('{second['sha256']}')")
    page.wait_for_timeout(500)
    assert page.evaluate(f"{shown}.includes('{second['sha256']}')"), "its own source came back"
    assert _value(page, "inpaint.blur") == "7"
    page.click("#signet-canvas .send-more")
    page.get_by_role("menuitem", name="Repeat it").click()
    until(page, f"{shown}.includes('{first['sha256']}')")
    watch.clean()


def test_a_file_that_is_no_picture_is_refused_in_the_well(watch: Watch) -> None:
    page = watch.open()
    tab(page, "img2img")
    wrong = {"name": "x.png", "mimeType": "image/png", "buffer": b"not a picture"}
    page.set_input_files("#signet-img2img input[type=file]", wrong)
    page.wait_for_selector("#signet-img2img .well-said .problem")
    assert "not a picture of a known kind" in page.inner_text("#signet-img2img .well-said")
    page.fill("#f-prompt textarea", "a red apple")
    page.click("#generate")
    page.wait_for_selector("#signet-img2img .well.field-wrong")


@pytest.mark.parametrize("width", [390, 1280])
def test_no_tab_needs_scrolling_sideways(watch: Watch, studio: Studio, width: int) -> None:
    watch.page.set_viewport_size({"width": width, "height": 844})
    page = _open(watch)
    _made(page, studio)
    for name in CREATE[1:]:
        _send(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas')].filter((n) => n.offsetParent
        && !(n.textContent.trim() || n.getAttribute('aria-label') || n.labels?.length)).map((n) => n.outerHTML)"""
    )
    assert nameless == []
