"""LoRAs and models in a real browser, with the real engine: cards, and a small training from pictures to a sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from backend import images
from tests.e2e.conftest import SHOTS, Studio
from tests.support.headers import lora, save
from tests.unit.webui.live import Watch, tab, until

PROMPT = "#f-prompt textarea"


def _shelve(studio: Studio) -> None:
    folder = studio.data / "models" / "loras" / "styles"
    folder.mkdir(parents=True, exist_ok=True)
    said = {"ss_base_model_version": "sd_v1", "modelspec.trigger_phrase": "blueprint style", "modelspec.license": "CC0"}
    save(folder / "ink.safetensors", lora(256), said)
    shutil.copyfile(Path(__file__).parents[2] / "webui" / "static" / "icon.png", folder / "ink.preview.png")


def _shot(page: Page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def test_a_card_puts_its_lora_into_the_prompt_and_takes_it_out(watch: Watch, studio: Studio) -> None:
    _shelve(studio)
    page = watch.open()
    page.fill(PROMPT, "a house")
    tab(page, "LoRA")
    card = page.locator('.addition-card[data-id="ink"]')
    card.wait_for(timeout=30_000)
    until(page, "document.querySelector('.addition-card img')?.naturalWidth > 0")
    card.locator(".card-face").click()
    assert page.input_value(PROMPT) == "a house <lora:ink:1>, blueprint style"
    expect(card).to_have_class("addition-card inside")
    assert "<lora:ink:1>" in page.inner_text(".prompt-now")

    card.get_by_role("button", name="Details").click()
    page.wait_for_selector(".addition-open .strength")
    page.fill(".addition-open .strength input[type=number] >> nth=0", "0.6")
    assert "<lora:ink:0.6>" in page.input_value(PROMPT)
    page.get_by_label("Notes").fill("for plans <b>only</b>")
    page.locator(".addition-dialog").get_by_role("button", name="Save").click()
    page.wait_for_selector(".notes [role=status] .hint")
    assert studio.get("/models/lora/ink")["notes"] == "for plans <b>only</b>"
    _shot(page, "lora-details")
    page.keyboard.press("Escape")

    card.locator(".card-face").click()
    assert "<lora:" not in page.input_value(PROMPT)
    page.fill("#lora-search", "nothing like it")
    page.wait_for_selector(".lora-wall .empty-state")
    watch.clean()


def test_a_lora_that_is_dropped_into_the_folder_appears_by_itself(watch: Watch, studio: Studio) -> None:
    _shelve(studio)
    page = watch.open()
    tab(page, "LoRA")
    page.wait_for_selector('.addition-card[data-id="ink"]', timeout=30_000)
    save(studio.data / "models" / "loras" / "late.safetensors", lora(2048), {"ss_base_model_version": "sdxl_base_v1-0"})
    late = page.locator('.addition-card[data-id="late"]')
    late.wait_for(timeout=20_000)
    assert "unfit" in (late.get_attribute("class") or "") and "SDXL" in late.inner_text()
    page.get_by_label("Only what fits the model").check()
    late.wait_for(state="detached")
    watch.clean()


def test_the_models_tab_shows_what_is_in_memory_and_chooses_a_model(watch: Watch, studio: Studio) -> None:
    page = watch.open()
    page.fill("#f-steps input[type=number]", "7")
    tab(page, "Models")
    card = page.locator('.model-card[data-id="starter"]')
    card.wait_for(timeout=30_000)
    page.wait_for_selector(".memory meter")
    expect(card.locator(".in-use")).to_be_visible()
    expect(card.locator(".in-memory")).to_be_visible(timeout=10_000)
    assert "Apache-2.0" in card.inner_text()
    card.get_by_role("button", name="Use Starter").click()
    until(page, "document.querySelector('#f-steps input[type=number]').value === '20'")
    _shot(page, "models")
    card.get_by_role("button", name="Unload Starter").click()
    expect(card.locator(".in-memory")).to_be_hidden(timeout=15_000)
    watch.clean()


def _bring(page: Page, folder: Path) -> None:
    """Two small pictures with captions."""
    files = []
    for number, name in enumerate(("a red square", "a blue square")):
        pixels = np.full((128, 128, 3), 250, np.uint8)
        pixels[30:90, 30:90] = ((200, 20, 20), (20, 20, 200))[number]
        files += [folder / f"{number}.png", folder / f"{number}.txt"]
        files[-2].write_bytes(images.encode_png(pixels))
        files[-1].write_text(name)
    tab(page, "LoRA")
    page.locator(".training-panel summary").first.click()
    page.set_input_files("#training-files", files)
    until(page, "document.querySelectorAll('.training-pictures li').length === 2", timeout=30_000)
    until(page, "document.querySelector('[data-field=resolution] input').value === '128'")


def _fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.fill(f".training-form [data-field={name}] input", value)


def test_a_small_training_shows_its_loss_and_a_sample_picture(watch: Watch, studio: Studio, tmp_path: Path) -> None:
    page = watch.open()
    _bring(page, tmp_path)
    assert sorted(box.input_value() for box in page.locator(".training-pictures textarea").all()) == [
        "a blue square",
        "a red square",
    ]
    _fill(page, name="squares", steps="6", sample_every="3", sample_prompt="a square")
    page.click("#training-start")
    course = page.locator(".course")
    course.wait_for(timeout=30_000)
    until(page, "document.querySelector('.course')?.dataset.state === 'done'", timeout=180_000)
    until(page, "document.querySelectorAll('.course .plot-line').length >= 2")
    until(page, "document.querySelectorAll('.sample img').length === 2", timeout=120_000)
    until(page, "[...document.querySelectorAll('.sample img')].every((one) => one.naturalWidth > 0)")
    (training,) = studio.get("/training")
    assert (training["state"], training["step"], len(training["losses"])) == ("done", 6, 6)
    record = studio.get(f"/records/{training['samples'][1]['records'][0]}")["passport"]
    assert "<lora:squares:1>" in record["request"]["prompt"] and record["credential"]["state"] == "valid"
    _shot(page, "training")

    page.locator('.addition-card[data-id="squares"]').wait_for(timeout=20_000)
    course.get_by_role("button", name="Use it in the prompt").click()
    until(page, "document.body.dataset.tab === 'txt2img'")
    assert "<lora:squares:1>" in page.input_value(PROMPT)
    watch.clean()


def test_a_training_that_is_stopped_goes_on_on_a_narrow_page_too(watch: Watch, studio: Studio, tmp_path: Path) -> None:
    watch.page.set_viewport_size({"width": 390, "height": 800})
    page = watch.open()
    _bring(page, tmp_path)
    _fill(page, name="../squares", steps="400", sample_every="0")
    page.click("#training-start")
    page.wait_for_selector("#training-problem .problem")
    assert page.locator(".field-wrong[data-field=name]").count() == 1, "the field at fault is marked"
    _fill(page, name="long")
    page.click("#training-start")
    course = page.locator(".course", has=page.locator("h3", has_text="long"))
    course.wait_for()
    for _ in range(600):
        if int(course.get_attribute("data-points") or 0) > 2:
            break
        page.wait_for_timeout(200)
    course.get_by_role("button", name="Stop").click()
    on = course.get_by_role("button", name="Go on from step")
    on.wait_for(timeout=60_000)
    step = next(one["step"] for one in studio.get("/training") if one["name"] == "long")
    assert 2 < step < 400
    wide = "[...document.querySelectorAll('#signet-lora :not(.sr-only)')].filter((one) => one.getClientRects().length"
    wide += " && one.getBoundingClientRect().right + scrollX > innerWidth).map((one) => one.className)"
    assert page.evaluate(wide) == [], "nothing sticks out to the side"
    _shot(page, "training-narrow")
    on.click()
    course.get_by_role("button", name="Stop").click()
    on.wait_for(timeout=60_000)
    assert next(one["step"] for one in studio.get("/training") if one["name"] == "long") >= step
    course.get_by_role("button", name="Forget this training").click()
    course.get_by_role("button", name="Forget its pictures").click()
    course.wait_for(state="detached")
    assert "long" not in [one["name"] for one in studio.get("/training")]
    watch.clean()
