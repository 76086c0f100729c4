"""The form that all ways to make a picture share: say what you want. static/canvas.js draws what becomes of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import gradio as gr

from backend.types import ModelInfo
from webui import bridge, parts
from webui.desk import Desk
from webui.messages import as_mapping, problem_of


def form(desk: Desk, model: gr.Dropdown, current: ModelInfo | None) -> list[gr.Slider]:
    """Prompt and buttons, then (below the panel of the tab) size, seed, sampler and closed groups of rarer things.

    Returns the components that follow the model, in the order of `models_now`.
    """
    start = bridge.defaults_of(current) if current else {}
    with gr.Column(elem_id="form"):
        with gr.Column(elem_id="say", min_width=0):
            words = parts.prompt_box()
            with gr.Row(elem_id="actions", elem_classes=["row"]):
                generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=3, min_width=120)
                gr.Button("▾", elem_id="generate-more", scale=0, min_width=40)
                gr.Button("Cancel", elem_id="cancel", scale=1, min_width=80)
                gr.Button("↙ Paste", elem_id="paste", scale=0, min_width=80)
            parts.mount("problem")
        with gr.Column(elem_id="knobs", min_width=0):
            size = parts.size_row(current, start, desk.settings)
            start_from = parts.seed_row(desk)
            how = parts.sampler_row(start, desk.settings)
            for group in ("hires", "more", "plots", "presets"):
                parts.mount(group)
    fields = [
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
    _submission(desk, fields, generate)
    _sending(desk, fields)
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


def _submission(desk: Desk, fields: list[Any], generate: gr.Button) -> None:
    """The answer of the front desk reaches the script as a ticket: a hidden text that changes.

    What the script's own controls say (static/extra.js) comes in a hidden field beside the form's values.
    """
    numbers = itertools.count(1)
    extra = parts.hidden_text("extra")
    ticket = gr.Markdown("", elem_id="signet-ticket", elem_classes=["signet-hidden"])

    def submit(*values: Any) -> str:
        # The number makes two equal answers differ, so that the page notices the second one.
        answer = bridge.submitted(desk, values[:-1], values[-1])
        return parts.word("ticket", {**answer, "number": next(numbers)})

    generate.click(submit, [*fields, extra], ticket, **parts.QUIET)


def _sending(desk: Desk, fields: list[Any]) -> None:
    """The script writes `record:ID` into a hidden field and presses a hidden button; the form fills.

    The whole request goes to the script, whose own controls hold the rest of it.
    """
    numbers = itertools.count(1)
    sent = parts.hidden_text("sent")
    button = parts.hidden_button("send")
    restored = gr.Markdown("", elem_id="signet-restored", elem_classes=["signet-hidden"])

    def filled(text: str) -> list[Any]:
        number = {"number": next(numbers), "sent": text[:200]}
        try:
            found = bridge.form_sent(desk, text)
        except Exception as error:  # noqa: BLE001 - an edge: problem_of logs what is unexpected
            answer = {"problem": as_mapping(problem_of(error)), **number}
            return [*[gr.skip()] * len(fields), parts.word("restored", answer)]
        answer = {"request": found.request, "partial": found.partial, **number}
        return [*_updates(desk, found.form), parts.word("restored", answer)]

    button.click(filled, sent, [*fields, restored], **parts.QUIET)


def _updates(desk: Desk, values: Mapping[str, Any]) -> list[Any]:
    """One update for each component; what `values` does not name stays as it is."""
    updates = {name: values.get(name, gr.skip()) for name in bridge.FIELDS}
    if "sampler" in values:
        known = bridge.schedules_of(values["sampler"])
        asked = values.get("schedule")
        updates["schedule"] = gr.Dropdown(choices=list(known), value=asked if asked in known else known[0])
    names = parts.model_names(desk.models())
    there = {"value": values["model"]} if values.get("model") in dict(names).values() else {}
    updates["model"] = gr.Dropdown(choices=names, **there)
    return list(updates.values())


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
