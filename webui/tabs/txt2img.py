"""Say what you want, watch it form, know what you got."""

from __future__ import annotations

import itertools
from typing import Any

import gradio as gr

from backend.errors import SignetError
from backend.types import ModelInfo
from webui import bridge, parts
from webui.desk import Desk


def txt2img(desk: Desk, model: gr.Dropdown, current: ModelInfo | None, tabs: gr.Tabs) -> list[gr.Slider]:
    """The form on the left; on the right the canvas, which static/canvas.js draws from the event stream of the job.

    Returns the components that follow the model, in the order of `models_now`.
    """
    start = bridge.defaults_of(current) if current else {}
    with gr.Row(elem_id="txt2img"):
        with gr.Column(elem_id="form", scale=5, min_width=320):
            words = parts.prompt_box()
            with gr.Row(elem_id="actions", elem_classes=["row"]):
                generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=3, min_width=120)
                gr.Button("Cancel", elem_id="cancel", scale=1, min_width=80)
            parts.mount("problem")
            size = parts.size_row(current, start, desk.settings)
            start_from = parts.seed_row(desk)
            how = parts.sampler_row(start, desk.settings)
        parts.mount("canvas")
    form = [
        model,
        words.prompt,
        words.negative,
        how.sampler,
        how.schedule,
        how.steps,
        how.cfg,
        size.width,
        size.height,
        start_from.seed,
        start_from.count,
    ]
    _submission(desk, form, generate)
    _sending(desk, form, tabs)
    led = [how.steps, how.cfg, size.width, size.height]
    model.input(lambda chosen: _for_model(desk, chosen), model, led, **parts.QUIET)
    return led


def models_now(desk: Desk, start: ModelInfo | None) -> list[Any]:
    """The models that are there when a page is opened, and the choice, should `start` no longer be the first."""
    choices = parts.model_names(desk.models())
    first = bridge.first_model(desk)
    if first is None or (start and first.id == start.id):
        return [gr.Dropdown(choices=choices), *[gr.skip()] * 4]
    return [gr.Dropdown(choices=choices, value=first.id), *_for_model(desk, first.id)]


def _submission(desk: Desk, form: list[Any], generate: gr.Button) -> None:
    """The answer of the front desk reaches the script as a ticket: a hidden text that changes."""
    numbers = itertools.count(1)
    ticket = gr.Markdown("", elem_id="signet-ticket", elem_classes=["signet-hidden"])

    def submit(*values: Any) -> str:
        # The number makes two equal answers differ, so that the page notices the second one.
        return parts.word("ticket", {**bridge.submitted(desk, values), "number": next(numbers)})

    generate.click(submit, form, ticket, **parts.QUIET)


def _sending(desk: Desk, form: list[Any], tabs: gr.Tabs) -> None:
    """The script writes `record:ID` into a hidden field and presses a hidden button; the form fills."""
    sent = parts.hidden_text("sent")
    button = parts.hidden_button("send")

    def filled(text: str) -> list[Any]:
        try:
            values = bridge.form_sent(desk, text)
        except SignetError:
            return [gr.skip()] * (len(form) + 1)
        updates: list[Any] = [values[name] for name in bridge.FIELDS]
        known = bridge.schedules_of(values["sampler"])
        updates[bridge.FIELDS.index("schedule")] = gr.Dropdown(choices=list(known), value=values["schedule"])
        names = parts.model_names(desk.models())
        there = {"value": values["model"]} if values["model"] in dict(names).values() else {}
        updates[bridge.FIELDS.index("model")] = gr.Dropdown(choices=names, **there)
        stay = text.startswith("job:")
        return [*updates, gr.skip() if stay else gr.Tabs(selected="txt2img")]

    button.click(filled, sent, [*form, tabs], **parts.QUIET)


def _for_model(desk: Desk, chosen: str) -> list[Any]:
    """A model brings its own steps, guidance and size, and sizes move in its own steps."""
    for model in desk.models():
        if model.id == chosen:
            values = bridge.defaults_of(model)
            side = {"step": model.factor, "minimum": max(64, model.factor)}
            return [
                values.get("steps", gr.skip()),
                values.get("cfg", gr.skip()),
                gr.Slider(value=values["width"], **side),
                gr.Slider(value=values["height"], **side),
            ]
    return [gr.skip()] * 4
