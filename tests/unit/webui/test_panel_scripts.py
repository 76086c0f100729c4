"""The panels ControlNet, PNG Info and Queue in a real browser before a fake desk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Locator

from backend.settings import Settings
from backend.types import ModelInfo, Principal
from tests.support.library import FewModels
from tests.unit.webui.fakes import MODEL, FakeDesk
from tests.unit.webui.live import Watch, serving, until
from webui.app import create_app

CANNY = replace(MODEL, id="control_v11p_sd15_canny", title="control_v11p_sd15_canny", kind="controlnet")
DEPTH = replace(CANNY, id="sdxl_depth", title="Depth for SDXL", family="sdxl")
STRANGE = '<img src=x onerror="alert(1)"> 𝕒 red apple'


class ControlModels(FewModels):
    """Additions fit a model of their own family."""

    def fits(self, addition: ModelInfo, model: ModelInfo) -> str:
        return "" if addition.family == model.family else f"it is for {addition.family}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDesk, str]]:
    folder = tmp_path_factory.mktemp("data")
    desk = FakeDesk(folder, Settings(data=folder), known=ControlModels(MODEL))
    with serving(create_app(desk)) as address:
        yield desk, address


@pytest.fixture
def desk(served: tuple[FakeDesk, str]) -> FakeDesk:
    """As good as new."""
    found, _ = served
    for kept in (found.all_jobs, found.happened, found.history, found.asked):
        kept.clear()
    found.instant, found.paused = True, False
    found.known.known = (MODEL, CANNY, DEPTH)
    return found


@pytest.fixture
def watch(browser: Browser, served: tuple[FakeDesk, str], desk: FakeDesk) -> Iterator[Watch]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    found = Watch(context, served[1])
    yield found
    context.close()


def _open(watch: Watch, name: str, wanted: str) -> None:
    watch.open()
    watch.page.click(f"#tabs [role=tab][data-tab-id={name}]")
    watch.page.wait_for_selector(wanted)


def _png(text: str = "") -> bytes:
    image = Image.new("RGB", (128, 96), (210, 200, 190))
    ImageDraw.Draw(image).ellipse((30, 20, 90, 80), fill=(160, 20, 20))
    notes = PngInfo()
    if text:
        notes.add_itxt("parameters", text)
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=notes)
    return out.getvalue()


def _bring(unit: Locator) -> None:
    unit.locator(".well input[type=file]").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": _png()})
    unit.locator(".well img").wait_for()


def test_a_control_unit_goes_with_the_request_and_comes_back_with_it(watch: Watch, desk: FakeDesk) -> None:
    _open(watch, "control", ".unit")
    page, unit = watch.page, watch.page.locator(".unit").first
    model, preprocessor = unit.get_by_label("Control model"), unit.get_by_label("Preprocessor")
    until(page, "document.querySelector('.unit option[value=control_v11p_sd15_canny]')")
    greyed = unit.locator("option:disabled", has_text="Depth for SDXL")
    assert "it is for sdxl" in (greyed.text_content() or "")
    model.select_option(CANNY.id)
    assert preprocessor.input_value() == "canny", "the name of the model asks for edges"
    _bring(unit)
    assert unit.get_by_role("checkbox", name="Use Unit 1").is_checked(), "a unit that has all it needs goes on"
    unit.get_by_label("Low threshold, number").fill("60")
    unit.get_by_label("Until, number").fill("0.8")
    assert page.inner_text(".unit-badge").split() == ["1", "on"]

    page.click("#tabs [role=tab][data-tab-id=txt2img]")
    page.fill("#f-prompt textarea", "a round tower")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#signet-canvas .passport")
    fields = desk.asked[0][0]
    (sent,) = fields["control"]
    assert (sent["model"], sent["preprocessor"], sent["low"], sent["end"]) == (CANNY.id, "canny", 60, 0.8)

    page.reload()
    until(page, "document.querySelector('.unit-badge')?.textContent === '1 on'")
    page.click("#tabs [role=tab][data-tab-id=control]")
    until(page, "document.querySelector('.unit .well img')?.naturalWidth === 128")
    assert unit.get_by_label("Low threshold, number").input_value() == "60"
    assert unit.get_by_label("Until, number").input_value() == "0.8"
    watch.clean()


def test_a_unit_that_lacks_something_is_opened_and_named(watch: Watch, desk: FakeDesk) -> None:
    _open(watch, "control", ".unit")
    page = watch.page
    page.get_by_role("checkbox", name="Use Unit 2").check()
    page.fill("#f-prompt textarea", "a round tower")
    page.click("#generate")
    page.wait_for_selector("#signet-problem .problem")
    assert "Unit 2 is on and needs a picture" in page.inner_text("#signet-problem")
    assert page.locator(".unit").nth(1).locator("details[open]").count() == 1
    assert desk.asked == []


def test_a_preprocessor_that_is_not_installed_is_greyed_and_says_what_is_missing(watch: Watch) -> None:
    _open(watch, "control", ".unit")
    page = watch.page
    until(page, "document.querySelector('.unit option[value=depth]:disabled')")
    page.get_by_text("preprocessors not installed here").click()
    assert "depth.onnx" in page.inner_text("#signet-control dl")
    page.get_by_role("button", name="Add a unit").click()
    assert page.locator(".unit").count() == 4
    until(page, "document.querySelectorAll('.unit')[3].querySelector('option[value=depth]:disabled')")
    watch.clean()


def test_the_name_of_a_control_model_says_which_preprocessor_it_wants(watch: Watch) -> None:
    wanted = {
        "control_v11p_sd15_canny": "canny",
        "control_v11p_sd15_softedge": "hed",
        "sd-controlnet-hed": "hed",
        "t2iadapter_openpose_sd14v1": "openpose",
        "control_v11f1p_sd15_depth": "depth",
        "control_v11p_sd15s2_lineart_anime": "lineart",
        "control_v11p_sd15_inpaint": "none",
        "control_v11f1e_sd15_tile": "tile",
        "ip-adapter_sd15": "none",
        "t2iadapter_color_sd14v1": "color",
        "my own net": None,
    }
    page = watch.open()
    script = (
        "(names) => import('/signet/control_words.js').then(({ askedBy }) => names.map((name) => askedBy(name)[0]))"
    )
    assert page.evaluate(script, list(wanted)) == list(wanted.values())


def test_without_control_models_it_says_where_they_go(watch: Watch, desk: FakeDesk) -> None:
    desk.known.known = (MODEL,)
    _open(watch, "control", ".units-empty >> visible=true")
    assert "data/models/controlnet" in watch.page.inner_text(".units-empty")


def test_what_strangers_wrote_is_shown_as_text_and_fills_the_form(watch: Watch) -> None:
    _open(watch, "pnginfo", "#pnginfo-file")
    page = watch.page
    text = f"{STRANGE}\nNegative prompt: blurry\nSteps: 23, Sampler: Euler a, Seed: 99, Wild thing: <b>5</b>"
    page.set_input_files("#pnginfo-file", {"name": "x.png", "mimeType": "image/png", "buffer": _png(text)})
    page.wait_for_selector(".pnginfo .findings")
    shown = page.inner_text(".pnginfo .answer")
    assert STRANGE in shown and "Made with A1111" in shown and "<b>5</b>" in shown and "Content Credentials" in shown
    page.get_by_role("button", name="Send to img2img").click()
    until(page, "document.body.dataset.tab === 'img2img'")
    until(page, f"document.querySelector('#f-prompt textarea').value === {STRANGE!r}")
    assert page.input_value("#f-steps input[type=number]") == "23"
    until(page, "document.querySelector('#signet-img2img .well img')?.naturalWidth === 128")
    watch.clean()


def test_pasted_text_is_read_like_a_picture(watch: Watch) -> None:
    _open(watch, "pnginfo", "#pnginfo-file")
    page = watch.page
    page.get_by_text("Or paste text").click()
    page.fill("#pnginfo-text", "a blue boat\nSteps: 11, Sampler: Euler, Seed: 4")
    page.get_by_role("button", name="Read the text").click()
    page.wait_for_selector(".pnginfo .findings")
    assert page.locator(".pnginfo [data-target]").all_inner_texts() == ["Send to txt2img"], (
        "there is no picture to send"
    )
    page.get_by_role("button", name="Send to txt2img").click()
    until(page, "document.querySelector('#f-prompt textarea').value === 'a blue boat'")


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("image/png", b"not a picture", "not a picture of a known kind"),
        ("image/svg+xml", b"<svg/>", "Drop the file itself"),
        ("image/png", _png(), "does not say how it was made"),
    ],
)
def test_a_picture_that_tells_nothing_says_why(watch: Watch, kind: str, data: bytes, words: str) -> None:
    _open(watch, "pnginfo", "#pnginfo-file")
    watch.page.set_input_files("#pnginfo-file", {"name": "x", "mimeType": kind, "buffer": data})
    until(watch.page, "document.querySelector('.pnginfo .answer').textContent.length > 40")
    assert words in watch.page.inner_text(".pnginfo .answer")
    watch.clean()


def test_the_queue_moves_cancels_and_tells_why_something_failed(watch: Watch, desk: FakeDesk) -> None:
    desk.instant = False
    first, second, third = (desk.submit({"prompt": f"number {n}", "seed": n}, Principal()).id for n in range(3))
    desk.move(first, state="running")
    desk.happen(first, phase="step", step=5, steps=20, fraction=0.25, eta=3.0)
    _open(watch, "queue", f".job.waiting[data-id={third}]")
    page = watch.page
    until(page, "document.querySelector('#signet-queue progress')?.value === 0.25")
    assert "step 5/20" in page.inner_text("#signet-queue")
    page.focus(f".job.waiting[data-id={third}]")
    page.keyboard.press("Alt+ArrowUp")
    page.get_by_role("button", name="Later: number 1").click()
    handle, target = page.locator(f"[data-id={third}] .handle"), page.locator(f".job.waiting[data-id={second}]")
    handle.hover()
    page.mouse.down()
    page.mouse.move(200, (target.bounding_box() or {"y": 0})["y"] + 2, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Cancel all waiting").click()
    assert desk.job(second).state == "queued", "it asks first"
    page.get_by_role("button", name="Cancel all 2").click()
    page.wait_for_selector("#signet-queue .nothing >> text=Nothing waits")
    moves = [one for one in desk.asked if one[0] == "move"]
    assert moves == [("move", third, 0), ("move", second, 1), ("move", third, 0)]
    assert {desk.job(one).state for one in (second, third)} == {"cancelled"}

    desk.move(first, state="failed", problem={"title": "Out", "detail": "The memory of the device was too small."})
    desk.happen(first, phase="failed")
    page.wait_for_selector(".job[data-state=failed]")
    assert "The memory of the device was too small." in page.inner_text(".job[data-state=failed]")
    watch.clean()


def test_the_queue_pauses_shows_what_is_done_and_unloads_models(watch: Watch, desk: FakeDesk) -> None:
    job = desk.submit({"prompt": "a done thing", "seed": 1, "count": 2}, Principal())
    _open(watch, "queue", f".job[data-id={job.id}] .thumb")
    page = watch.page
    assert page.locator(f".job[data-id={job.id}] .thumb").count() == 2
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    assert desk.paused and "Paused" in page.inner_text(".queue-state")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert not desk.paused
    with page.expect_response("**/models/unload"):
        page.get_by_role("button", name="Unload Starter").click()
    assert ("unload", "starter") in desk.asked
    page.locator(f".job[data-id={job.id}] .thumb").first.click()
    page.wait_for_selector("dialog .opened")
    watch.clean()


def test_the_queue_asks_nothing_while_nobody_looks(watch: Watch) -> None:
    _open(watch, "queue", ".queue-head")
    page = watch.page
    page.click("#tabs [role=tab][data-tab-id=history]")
    page.wait_for_timeout(300)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2600)
    assert not [url for url in asked if url.endswith("/queue")]
