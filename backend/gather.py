"""Everything the engine needs for a job, looked up when it starts: models as they are now, pictures as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from backend.errors import Conflict, Refused
from backend.inputs import Input
from backend.models.catalog import Catalog
from backend.ports import HistoryStore
from backend.requests import images_left
from backend.storage import Storage
from backend.types import GenerationRequest, Job, ModelInfo, ModelKind, Record, Relation, SourceImage, Verdict
from backend.upscalers import LATENT, PIXEL
from backend.wire import Work

_CONTROLS: tuple[ModelKind, ...] = ("controlnet", "t2i-adapter", "ip-adapter")


class Pictures(Protocol):
    """Where pictures that people brought are kept. `input` raises NotFound."""

    def input(self, ident: str) -> Input: ...


def gather(job: Job, catalog: Catalog, pictures: Pictures, history: HistoryStore, storage: Storage) -> Work:
    """The work order. Raises UnknownModel, UnreadableModel or NotFound if something has gone since the request, and
    Conflict for a sheet without a single picture."""
    request = job.request
    done = [record.index for record in history.of_job(job.id)]
    shown = [history.of_job(job_id)[:1] if job_id else () for job_id in (request.grid.cells if request.grid else ())]
    cells = tuple(_cell(records[0], storage) if records else None for records in shown)
    if request.grid and not any(cells):
        raise Conflict("None of the pictures of this sheet was made.", "Their jobs say why.")
    return Work(
        job.id,
        request,
        catalog.find(request.model),
        _no_milder(job.verdict, request, [record for records in shown for record in records], history),
        images_left(request, done),
        resources=tuple(_resources(request, catalog)),
        inputs=dict(_inputs(request, pictures)),
        cells=cells,
    )


def _resources(request: GenerationRequest, catalog: Catalog) -> Iterator[ModelInfo]:
    """Each once."""
    seen: set[tuple[str, str]] = set()
    wanted: list[ModelInfo] = []
    if request.vae:
        wanted.append(catalog.find(request.vae, "vae"))
    wanted += [catalog.find(use.id, "lora") for words in request.words for use in words.loras]
    wanted += [catalog.find(unit.model, _CONTROLS) for unit in request.control]
    if request.refiner:
        wanted.append(catalog.find(request.refiner.model))
    for name in _upscalers(request):
        if name not in PIXEL and name not in LATENT:
            wanted.append(catalog.find(name, "upscaler"))
    wanted += _embeddings(request, catalog)
    for info in wanted:
        if (info.kind, info.id) not in seen:
            seen.add((info.kind, info.id))
            yield info


def _upscalers(request: GenerationRequest) -> Iterator[str]:
    if request.hires:
        yield request.hires.upscaler
    if request.upscale:
        yield request.upscale.upscaler


def _embeddings(request: GenerationRequest, catalog: Catalog) -> list[ModelInfo]:
    """Those whose name stands in the text and is no piece of a longer word; the engine sees whether it is a word."""
    known = catalog.all("embedding")
    if not known:
        return []
    texts = [text for words in request.words for text in (words.prompt, words.negative)]
    texts += [request.hires.prompt, request.hires.negative] if request.hires else []
    whole = "\n".join(texts).casefold()
    return [info for info in known if _stands_in(info.id.rsplit("/", 1)[-1].casefold(), whole)]


def _stands_in(name: str, text: str) -> bool:
    """CLIP's tokens never cross from one run of letters into another: "art" is in "art2" and not in "cart"."""
    begin = text.find(name)
    while name and begin >= 0:
        end = begin + len(name)
        cut_before = begin > 0 and text[begin - 1].isalpha() and name[0].isalpha()
        cut_after = end < len(text) and text[end].isalpha() and name[-1].isalpha()
        if not cut_before and not cut_after:
            return True
        begin = text.find(name, begin + 1)
    return False


def _inputs(request: GenerationRequest, pictures: Pictures) -> Iterator[tuple[str, SourceImage]]:
    for name in request.inputs:
        found = pictures.input(name)
        relation: Relation = "parent" if name == request.init_image else "input"
        yield name, SourceImage(name, str(found.path), found.media_type, relation)


def _cell(record: Record, storage: Storage) -> SourceImage:
    """A picture on a sheet: the first of its job."""
    return SourceImage(record.passport.sha256, str(storage.path(record.path)), record.passport.media_type, "component")


def _no_milder(verdict: Verdict, request: GenerationRequest, shown: Sequence[Record], history: HistoryStore) -> Verdict:
    """What is made of covered pictures is handled at least as they are: neither small and side by side on a sheet nor
    enlarged, converted or painted over does one of them escape its cover.

    Raises Refused for a withheld one, which nobody but the owner may see.
    """
    if any(record.handling == "withhold" for record in shown):
        raise Refused("A picture of this sheet is withheld.", "The owner decides in Review.", "grid")
    brought = {name: record for name in request.inputs if (record := history.by_sha256(name))}
    if any(record.handling == "withhold" for record in brought.values()):
        raise Refused("A picture that this is made from is withheld.", "The owner decides in Review.", "init_image")
    parent = brought.get(request.init_image or "")
    if any(record.handling == "blur" for record in (*shown, *([parent] if parent else []))):
        return replace(verdict, action="withhold" if verdict.action == "withhold" else "blur")
    return verdict
