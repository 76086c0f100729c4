"""The one page of the studio, as Gradio blocks: forms, tabs and state. What moves is drawn by static/app.js."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import gradio as gr

from backend.version import NAME
from webui import bridge, parts
from webui.desk import Desk
from webui.tabs.create import form, models_now
from webui.tabs.history import history
from webui.tabs.settings import settings_page
from webui.tabs.verify import verify
from webui.texts import TABS

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Neutral greys and one accent; fonts of the machine, so that nothing is fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=FONTS,
        font_mono=MONO,
    )


def build(desk: Desk) -> gr.Blocks:
    """The form and the canvas stand beside the tabs: every tab of the group Create uses them, the others hide them."""
    drawn: Mapping[str, Callable[[], object]] = {
        "history": history,
        "verify": verify,
        "settings": partial(settings_page, desk.settings),
    }
    with gr.Blocks(title=NAME, analytics_enabled=False, fill_width=True) as blocks:
        start = bridge.first_model(desk)
        with gr.Row(elem_id="topline"):
            model = parts.model_choice(desk.models(), start.id if start else None)
            parts.mount("state")
        parts.table_of_texts()
        with gr.Column(elem_id="studio"):
            with gr.Tabs(elem_id="tabs", selected="txt2img", overflow_behavior="wrap"):
                for name, title in TABS.items():
                    with gr.Tab(title, id=name, render_children=True):
                        draw = drawn.get(name)
                        draw() if draw else parts.mount(name)
            led = form(desk, model, start)
            parts.mount("canvas")
        blocks.load(lambda: models_now(desk, start), None, [model, *led], **parts.QUIET)
    return blocks
