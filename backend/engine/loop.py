"""The engine's loop: one denoiser forward per tick for a batch of rows from any requests.

Single-threaded on purpose: the loop alone touches models and pictures. Inspection and sealing run in a small pool and
report back through the loop's own inbox.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from backend import images
from backend.engine import batcher, facts, rows
from backend.engine.conditioning import TextEncoder, overflow
from backend.engine.families import sd
from backend.engine.preview import LatentToRgb, blurred, preview_map
from backend.engine.rows import Picture
from backend.errors import Broken, OutOfMemory, Problem, SignetError
from backend.models.hashes import model_sha256
from backend.models.loader import LoadedModel, free_memory
from backend.models.memory import ModelMemory
from backend.ports import SafetyDesk
from backend.types import Bucket, RawImage, SealedImage
from backend.wire import Cancel, Ended, FromEngine, Loaded, Preview, Progress, Sealed, Stop, ToEngine, Work

_LOG = logging.getLogger(__name__)
_SMALL_MODEL = 1 << 30


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The pool to the loop: one picture is sealed, or could not be."""

    job_id: str
    result: SealedImage | SignetError


@dataclass(slots=True)
class _Open:
    """A job the engine is working on. `waiting` are pictures not yet sealed, `done` counts steps over all of them."""

    work: Work
    started: float
    waiting: int
    done: int = 0
    last_preview: float = field(default=0.0)

    @property
    def total(self) -> int:
        """Steps of all pictures together."""
        return self.work.request.steps * len(self.work.indexes)


class Engine:
    """`send` hands a message to the studio and may be called from any thread; `previews` is the most per second."""

    def __init__(
        self,
        memory: ModelMemory,
        desk: SafetyDesk,
        send: Callable[[FromEngine], None],
        *,
        previews: float = 8.0,
        blur_previews: bool = False,
        sealers: int = 2,
    ) -> None:
        self.inbox: queue.SimpleQueue[ToEngine | _Outcome] = queue.SimpleQueue()
        self._memory = memory
        self._desk = desk
        self._send = send
        self._preview_gap = 1 / previews
        self._blur = blur_previews
        self._pool = ThreadPoolExecutor(sealers, thread_name_prefix="seal")
        self._texts = TextEncoder()
        self._maps: dict[str, LatentToRgb] = {}
        self._hashes: dict[str, Future[str]] = {}
        self._open: dict[str, _Open] = {}
        self._pictures: dict[int, Picture] = {}
        self._count = 0

    def run(self) -> None:
        """Until Stop arrives."""
        try:
            while self._receive():
                self.tick()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _receive(self) -> bool:
        """Take in what has arrived; wait for something if there is nothing to do. False ends the loop."""
        fresh: list[Work] = []
        while True:
            try:
                message = self.inbox.get(block=not (self._pictures or fresh))
            except queue.Empty:
                break
            match message:
                case Work():
                    fresh.append(message)
                case Cancel(job_id):
                    if any(work.job_id == job_id for work in fresh):
                        fresh = [work for work in fresh if work.job_id != job_id]
                        self._send(Ended(job_id, cancelled=True))
                    self._end(job_id, cancelled=True)
                case _Outcome(job_id, result):
                    self._sealed(job_id, result)
                case Stop():
                    return False
        self._start(fresh)
        return True

    def _start(self, fresh: Sequence[Work]) -> None:
        for work in fresh:
            self._guard([work.job_id], partial(self._begin, work, fresh))

    def _begin(self, work: Work, together: Sequence[Work]) -> None:
        job_id, request = work.job_id, work.request
        self._open[job_id] = _Open(work, time.perf_counter(), len(work.indexes))
        model = self._model(work)
        self._send(Progress(job_id, "encoding", message=_cut_words(model, work)))
        positive = self._texts.encode(model, request.prompt)
        texts = (positive,) if request.cfg <= 1 else (self._texts.encode(model, request.negative), positive)
        key = rows.key_of(model, request, texts)
        waiting = sum(_rows(other) for other in together if _alike(other, work))
        for index in work.indexes:
            bucket = request.bucket or batcher.join_bucket(len(texts), waiting, self._live(key))
            self._count += 1
            self._pictures[self._count] = rows.begin(
                self._count, work, index, model, bucket, texts, time.perf_counter()
            )
        if not work.indexes:
            self._end(job_id)

    def _live(self, key: Hashable) -> dict[Bucket, int]:
        """Rows under way per bucket among pictures that could share a forward with `key`."""
        live: dict[Bucket, int] = {}
        for picture in self._pictures.values():
            if picture.key == key:
                live[picture.bucket] = live.get(picture.bucket, 0) + len(picture.texts)
        return live

    def _model(self, work: Work) -> LoadedModel:
        info = work.model
        known = self._memory.has(info)
        if not known:
            self._send(Progress(work.job_id, "loading", message=f"loading {info.title}"))
        model = self._memory.get(info, {picture.model.info.id for picture in self._pictures.values()})
        if not known:
            self._texts.forget()
            self._send(Loaded(self._memory.loaded))
        if not known or info.id not in self._maps:
            self._maps[info.id] = preview_map(model)
            self._hashes[info.id] = self._pool.submit(model_sha256, Path(info.path))
        return model

    def tick(self) -> None:
        """One denoiser forward for the most urgent batch; finished pictures are decoded and sent to the sealers."""
        batch = [self._pictures[one.id] for one in batcher.next_batch([p.candidate() for p in self._pictures.values()])]
        if not batch:
            return
        chosen = {picture.id for picture in batch}
        for picture in self._pictures.values():
            picture.waited += picture.id not in chosen
        self._guard([picture.work.job_id for picture in batch], partial(self._step, batch))
        for picture in batch:
            if picture.id in self._pictures and not picture.stepper.left:
                self._guard([picture.work.job_id], partial(self._finish, picture))

    def _step(self, batch: Sequence[Picture]) -> None:
        with torch.inference_mode():
            inputs = [row for picture in batch for row in picture.inputs()]
            times = [picture.stepper.timestep for picture in batch for _ in picture.texts]
            texts = [text for picture in batch for text in picture.texts]
            outputs = sd.denoise(batch[0].model, inputs, times, texts, batch[0].bucket)
            end = 0
            for picture in batch:
                begin, end = end, end + len(picture.texts)
                prediction = picture.guide(outputs[begin:end])
                self._report(picture, prediction)
                picture.advance(prediction)

    def _report(self, picture: Picture, prediction: torch.Tensor) -> None:
        job = self._open[picture.work.job_id]
        job.done += 1
        now = time.perf_counter()
        eta = (now - job.started) / job.done * max(job.total - job.done, 0)
        self._send(Progress(picture.work.job_id, "step", job.done, job.total, eta))
        if now - job.last_preview >= self._preview_gap:
            job.last_preview = now
            latent = picture.stepper.estimate(prediction, picture.inputs()[0])
            pixels = self._maps[picture.model.info.id](latent)
            jpeg = images.encode_preview(blurred(pixels) if self._blur else pixels)
            self._send(Preview(picture.work.job_id, jpeg))

    def _finish(self, picture: Picture) -> None:
        del self._pictures[picture.id]
        job_id = picture.work.job_id
        job = self._open[job_id]
        self._send(Progress(job_id, "decoding", job.done, job.total))
        with torch.inference_mode():
            pixels = sd.decode(picture.model, picture.sample)
        seconds = time.perf_counter() - picture.started
        raw = facts.raw_image(picture, pixels, self._hash(picture.model), seconds)
        self._send(Progress(job_id, "sealing", job.done, job.total))
        self._pool.submit(lambda: self.inbox.put(_Outcome(job_id, self._seal(raw))))

    def _hash(self, model: LoadedModel) -> str | None:
        """Of the model's files, computed beside the first picture, which waits for it only if the model is small."""
        future = self._hashes[model.info.id]
        return future.result() if future.done() or model.info.size < _SMALL_MODEL else None

    def _seal(self, raw: RawImage) -> SealedImage | SignetError:
        """In the pool. Whatever goes wrong, the picture does not get out."""
        try:
            return self._desk.seal(self._desk.inspect(raw))
        except SignetError as error:
            return error
        except Exception:  # noqa: BLE001 - the engine's edge: logged, reported, and the road stays closed
            return _broken()

    def _sealed(self, job_id: str, result: SealedImage | SignetError) -> None:
        job = self._open.get(job_id)
        if job is None:
            return  # cancelled while it was being sealed
        if isinstance(result, SignetError):
            self._end(job_id, problem=result.problem)
            return
        self._send(Sealed(job_id, result))
        job.waiting -= 1
        if not job.waiting:
            self._end(job_id)

    def _end(self, job_id: str, *, problem: Problem | None = None, cancelled: bool = False) -> None:
        """Drop what is left of a job and say so; harmless for jobs that are not here."""
        known = self._open.pop(job_id, None)
        self._pictures = {ident: p for ident, p in self._pictures.items() if p.work.job_id != job_id}
        if known:
            self._send(Ended(job_id, problem, cancelled))

    def _guard(self, job_ids: Sequence[str], action: Callable[[], None]) -> None:
        """Run one operation; if it fails, the jobs in it fail with a Problem and the loop goes on."""
        try:
            action()
            return
        except SignetError as error:
            problem = error.problem
        except torch.OutOfMemoryError:
            problem = _out_of_memory().problem
        except Exception:  # noqa: BLE001 - the engine's edge: logged, reported, and the loop goes on
            problem = _broken().problem
        # Cleaned up outside the except blocks: a live traceback would hold the tensors.
        for job_id in dict.fromkeys(job_ids):
            self._end(job_id, problem=problem)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _rows(work: Work) -> int:
    return rows.rows_of(work.request) * len(work.indexes)


def _alike(one: Work, other: Work) -> bool:
    """Whether two jobs that start together may share batches."""
    same_size = (one.request.width, one.request.height) == (other.request.width, other.request.height)
    return same_size and one.model.id == other.model.id and one.request.bucket is None


def _cut_words(model: LoadedModel, work: Work) -> str:
    cut = overflow(model, work.request.prompt)
    return f"the last {cut} tokens of the prompt do not fit this model and are ignored" if cut else ""


def _broken() -> Broken:
    trace = uuid.uuid4().hex[:8]
    _LOG.exception("trace %s", trace)
    return Broken(trace)


def _out_of_memory() -> OutOfMemory:
    return OutOfMemory("this picture", free_memory(), "Make the picture smaller or ask for fewer at once.")
