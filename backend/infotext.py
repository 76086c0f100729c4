"""Read and write the A1111 "parameters" text (as A1111 1.10.1 does).

Pure functions on strings: no files, no images. The container (PNG, JPEG, WebP) is backend.images' business.

A1111's grammar cannot hold every prompt. A line of the prompt that starts with "Negative prompt:" reads back as the
negative, blanks at the ends of lines and Windows line ends are lost, and the last line counts as parameters only if it
shows at least three of them. So `write` adds "Signet prompt" and "Signet negative", quoted, exactly when the plain
lines would read back otherwise, and `read` prefers them; other programs show them as two more parameters. With fewer
than three parameters there is nothing to hold on to: such a text is all prompt, for us as for A1111.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

FIELD_ORDER: tuple[str, ...] = (
    "Steps", "Sampler", "Schedule type", "CFG scale", "Image CFG scale", "Seed", "Face restoration", "Size",
    "Model hash", "Model", "FP8 weight", "Cache FP16 weight for LoRA", "VAE hash", "VAE", "Variation seed",
    "Variation seed strength", "Seed resize from", "Denoising strength", "Conditional mask weight", "Clip skip", "ENSD",
    "Token merging ratio", "Token merging ratio hr", "Init image hash", "RNG", "Tiling",
    # From here on A1111 keeps the order in which its parts came by; one fixed order repeats better.
    "Hires upscale", "Hires resize", "Hires steps", "Hires upscaler", "Hires checkpoint", "Hires sampler",
    "Hires schedule type", "Hires CFG Scale", "Hires prompt", "Hires negative prompt", "VAE Encoder", "VAE Decoder",
    "Mask mode", "Mask blur", "Inpaint area", "Masked area padding", "Masked content", "Noise multiplier",
    "Lora hashes", "TI hashes", "Emphasis", "Refiner", "Refiner switch at",
)  # fmt: skip
LAST_FIELDS: tuple[str, ...] = ("Version", "User", "Civitai resources", "Civitai metadata", "Hashes")
RAW_JSON_FIELDS = frozenset({"Civitai resources", "Civitai metadata", "Hashes"})
"""Written as bare JSON, not as a quoted string: Civitai's reader looks for exactly that."""
SCHEDULE_NAMES: tuple[str, ...] = (
    "Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal", "Align Your Steps",
    "Simple", "Normal", "DDIM", "Beta",
)  # fmt: skip

_NEGATIVE = "Negative prompt:"
_EXACT_PROMPT = "Signet prompt"
_EXACT_NEGATIVE = "Signet negative"
_LEAST_FIELDS = 3
_LEAST_NAME = 2
_DEFAULTS: Mapping[str, str] = {
    "Clip skip": "1",
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Hires resize-1": "0",
    "Hires resize-2": "0",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": "32",
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
}
_SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")
_VERSION = re.compile(r"v([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})(?:-([0-9]{1,6}))?")
_BACKWARD: tuple[tuple[tuple[int, int, int, int], str, re.Pattern[str], str], ...] = (
    ((1, 6, 0, 0), "Prompt", re.compile(r"\["), "Prompt editing was timed by the steps before 1.6.0."),
    ((1, 6, 0, 0), "Sampler", re.compile(r"^(DDIM|PLMS)$"), "Prompts were padded in another way before 1.6.0."),
    ((1, 7, 0, 225), "Version", re.compile(""), "The noise schedule was rounded to 16 bit before 1.7.0-225."),
    ((1, 8, 0, 0), "Refiner", re.compile("."), "The refiner took over by sampling steps before 1.8.0."),
)
"""A1111's backward steps: below which version, for which field, and what differs. Told, not imitated."""


@dataclass(frozen=True, slots=True)
class Infotext:
    """`parameters` keeps the file's order and every key, known or not, as it stands there."""

    prompt: str
    negative: str
    parameters: Mapping[str, str]


# ---- writing


def write(prompt: str, negative: str, parameters: Mapping[str, object]) -> str:
    """The text for one picture; None values are left out, and a key equal to its value is written once.

    Keys come in FIELD_ORDER, then the others as given, then LAST_FIELDS. Characters that no A1111 key can have are
    taken out of keys, and a key needs two that are left. With three parameters or more, `read` gives back exactly what
    went in.
    """
    cleaned = {_clean_name(key): str(value) for key, value in parameters.items() if value is not None}
    given = {key: value for key, value in cleaned.items() if len(key) >= _LEAST_NAME}
    text = _joined(prompt, negative, given)
    if len(given) < _LEAST_FIELDS:
        return text
    found = read(text)
    if (found.prompt, found.negative) == (prompt, negative):
        return text
    return _joined(prompt, negative, {**given, _EXACT_PROMPT: prompt, _EXACT_NEGATIVE: negative})


def _joined(prompt: str, negative: str, parameters: Mapping[str, str]) -> str:
    lines = [prompt]
    if negative:
        lines.append(f"{_NEGATIVE} {negative}")
    # Keys alone do not count among the three fields by which a reader knows the line.
    alone = sum(key != value for key, value in parameters.items()) >= _LEAST_FIELDS
    lines.append(", ".join(_field(key, parameters[key], alone) for key in _ordered(parameters)))
    return "\n".join(lines).strip()


def _ordered(keys: Iterable[str]) -> list[str]:
    places = {key: place for place, key in enumerate(FIELD_ORDER)}
    last = {key: len(FIELD_ORDER) + 1 + place for place, key in enumerate(LAST_FIELDS)}
    return sorted(keys, key=lambda key: places.get(key, last.get(key, len(FIELD_ORDER))))


def _clean_name(key: str) -> str:
    return "".join(char for char in key if _in_name(char)).strip(" -/")


def _field(key: str, value: str, alone: bool) -> str:
    if key in RAW_JSON_FIELDS and _is_json(value):
        return f"{key}: {value}"
    if key == value and alone:
        return key
    return f"{key}: {_quote(value)}"


def _is_json(text: str) -> bool:
    if text[:1] not in ("{", "[") or "\n" in text:
        return False
    try:
        return json.JSONDecoder().raw_decode(text)[1] == len(text)
    except (ValueError, RecursionError):
        return False


def _quote(text: str) -> str:
    # A1111 quotes for the first three only; a quote in front or blanks at an end would be misread without quotes.
    if any(char in text for char in ",:\n\r") or text.startswith('"') or text != text.strip():
        return json.dumps(text, ensure_ascii=False)
    return text


def lora_hashes(pairs: Iterable[tuple[str, str]]) -> str:
    """The value of "Lora hashes" from (name, AutoV3 hash): commas and colons leave the names, as in A1111."""
    named = ((name.replace(",", "").replace(":", ""), digest) for name, digest in pairs)
    return ", ".join(f"{name}: {digest}" for name, digest in named if name and digest)


def ti_hashes(pairs: Iterable[tuple[str, str]]) -> str:
    """The value of "TI hashes" from (name, hash); the same shape as "Lora hashes"."""
    return lora_hashes(pairs)


def hashes(
    *,
    model: str | None = None,
    vae: str | None = None,
    refiner: str | None = None,
    loras: Iterable[tuple[str, str]] = (),
    embeddings: Iterable[tuple[str, str]] = (),
) -> str | None:
    """The value of "Hashes" for Civitai: one JSON object of short hashes, or None if there is nothing to say."""
    single = {"model": model, "vae": vae, "refiner": refiner}
    many = {f"lora:{name}": digest for name, digest in loras} | {f"embed:{name}": digest for name, digest in embeddings}
    known = {key: digest for key, digest in {**single, **many}.items() if digest}
    return json.dumps(known, ensure_ascii=False) if known else None


# ---- reading


def read(text: str) -> Infotext:
    """Whatever can be read from a stranger's text; a text without parameters is all prompt. Never raises.

    Takes time in proportion to the length of the text, whatever it is.
    """
    *head, last = text.strip().split("\n")
    fields, whole = _fields(last)
    if whole < _LEAST_FIELDS:
        head, fields = [*head, last], {}
    prompt: list[str] = []
    negative: list[str] = []
    target = prompt
    for line in map(str.strip, head):
        if line.startswith(_NEGATIVE):
            target, line = negative, line[len(_NEGATIVE) :].strip()
        target.append(line)
    exact_prompt = fields.pop(_EXACT_PROMPT, None)
    exact_negative = fields.pop(_EXACT_NEGATIVE, None)
    return Infotext(
        "\n".join(prompt) if exact_prompt is None else exact_prompt,
        "\n".join(negative) if exact_negative is None else exact_negative,
        fields,
    )


def _fields(line: str) -> tuple[dict[str, str], int]:
    """The fields of a parameter line, and how many of them are a name with a value (and not a key alone)."""
    found: dict[str, str] = {}
    whole = 0
    for name, value in _pairs(line):
        found[name] = name if value is None else value
        whole += value is not None
    return found, whole


def _pairs(line: str) -> Iterator[tuple[str, str | None]]:
    """(name, value) from left to right, (name, None) for a key alone.

    A1111 uses one regular expression, whose search starts anew at every character: quadratic on hostile text. Here the
    colon is found first and the name is what stands before it, so every character is looked at a bounded number of
    times (a quoted value ends at the next bare quote, where the next attempt starts at the earliest).
    """
    place = 0
    decoder = json.JSONDecoder()
    tried: set[str] = set()
    while place < len(line):
        colon = line.find(":", place)
        if colon < 0:
            yield from ((name, None) for name in _keys_alone(line[place:]))
            return
        start = colon
        while start > place and _in_name(line[start - 1]):
            start -= 1
        name = line[start:colon].lstrip(" -/")
        if len(name) < _LEAST_NAME:
            place = colon + 1
            continue
        before, between, _ = line[place : colon - len(name)].rpartition(",")
        yield from ((key, None) for key in _keys_alone(before if between else ""))
        value_start = colon + 1
        while value_start < len(line) and line[value_start].isspace():
            value_start += 1
        value: str | None = None
        place = value_start
        if name in RAW_JSON_FIELDS and name not in tried:
            tried.add(name)
            value, place = _json_value(decoder, line, value_start)
        if value is None and line.startswith('"', value_start):
            value, place = _quoted_value(line, value_start)
        if value is None:
            comma = line.find(",", value_start)
            place = len(line) if comma < 0 else comma + 1
            value = line[value_start : place if comma < 0 else comma].strip()
        yield name.strip(), value


def _keys_alone(between: str) -> Iterator[str]:
    """Keys equal to their values, written once; A1111 writes them so but does not read them back."""
    for piece in between.split(","):
        name = piece.strip()
        if len(name) >= _LEAST_NAME and name == _clean_name(name):
            yield name


def _json_value(decoder: json.JSONDecoder, line: str, start: int) -> tuple[str | None, int]:
    if line[start : start + 1] not in ("{", "["):
        return None, start
    try:
        _, end = decoder.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None, start
    return (line[start:end], end + 1) if line[end : end + 1] in ("", ",") else (None, start)


_QUOTED = re.compile(r'"(?:[^\\"]|\\.)*"(?=,|$)')


def _quoted_value(line: str, start: int) -> tuple[str | None, int]:
    match = _QUOTED.match(line, start)
    if match is None:
        return None, start
    try:
        return str(json.loads(match[0])), match.end() + 1
    except ValueError:
        return match[0], match.end() + 1


def _in_name(char: str) -> bool:
    return char.isalnum() or char in "_ -/"


def filled(found: Infotext) -> dict[str, str]:
    """The parameters as A1111's reader hands them to its faces, with "Prompt" and "Negative prompt".

    "WxH" values also come as "<name>-1" and "<name>-2", missing fields have A1111's defaults, an old sampler name with
    its schedule is split, and the first pass size of old hires texts becomes today's size.
    """
    fields = {"Prompt": found.prompt, "Negative prompt": found.negative, **found.parameters}
    for name, value in found.parameters.items():
        if sides := _SIZE.fullmatch(value):
            fields |= {f"{name}-1": sides[1], f"{name}-2": sides[2]}
    if "Schedule type" not in found.parameters:
        fields["Sampler"], fields["Schedule type"] = split_sampler(found.parameters.get("Sampler", ""))
        if not fields["Sampler"]:
            del fields["Sampler"]
    first, size = (_SIZE.fullmatch(found.parameters.get(name, "")) for name in ("First pass size", "Size"))
    if first and size and "0" not in first.groups():
        fields |= {"Hires resize-1": size[1], "Hires resize-2": size[2], "Size-1": first[1], "Size-2": first[2]}
    if "Emphasis" not in fields and any(bracket in found.prompt + found.negative for bracket in "(["):
        fields["Emphasis"] = "Original"
    return {**_DEFAULTS, **fields}


def split_sampler(name: str) -> tuple[str, str]:
    """Sampler and schedule of an old-style name: "DPM++ 2M Karras" is ("DPM++ 2M", "Karras")."""
    for schedule in sorted(SCHEDULE_NAMES, key=len, reverse=True):
        head, tail = name[: -len(schedule)], name[-len(schedule) :]
        if tail.casefold() == schedule.casefold() and head.endswith(" ") and head.strip():
            return head.strip(), schedule
    return name, "Automatic"


def version_notes(found: Infotext) -> tuple[str, ...]:
    """Sentences on where the A1111 that wrote this text worked in another way than 1.10.1 does."""
    match = _VERSION.search(found.parameters.get("Version", "")[:100])
    if match is None:
        return ()
    version = tuple(int(part or 0) for part in match.groups())
    fields = {**found.parameters, "Prompt": found.prompt + found.negative}
    return tuple(note for below, name, sign, note in _BACKWARD if version < below and sign.search(fields.get(name, "")))
