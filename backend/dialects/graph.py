"""ComfyUI's graphs as plain nodes, bounded and never trusted: the API form ("prompt") and the editor's ("workflow").

Every walk visits a node at most once, so cycles end by themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_NODES = 2_000

WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler", "start_at_step", "end_at_step",
    ),
    "SamplerCustom": ("add_noise", "noise_seed", "", "cfg"),
    "CLIPTextEncode": ("text",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "UNETLoader": ("unet_name",),
    "VAELoader": ("vae_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "ImageScale": ("upscale_method", "width", "height", "crop"),
    "ImageScaleBy": ("upscale_method", "scale_by"),
    "UpscaleModelLoader": ("model_name",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "RandomNoise": ("noise_seed",),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "RescaleCFG": ("multiplier",),
}  # fmt: skip
"""The editor stores values by position; these are their names (ComfyUI's nodes.py). "" is the editor's own widget."""


@dataclass(frozen=True, slots=True)
class Link:
    """Output number `slot` of a node."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    kind: str
    inputs: Mapping[str, Any]

    def link(self, name: str) -> Link | None:
        value = self.inputs.get(name)
        return value if isinstance(value, Link) else None

    def links(self) -> Iterator[tuple[str, Link]]:
        return ((name, value) for name, value in self.inputs.items() if isinstance(value, Link))


Graph = Mapping[str, Node]


def from_api(value: Any) -> Graph | None:
    """{"3": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0]}}}; None if it is not that."""
    if not isinstance(value, dict) or len(value) > MOST_NODES:
        return None
    nodes = {}
    for key, node in value.items():
        if isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict):
            inputs = {str(name): _value(item) for name, item in node["inputs"].items()}
            nodes[str(key)] = Node(str(key), node["class_type"], inputs)
    return nodes or None


def _value(item: Any) -> Any:
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str | int) and type(item[1]) is int:
        return Link(str(item[0]), item[1])
    return item


def from_editor(value: Any) -> Graph | None:
    """The editor's form: "nodes" with inputs by link number and "links" as [number, from, slot, to, slot, type]."""
    if not isinstance(value, dict) or not isinstance(value.get("nodes"), list):
        return None
    entries = [entry for entry in value["nodes"] if isinstance(entry, dict) and isinstance(entry.get("type"), str)]
    if not entries or len(entries) > MOST_NODES:
        return None
    listed = value.get("links")
    links = {
        str(link[0]): Link(str(link[1]), link[2])
        for link in (listed if isinstance(listed, list) else [])
        if isinstance(link, list) and len(link) >= 5 and type(link[2]) is int
    }
    nodes = (Node(str(entry.get("id")), entry["type"], _widgets(entry) | _linked(entry, links)) for entry in entries)
    return {node.id: node for node in nodes}


def _widgets(entry: Mapping[str, Any]) -> dict[str, Any]:
    values = entry.get("widgets_values")
    if isinstance(values, dict):
        return {str(name): value for name, value in values.items()}
    names = WIDGETS.get(entry["type"], ())
    return {name: value for name, value in zip(names, values if isinstance(values, list) else [], strict=False) if name}


def _linked(entry: Mapping[str, Any], links: Mapping[str, Link]) -> dict[str, Any]:
    inputs = entry.get("inputs")
    return {
        str(item.get("name")): links[str(item.get("link"))]
        for item in (inputs if isinstance(inputs, list) else [])
        if isinstance(item, dict) and str(item.get("link")) in links
    }


def upstream(graph: Graph, start: Node | None, follow: Callable[[str], bool]) -> Iterator[Node]:
    """`start` and everything it depends on through inputs whose name `follow` accepts, nearest first, each once."""
    waiting = deque([start] if start else [])
    seen = {start.id} if start else set()
    while waiting:
        node = waiting.popleft()
        yield node
        for name, link in node.links():
            if follow(name) and link.node in graph and link.node not in seen:
                seen.add(link.node)
                waiting.append(graph[link.node])


def endings(graph: Graph) -> list[Node]:
    """The nodes nobody reads from, those that save a picture first."""
    read = {link.node for node in graph.values() for _, link in node.links()}
    last = [node for node in graph.values() if node.id not in read]
    return sorted(last, key=lambda node: (not node.kind.startswith("Save"), "Save" not in node.kind))
