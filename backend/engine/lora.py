"""LoRAs as additions on rows: the weights of a model never change.

A forward hook on each patched layer adds every picture's own patches to that picture's rows of the layer's output. So
requests with different LoRAs share one forward, nothing is fused or undone, and nothing can leak from one to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from backend.engine import lora_keys, lora_patches
from backend.engine.lora_deltas import Incomplete, Mismatch
from backend.engine.lora_file import Adapter, read_adapter
from backend.engine.lora_keys import BLOCKS, Place
from backend.engine.lora_patches import Patch
from backend.errors import InvalidParameter, UnreadableModel
from backend.models.loader import LoadedModel

__all__ = [
    "Adapter",
    "Assignment",
    "Bound",
    "RowAdditions",
    "Use",
    "bind",
    "block_weight",
    "check_blocks",
    "read_adapter",
]

_ALIGNED = 64
"""Bytes: what torch's own allocations have at least. Kernels may sum in another order below it."""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One patched layer: its path in its network, its label among block weights, and what is added there."""

    path: str
    module: Any
    block: str
    patch: Patch


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """An adapter fitted to one model. `parts` has the sites by network: UNet, text encoder, second text encoder.

    `unused` are the layers of the file that this model does not have; `size` is bytes. The `adapter` comes without its
    tensors.
    """

    adapter: Adapter
    parts: tuple[tuple[Any, tuple[Site, ...]], ...]
    unused: tuple[str, ...]
    size: int

    def on(self, root: Any) -> tuple[Site, ...]:
        """The sites in one network of the model, () for a network it does not touch."""
        return next((sites for network, sites in self.parts if network is root), ())


Use = tuple[Bound, float, tuple[float, ...]]
"""A LoRA with its weight for the network at hand and its block weights, () for none."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The LoRAs of one picture and its rows in the next forward."""

    rows: slice
    uses: tuple[Use, ...]


def bind(adapter: Adapter, model: LoadedModel) -> Bound:
    """Find the model's layer for every layer of the file, and prepare the additions.

    Raises InvalidParameter, naming the first thing that does not fit, if it was made for another kind of model, and
    UnreadableModel if the file lacks tensors.
    """
    known = lora_keys.places(model)
    networks = lora_keys.parts_of(model)
    modules = [dict(network.named_modules()) for network in networks]
    sites: list[list[Site]] = [[] for _ in networks]
    unused, mismatches, size = [], [], 0
    for layer, tensors in adapter.layers.items():
        place = known.get(layer)
        if place is None:
            unused.append(layer)
            continue
        try:
            module = modules[place.part][place.path]
            patch = lora_patches.build(module, tensors, model.device, model.dtype)
        except Mismatch as mismatch:
            mismatches.append((place, mismatch))
            continue
        except Incomplete as missing:
            detail = f'The tensors for "{layer[:80]}" are incomplete or contradict each other ({missing}).'
            raise UnreadableModel(adapter.name, detail, "Download the file again.") from missing
        sites[place.part].append(Site(place.path, module, place.block, patch))
        size += lora_patches.size_of(patch)
    if mismatches:
        raise _made_for_another(adapter, mismatches)
    if not any(sites) or (not sites[0] and any("unet" in layer or "transformer" in layer for layer in unused)):
        example = next(iter(unused), "")[:80]
        detail = f'The LoRA "{adapter.name}" is for another kind of model: this one has no layer "{example}".'
        raise InvalidParameter("loras", detail, "Choose a LoRA of this model's family.")
    parts = tuple((network, tuple(found)) for network, found in zip(networks, sites, strict=True))
    # The tensors of the file are not needed any more; its name and metadata are.
    return Bound(replace(adapter, layers={}), parts, tuple(unused), size)


def _made_for_another(adapter: Adapter, mismatches: Sequence[tuple[Place, Mismatch]]) -> InvalidParameter:
    # The width of the text is what people know a family by; other sides are only named when it fits.
    texts = [found for place, found in mismatches if place.path.endswith(("attn2.to_k", "attn2.to_v"))]
    widths = next(((found.patch[1], found.layer[1]) for found in texts if len(found.patch) > 1), None)
    if widths and widths[0] != widths[1]:
        made = f"a model with cross-attention width {widths[0]}; this one has {widths[1]}"
    else:
        place, found = mismatches[0]
        patch, layer = (" x ".join(map(str, shape)) for shape in (found.patch, found.layer))
        made = f"a model whose layer {place.path} is {patch}; this one's is {layer}"
    detail = f'The LoRA "{adapter.name}" was made for {made}.'
    return InvalidParameter("loras", detail, "Choose a LoRA of this model's family.")


def check_blocks(blocks: Sequence[float]) -> None:
    """Raises InvalidParameter unless block weights are of a length that has a meaning."""
    if blocks and len(blocks) not in BLOCKS:
        detail = f"There are {len(blocks)} block weights."
        hint = "Give 17 or 26 for SD 1.x and 2.x, 12 or 20 for SDXL: BASE first, then the blocks in order."
        raise InvalidParameter("loras", detail, hint)


def block_weight(blocks: tuple[float, ...], label: str) -> float:
    """Of the block `label` ("BASE", "IN04", ...).

    A block that the given list leaves out gets nothing, as in the extension; a layer outside all blocks the whole.
    """
    if not blocks or not label:
        return 1.0
    return dict(zip(BLOCKS[len(blocks)], blocks, strict=True)).get(label, 0.0)


_Rows = tuple[int, int]
_Added = tuple[_Rows, tuple[tuple[Patch, float], ...]]


@dataclass(slots=True)
class _Plan:
    """The hooks on one network for one set of assignments; they do nothing unless `active`."""

    key: tuple[object, ...]
    roots: tuple[Any, ...]
    active: bool = False
    handles: list[Any] = field(default_factory=list)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []


class RowAdditions:
    """Keeps the hooks of the last assignment of each network, so that a tick like the last one costs nothing."""

    def __init__(self) -> None:
        self._plans: dict[int, _Plan] = {}

    @contextmanager
    def applied(self, root: Any, assignments: Sequence[Assignment]) -> Iterator[None]:
        """Within it, a forward of `root` (a UNet or a text encoder) adds each assignment's LoRAs to its rows.

        Rows nobody is assigned to, and all forwards outside, give what they would without any LoRA, bit by bit. What is
        added to a picture's rows is computed from those rows alone. A weight of 0 is the same as no LoRA.
        Raises InvalidParameter for block weights of an unknown length.
        """
        plan = self._planned(root, _in_use(root, assignments))
        plan.active = True
        try:
            yield
        finally:
            plan.active = False

    def forget(self) -> None:
        """Take all hooks off and let go of every model and LoRA; needed when a model is unloaded."""
        for plan in self._plans.values():
            plan.remove()
        self._plans = {}

    def _planned(self, root: Any, assignments: Sequence[Assignment]) -> _Plan:
        # The plan holds `root` and every Bound of its key, so their identities cannot pass to others meanwhile.
        key = tuple(
            (one.rows.start, one.rows.stop, tuple((id(bound), weight, blocks) for bound, weight, blocks in one.uses))
            for one in assignments
        )
        old = self._plans.get(id(root))
        if old is not None and old.key == key:
            return old
        if old is not None:
            old.remove()
        plan = _Plan(key, (root, *(bound for one in assignments for bound, _, _ in one.uses)))
        self._plans[id(root)] = plan
        for module, added in _by_layer(root, assignments).items():
            plan.handles.append(module.register_forward_hook(_hook(plan, added)))
        return plan


def _in_use(root: Any, assignments: Sequence[Assignment]) -> tuple[Assignment, ...]:
    """Without what adds nothing."""
    kept = []
    for one in assignments:
        for _, _, blocks in one.uses:
            check_blocks(blocks)
        uses = tuple(use for use in one.uses if use[1] and use[0].on(root))
        if uses:
            kept.append(Assignment(one.rows, uses))
    return tuple(kept)


def _by_layer(root: Any, assignments: Sequence[Assignment]) -> Mapping[Any, tuple[_Added, ...]]:
    """For each patched layer the rows and what is added to them."""
    found: dict[Any, list[_Added]] = {}
    for one in assignments:
        patches: dict[Any, list[tuple[Patch, float]]] = {}
        for bound, weight, blocks in one.uses:
            for site in bound.on(root):
                share = weight * block_weight(blocks, site.block)
                if share:
                    patches.setdefault(site.module, []).append((site.patch, share))
        for module, uses in patches.items():
            found.setdefault(module, []).append(((one.rows.start or 0, one.rows.stop), tuple(uses)))
    return {module: tuple(added) for module, added in found.items()}


def _hook(plan: _Plan, added: Sequence[_Added]) -> Callable[[Any, tuple[Tensor, ...], Tensor], Tensor | None]:
    def add(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not plan.active:
            return None
        x = inputs[0]
        for (begin, end), patches in added:
            rows = _aligned(x[begin:end])
            for patch, weight in patches:
                change = patch(rows, weight).to(output.dtype)
                output = output + change if change.shape == output.shape else _put(output, begin, end, change)
        return output

    return add


def _put(output: Tensor, begin: int, end: int, change: Tensor) -> Tensor:
    # In place: the layer has just made this tensor, and nobody else holds it yet.
    output[begin:end] += change
    return output


def _aligned(rows: Tensor) -> Tensor:
    """The same numbers where a tensor of their own would lie: the last bits must not depend on the place in a batch."""
    return rows.clone() if rows.data_ptr() % _ALIGNED or not rows.is_contiguous() else rows
