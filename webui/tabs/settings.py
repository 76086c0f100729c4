"""What is in force, read-only."""

from __future__ import annotations

import re
from html import escape

import gradio as gr

from backend.settings import Settings
from webui import parts
from webui.texts import SETTINGS_INTRO

_SECRET = re.compile(r"key\b|secret|token|pass(word|phrase)|_url$")


def shown_value(name: str, value: object) -> str:
    """A value as people read it. Secrets, and addresses that may hold a password, are not shown."""
    if value is None or value == ():
        return "not set"
    if _SECRET.search(name):
        return "set, not shown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def settings_table(settings: Settings) -> str:
    rows = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        changed = "" if value == field.default else ' <span class="changed">changed</span>'
        rows.append(
            f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{escape(shown_value(name, value))}{changed}</td>'
            f"<td>{escape(field.description or '')}</td></tr>"
        )
    head = '<tr><th scope="col">Setting</th><th scope="col">In force</th><th scope="col">What it does</th></tr>'
    return f'<table class="settings"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def settings_page(settings: Settings) -> None:
    """Below the table static/refused.js lists the models that cannot be used."""
    parts.mount("policy")
    gr.Markdown(SETTINGS_INTRO, elem_id="settings-intro")
    gr.Markdown(settings_table(settings), elem_id="settings-table")
    parts.mount("refused")
