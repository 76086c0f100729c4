"""ComfyUI: no parameters but the graph itself. Walk back from the sampler to text, size, model and LoRAs.

A graph can be anything; what is read here is what a picture with one prompt, one model and up to two passes means.
Everything about further passes is kept among the unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from backend.dialects.found import Found, json_of, known, number, size, stem, with_loras, words
from backend.dialects.graph import Graph, Link, Node, endings, from_api, from_editor, upstream
from backend.dialects.names import sampling, upscaler_of
from backend.images import Decoded

_SETTINGS = ("noise", "guider", "sampler", "sigmas", "scheduler", "seed", "noise_seed", "steps", "cfg", "sampler_name")
_LATENTS = ("latent_image", "latent", "samples", "latents", "pixels", "image", "images", "samples_to", "upscale_model")
_MODELS = ("model", "guider", "unet", "model1", "base_model", "pipe", "basic_pipe")
_TEXT_INPUTS = ("text", "text_g", "text_l", "t5xxl", "clip_l", "clip_g", "prompt", "string", "value")
_TEXT_SOURCES = ("text", "string", "value", "prompt", "Text", "STRING", "string_a", "string_b", "text1", "text2")
_NOT_CONDITIONING = words("clip model vae image control_net clip_vision clip_vision_output mask")
_MOST_ENDINGS = 8
_MOST_PASSES = 8
_REACH = 64
"""How many nodes are asked for one value: graphs nest their settings two or three deep."""


def read(decoded: Decoded) -> Found | None:
    """The API graph if there is one, else the editor's. Chunks of a PNG, or Exif strings that start "prompt:".

    A graph that saves several pictures does not say which of them this file is: the one of its size is taken, else
    the one with the most passes behind it.
    """
    for kind, build in (("prompt", from_api), ("workflow", from_editor)):
        for raw in _raws(decoded.texts, kind):
            graph = build(json_of(raw))
            roads = sorted(_roads(graph), key=len, reverse=True) if graph else []
            found = [_found(graph, passes, raw, decoded.texts) for passes in roads] if graph else []
            height, width = decoded.pixels.shape[:2]
            fitting = (one for one in found if _final_size(one) == (width, height))
            if found:
                return next(fitting, found[0])
    return None


def _final_size(found: Found) -> tuple[int, int] | None:
    sizes = (found.parameters.get(name, "").partition("x") for name in ("Hires resize", "Size"))
    width, height = next(((number(wide), number(tall)) for wide, _, tall in sizes if tall), (None, None))
    factor = 1 if "Hires resize" in found.parameters else number(found.parameters.get("Hires upscale", 1))
    return None if width is None or height is None or not factor else (int(width * factor), int(height * factor))


def _raws(texts: Mapping[str, str], kind: str) -> Iterator[str]:
    if kind in texts:
        yield texts[kind]
    for name, text in texts.items():
        if name.startswith("Exif.") and text[: len(kind) + 1].casefold() == f"{kind}:":
            yield text[len(kind) + 1 :]


def _found(graph: Graph, passes: list[Node], raw: str, texts: Mapping[str, str]) -> Found:
    first, final = passes[0], passes[-1]
    prompt, negative = _prompts(graph, first)
    loaders = list(upstream(graph, first, _MODELS.__contains__))
    clips = list(upstream(graph, first, _is_towards_clip))
    parameters = known(
        {
            **_one_pass(graph, first),
            **_latent(graph, first),
            "Model": next((name for node in loaders if (name := _model_name(node))), None),
            "VAE": next((stem(node.inputs["vae_name"]) for node in graph.values() if "vae_name" in node.inputs), None),
            "CFG Rescale": _first(loaders, "RescaleCFG", "multiplier"),
            "Distilled CFG Scale": _first(clips, "FluxGuidance", "guidance"),
            "Clip skip": _clip_skip(_first(clips, "CLIPSetLastLayer", "stop_at_clip_layer")),
            **(_second_pass(graph, first, final) if final is not first else {}),
        }
    )
    others = {f"Pass {place} {name}": value for place, node in enumerate(passes[1:], 2)
              for name, value in _one_pass(graph, node).items()}  # fmt: skip
    workflow = {"workflow": texts["workflow"]} if raw is not texts.get("workflow") and "workflow" in texts else {}
    loras = [pair for node in reversed(loaders) for pair in _loras(node)]
    return Found("ComfyUI", with_loras(prompt, loras), negative, parameters, known(others) | workflow, raw)


def _roads(graph: Graph) -> list[list[Node]]:
    """For each picture that was saved the samplers behind it, the earliest first."""
    roads: dict[str, list[Node]] = {}
    for end in islice(endings(graph), _MOST_ENDINGS):
        final = next((node for node in upstream(graph, end, lambda name: True) if _is_sampler(node)), None)
        if final and final.id not in roads:
            chain = (node for node in upstream(graph, final, _LATENTS.__contains__) if _is_sampler(node))
            roads[final.id] = list(islice(chain, _MOST_PASSES))[::-1]
    return list(roads.values())


def _is_sampler(node: Node) -> bool:
    takes = node.link("positive") or node.link("guider") or node.link("conditioning") or "steps" in node.inputs
    return bool(takes) and any(name in node.inputs for name in ("latent_image", "latent", "samples", "latents"))


def _resolved(graph: Graph, value: Any, name: str) -> Any:
    """A plain value, following a link to the node that holds it (a primitive, a seed node, a reroute)."""
    start = graph.get(value.node) if isinstance(value, Link) else None
    if start is None:
        return None if isinstance(value, Link) else value
    wanted = (name, "value", "int", "float", "seed", "noise_seed", "number", "Value")
    for node in islice(upstream(graph, start, lambda _: True), _REACH):
        plain = (node.inputs[key] for key in wanted if key in node.inputs)
        hit = next((item for item in plain if isinstance(item, int | float | str)), None)
        if hit is not None:
            return hit
    return None


def _setting(graph: Graph, sampler: Node, *names: str) -> Any:
    """The nearest input of one of these names, at the sampler or at the nodes that only hold its settings."""
    for node in islice(upstream(graph, sampler, _SETTINGS.__contains__), _REACH):
        for name in names:
            if name in node.inputs and (value := _resolved(graph, node.inputs[name], name)) is not None:
                return value
    return None


def _one_pass(graph: Graph, sampler: Node) -> dict[str, Any]:
    return {
        "Steps": _setting(graph, sampler, "steps"),
        **sampling(_setting(graph, sampler, "sampler_name"), _setting(graph, sampler, "scheduler")),
        "CFG scale": _setting(graph, sampler, "cfg"),
        "Seed": _setting(graph, sampler, "seed", "noise_seed"),
    }


def _latent(graph: Graph, sampler: Node) -> dict[str, Any]:
    """Where the first pass began: an empty canvas of a size, or a picture with a strength."""
    for node in upstream(graph, sampler, _LATENTS.__contains__):
        if node is not sampler and not _is_upscale(node):
            sides = [_resolved(graph, node.inputs.get(name), name) for name in ("width", "height")]
            if found := size(*sides):
                return {"Size": found}
    strength = number(_setting(graph, sampler, "denoise"))
    return {"Denoising strength": strength} if strength is not None and strength < 1 else {}


def _is_upscale(node: Node) -> bool:
    return "upscale" in node.kind.casefold() or "scale_by" in node.inputs or "upscale_method" in node.inputs


def _second_pass(graph: Graph, first: Node, final: Node) -> dict[str, Any]:
    """The last sampler as A1111's hires pass, if the picture grew on the way to it."""
    between = upstream(graph, final, lambda name: name in _LATENTS)
    grown = [node for node in between if _is_upscale(node)]
    if not grown:
        return {}
    settings = _one_pass(graph, final)
    sizes = ([_resolved(graph, node.inputs.get(name), name) for name in ("width", "height")] for node in grown)
    models = (node.inputs.get("model_name") for node in upstream(graph, grown[0], _LATENTS.__contains__))
    return {
        "Hires resize": next((found for sides in sizes if (found := size(*sides))), None),
        "Hires upscale": next(
            (_resolved(graph, node.inputs["scale_by"], "scale_by") for node in grown if "scale_by" in node.inputs), None
        ),
        "Hires upscaler": next((name for model in models if (name := stem(model))), None)
        or next((method for node in grown if (method := _method(node))), None),
        "Hires steps": settings.get("Steps"),
        "Hires sampler": settings.get("Sampler"),
        "Hires schedule type": settings.get("Schedule type"),
        "Hires CFG Scale": settings.get("CFG scale"),
        "Denoising strength": _setting(graph, final, "denoise"),
    }


def _method(node: Node) -> str | None:
    method = node.inputs.get("upscale_method")
    return upscaler_of(method, latent="samples" in node.inputs) if isinstance(method, str) else None


# ---- words


def _prompts(graph: Graph, sampler: Node) -> tuple[str, str]:
    for node in upstream(graph, sampler, ("guider",).__contains__):
        positive = node.link("positive") or node.link("conditioning")
        if positive:
            negative = node.link("negative")
            return _joined(graph, positive, "positive"), _joined(graph, negative, "negative") if negative else ""
    return "", ""


def _joined(graph: Graph, link: Link, side: str) -> str:
    """The texts behind a conditioning, each once. Nodes with both sides are followed on the side that was asked for."""
    texts: dict[str, None] = {}
    waiting = deque([link])
    seen: set[Link] = set()
    while waiting and len(seen) < 4 * _REACH:
        place = waiting.popleft()
        node = graph.get(place.node)
        if node is None or place in seen or node.kind == "ConditioningZeroOut":
            continue
        seen.add(place)
        here = _texts(graph, node, side)
        texts |= dict.fromkeys(here)
        if not here:
            waiting += _behind(node, place.slot)
    return "\n".join(texts)


def _behind(node: Node, slot: int) -> list[Link]:
    both = node.link("positive"), node.link("negative")
    if both[0] and both[1]:
        return [both[1] if slot == 1 else both[0]]
    links = [link for name, link in node.links() if name.startswith(("cond", "positive", "negative"))]
    return links or [link for name, link in node.links() if name not in _NOT_CONDITIONING]


def _texts(graph: Graph, node: Node, side: str) -> list[str]:
    own = node.inputs.get(side)
    if isinstance(own, str):  # all-in-one loaders hold both texts themselves
        return [own.strip()] if own.strip() else []
    parts = (_string(graph, node.inputs[name]) for name in _TEXT_INPUTS if name in node.inputs)
    return list(dict.fromkeys(part for part in parts if part))


def _string(graph: Graph, value: Any) -> str:
    """A text typed into the node, or put together by the nodes it is linked to."""
    if not isinstance(value, Link):
        return value.strip() if isinstance(value, str) else ""
    pieces = []
    for node in islice(upstream(graph, graph.get(value.node), lambda name: name not in _NOT_CONDITIONING), _REACH):
        pieces += [text for name in _TEXT_SOURCES if isinstance(text := node.inputs.get(name), str) and text.strip()]
    return ", ".join(piece.strip() for piece in dict.fromkeys(pieces))


# ---- models


def _is_towards_clip(name: str) -> bool:
    return name == "clip" or name == "guider" or name.startswith(("positive", "cond"))


def _first(nodes: list[Node], kind: str, name: str) -> Any:
    values = (node.inputs.get(name) for node in nodes if node.kind == kind)
    return next((value for value in values if isinstance(value, int | float)), None)


def _clip_skip(layer: Any) -> int | None:
    counted = number(layer)
    return int(-counted) if counted is not None and -100 < counted < -1 else None


def _model_name(node: Node) -> str | None:
    return next(
        (name for key in ("ckpt_name", "unet_name", "model_name") if (name := stem(node.inputs.get(key)))), None
    )


def _loras(node: Node) -> list[tuple[Any, Any]]:
    """(file, strength) of a LoRA loader; some hold several as objects {"on": true, "lora": ..., "strength": ...}."""
    if "lora_name" in node.inputs:
        return [(node.inputs["lora_name"], node.inputs.get("strength_model", 1))]
    held = (value for value in node.inputs.values() if isinstance(value, Mapping) and "lora" in value)
    return [(value["lora"], value.get("strength")) for value in held if value.get("on", True)]
