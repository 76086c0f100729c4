"""Groups of components that tabs share. Every component has an id that style, script and tests rely on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from backend import samplers
from backend.settings import Settings
from backend.types import ModelInfo
from webui import bridge
from webui.desk import Desk
from webui.texts import EXAMPLES, HELP, LABELS, PLACEHOLDER

QUIET: Mapping[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""For every event: answered at once, no flicker, no place in Gradio's own API."""


def _titled(name: str) -> dict[str, Any]:
    """Label and id; the hover help follows from the id (see `table_of_texts`)."""
    return {"label": LABELS[name], "elem_id": f"f-{name}"}


def word(kind: str, value: Mapping[str, Any]) -> str:
    """Data for the script as a word of hexadecimal digits: passes through Markdown untouched, cannot be markup."""
    return f"{kind}-" + json.dumps(value).encode("ascii").hex()


def table_of_texts() -> None:
    """Labels and help, for the script's own controls and to hang on the components."""
    words = word("texts", {"help": HELP, "labels": LABELS})
    gr.Markdown(words, elem_id="signet-texts", elem_classes=["signet-hidden"])


def mount(name: str) -> gr.Column:
    """An empty place that static/app.js fills; the part after "signet-" says with what."""
    return gr.Column(elem_id=f"signet-{name}", elem_classes=["mount"], min_width=0)


def hidden_text(name: str) -> gr.Textbox:
    """A field that the script fills, hidden by style alone, so that its value takes part in events."""
    return gr.Textbox(elem_id=f"signet-{name}", elem_classes=["signet-hidden"], container=False, label=name)


def hidden_button(name: str) -> gr.Button:
    return gr.Button(name, elem_id=f"signet-{name}", elem_classes=["signet-hidden"])


def model_names(models: tuple[ModelInfo, ...]) -> list[tuple[str, str]]:
    """What the list of models shows, and the id of each."""
    return [(f"{model.title} · {model.family} · {model.native_size} px", model.id) for model in models]


def model_choice(models: tuple[ModelInfo, ...], chosen: str | None) -> gr.Dropdown:
    """Takes values that are not in its list: whether a model is there is for the front desk to say, in its words."""
    names = model_names(models)
    return gr.Dropdown(names, value=chosen, allow_custom_value=True, **_titled("model"), scale=0, min_width=280)


@dataclass(frozen=True, slots=True)
class PromptBox:
    prompt: gr.Textbox
    negative: gr.Textbox


def prompt_box() -> PromptBox:
    prompt = gr.Textbox(lines=3, max_lines=12, placeholder=PLACEHOLDER, **_titled("prompt"))
    with gr.Row(elem_id="examples", elem_classes=["row"]):
        for number, example in enumerate(EXAMPLES):
            button = gr.Button(example, size="sm", elem_id=f"example-{number}", min_width=60)
            button.click(lambda text=example: text, None, prompt, **QUIET)
    negative = gr.Textbox(lines=1, max_lines=6, placeholder=HELP["negative"], **_titled("negative"))
    return PromptBox(prompt, negative)


@dataclass(frozen=True, slots=True)
class SamplerRow:
    sampler: gr.Dropdown
    schedule: gr.Dropdown
    steps: gr.Slider
    cfg: gr.Slider


def sampler_row(start: Mapping[str, Any], settings: Settings) -> SamplerRow:
    first = str(start.get("sampler", samplers.names()[0]))
    with gr.Row(elem_classes=["row"]):
        steps = gr.Slider(1, settings.max_steps, int(start.get("steps", 20)), step=1, **_slider("steps"))
        cfg = gr.Slider(1, 30, float(start.get("cfg", 7)), step=0.1, **_slider("cfg"))
    with gr.Row(elem_classes=["row"]):
        sampler = gr.Dropdown(list(samplers.names()), value=first, min_width=120, **_titled("sampler"))
        known = list(bridge.schedules_of(first))
        schedule = gr.Dropdown(known, value=str(start.get("schedule", known[0])), min_width=120, **_titled("schedule"))
    sampler.input(schedule_for, [sampler, schedule], schedule, **QUIET)
    return SamplerRow(sampler, schedule, steps, cfg)


def schedule_for(sampler: str, schedule: str) -> Any:
    """The schedules of a sampler; the chosen one stays if it can."""
    known = bridge.schedules_of(sampler)
    return gr.Dropdown(choices=list(known), value=schedule if schedule in known else known[0])


@dataclass(frozen=True, slots=True)
class SizeRow:
    width: gr.Slider
    height: gr.Slider


def size_row(model: ModelInfo | None, start: Mapping[str, Any], settings: Settings) -> SizeRow:
    factor = model.factor if model else 8
    bounds = {"minimum": max(64, factor), "maximum": settings.max_side_px, "step": factor}
    with gr.Row(elem_classes=["row", "size-row"]):
        width = gr.Slider(value=int(start.get("width", 256)), **bounds, **_slider("width"))
        swap = gr.Button("⇅ swap", elem_id="size-swap", elem_classes=["mini"], min_width=60, scale=0)
        height = gr.Slider(value=int(start.get("height", 256)), **bounds, **_slider("height"))
    swap.click(lambda width, height: (height, width), [width, height], [width, height], **QUIET)
    return SizeRow(width, height)


@dataclass(frozen=True, slots=True)
class SeedRow:
    seed: gr.Number
    count: gr.Slider


def seed_row(desk: Desk) -> SeedRow:
    with gr.Row(elem_classes=["row", "seed-row"]):
        seed = gr.Number(bridge.RANDOM, precision=0, min_width=120, **_titled("seed"))
        dice = gr.Button("⚄ random", elem_id="seed-dice", elem_classes=["mini"], min_width=60, scale=0)
        recycle = gr.Button("♻ reuse", elem_id="seed-recycle", elem_classes=["mini"], min_width=60, scale=0)
    count = gr.Slider(1, desk.settings.max_count, 1, step=1, **_slider("count"))
    dice.click(lambda: bridge.RANDOM, None, seed, **QUIET)
    recycle.click(lambda: bridge.newest_seed(desk), None, seed, **QUIET)
    return SeedRow(seed, count)


def _slider(name: str) -> dict[str, Any]:
    return {**_titled(name), "buttons": ["reset"], "min_width": 120}
