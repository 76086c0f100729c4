"""The one page of the studio, as Gradio blocks: forms, tabs and state. What moves is drawn by static/app.js."""

from __future__ import annotations

import gradio as gr

from backend.version import NAME
from webui import bridge, parts
from webui.desk import Desk
from webui.tabs.history import history
from webui.tabs.settings import settings_page
from webui.tabs.txt2img import models_now, txt2img
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
    with gr.Blocks(title=NAME, analytics_enabled=False, fill_width=True) as blocks:
        start = bridge.first_model(desk)
        with gr.Row(elem_id="topline"):
            model = parts.model_choice(desk.models(), start.id if start else None)
            parts.mount("state")
        parts.hover_help()
        with gr.Tabs(elem_id="tabs", selected="txt2img", overflow_behavior="wrap") as tabs:
            with gr.Tab(TABS["txt2img"], id="txt2img"):
                led = txt2img(desk, model, start, tabs)
            with gr.Tab(TABS["history"], id="history", render_children=True):
                history()
            with gr.Tab(TABS["verify"], id="verify", render_children=True):
                verify()
            with gr.Tab(TABS["settings"], id="settings", render_children=True):
                settings_page(desk.settings)
        blocks.load(lambda: models_now(desk, start), None, [model, *led], **parts.QUIET)
    return blocks
