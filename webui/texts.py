"""Every label, hover help and sentence of the forms in one table, so that it can be read, corrected and translated."""

from __future__ import annotations

LABELS = {
    "model": "Model",
    "prompt": "Prompt",
    "negative": "Negative prompt",
    "sampler": "Sampler",
    "schedule": "Schedule",
    "steps": "Steps",
    "cfg": "Guidance CFG",
    "width": "Width px",
    "height": "Height px",
    "seed": "Seed",
    "count": "Pictures",
}

HELP = {
    "model": "The model that paints. What each one costs in memory and what its licence allows is on its card.",
    "prompt": "What the picture shows. Plain words; the most important ones first.",
    "negative": "What to keep out of the picture.",
    "sampler": "How noise is turned into a picture, step by step.",
    "schedule": "How the noise is spread over the steps. Automatic is what the model was made for.",
    "steps": "More steps take longer and change less and less.",
    "cfg": "How strictly the picture follows the prompt. 1 ignores the negative prompt and is twice as fast.",
    "width": "Width of the picture in pixels.",
    "height": "Height of the picture in pixels.",
    "seed": "The number a picture starts from. The same seed and settings give the same picture; -1 draws a new one.",
    "count": "How many pictures to make; each next one uses the next seed.",
    "swap": "Swap width and height",
    "dice": "Draw a new seed each time (-1)",
    "recycle": "Use the seed of your newest picture again",
    "generate": "Make the picture (Ctrl+Enter)",
    "cancel": "Stop within one step (Esc)",
}

PLACEHOLDER = 'Say what you want to see, for example "a red apple on a wooden table"'
EXAMPLES = ("a red apple", "a penguin, cartoon style", "a sunflower on a light blue background")

TABS = {"txt2img": "txt2img", "history": "History", "verify": "Verify", "settings": "Settings"}
GROUPS = {"txt2img": "Create", "history": "Library", "verify": "Trust", "settings": "System"}

SETTINGS_INTRO = (
    "What is in force, read-only. Values come from the defaults, then `config.toml` in the data folder, then "
    "environment variables, then the command line, and are fixed while the studio runs."
)
