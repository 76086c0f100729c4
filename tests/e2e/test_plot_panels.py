"""The panels for plots and presets on a bare page, in front of a fake desk: no engine, no form but a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from backend.settings import Settings
from tests.unit.webui.fakes import FakeDesk, picture
from tests.unit.webui.live import Watch, serving, until
from webui.app import api_app

PAGE = """<!doctype html><div id="form"><div id="f-prompt"><textarea>a red cat</textarea></div>
<div id="f-seed"><input type="number" value="7"></div></div><div id="plots"></div><div id="presets"></div>
<script type="module">
import { mount as plots } from "/signet/plots.js";
import { mount as presets } from "/signet/presets.js";
plots(document.getElementById("plots"));
presets(document.getElementById("presets"), { fill: (fields) => (window.filled = fields) });
</script>"""


@pytest.fixture
def desk(tmp_path: Path) -> FakeDesk:
    return FakeDesk(tmp_path, Settings(data=tmp_path))


@pytest.fixture
def watch(browser: Browser, desk: FakeDesk) -> Iterator[Watch]:
    with serving(api_app(desk)) as address:
        context = browser.new_context()
        context.route(address + "/bare", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        found = Watch(context, address)
        found.page.goto(address + "/bare")
        found.page.wait_for_selector("#group-plots")
        yield found
        context.close()


def _side(page: Page, letter: str, axis: str, values: str = "") -> None:
    page.get_by_label(f"{letter} axis").select_option(axis)
    if values:
        page.get_by_label(f"{letter} values").fill(values)


def _told(page: Page, text: str) -> None:
    until(page, f"document.querySelector('#group-plots .outcome').textContent.includes({text!r})")


def test_a_plot_is_counted_made_and_shown(watch: Watch, desk: FakeDesk) -> None:
    page = watch.page
    page.click("#group-plots summary")
    page.get_by_label("X axis").wait_for()
    _side(page, "X", "Steps", "4, 8, 12")
    _side(page, "Y", "Sampler")
    page.get_by_role("button", name="Fill").click()
    assert page.get_by_label("Y values").input_value().startswith("Euler, Euler a, Heun")
    page.get_by_label("Y values").fill("Euler, Eulr")
    _told(page, 'There is no "Eulr". Did you mean "Euler"')
    page.get_by_label("Y values").fill("Euler, Euler a")
    _told(page, "3 × 2 = 6 pictures on 1 sheet")
    page.get_by_role("button", name="Make the plot").click()
    page.wait_for_selector(".plot-sheets img")
    assert "7 of 7 done" in page.inner_text(".plot-run")
    assert desk.asked[0][0]["prompt"] == "a red cat" and desk.asked[0][0]["seed"] == 7
    watch.clean()


def test_what_was_chosen_is_there_after_a_reload(watch: Watch) -> None:
    page = watch.page
    page.click("#group-plots summary")
    page.get_by_label("X axis").wait_for()
    _side(page, "X", "Prompt S/R", 'red, "blue, dark"')
    _told(page, "2 pictures")
    page.reload()
    page.get_by_label("X axis").wait_for()
    assert page.get_by_label("X axis").input_value() == "Prompt S/R"
    assert page.get_by_label("X values").input_value() == 'red, "blue, dark"'
    _told(page, "2 pictures on 1 sheet")
    watch.clean()


def test_a_batch_sends_its_pictures_first(watch: Watch, desk: FakeDesk, tmp_path: Path) -> None:
    page = watch.page
    page.click("#group-plots summary")
    page.get_by_label("X axis").wait_for()
    page.get_by_label("Kind of plot").select_option("batch")
    files = []
    for number in (1, 2):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(picture(number))
    page.set_input_files("#group-plots input[type=file]", files)
    until(page, "document.querySelector('#group-plots').textContent.includes('2 pictures ready')")
    until(page, "document.querySelector('#group-plots').textContent.includes('Choose img2img or upscale')")
    assert len(list((desk.folder / "inputs").rglob("*"))) >= 2
    watch.clean()


def test_a_preset_is_saved_without_words_and_seed_and_used_again(watch: Watch, desk: FakeDesk) -> None:
    page = watch.page
    page.evaluate("document.getElementById('form').insertAdjacentHTML('beforeend', "
                  "'<div id=\"f-steps\"><input type=number value=12></div>')")  # fmt: skip
    page.click("#group-presets summary")
    page.get_by_label("Name of the preset").fill("<b>quick</b>")
    page.get_by_role("button", name="Save").click()
    until(page, "document.querySelector('#group-presets select').value === '<b>quick</b>'")
    assert desk.library.presets.all() == {"<b>quick</b>": {"mode": "txt2img", "steps": 12}}
    page.get_by_role("button", name="Use").click()
    assert page.evaluate("window.filled") == {"mode": "txt2img", "steps": 12}
    watch.page.remove_listener("dialog", watch._dialog)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    until(page, "document.querySelector('#group-presets select').textContent === 'none yet'")
    assert desk.library.presets.all() == {}
    watch.clean()
