"""The engine's loop: one denoiser forward per tick for a batch of passes from any pictures.

Single-threaded on purpose: the loop alone touches models and pictures. Inspection and sealing run in a small pool and
report back through the loop's own inbox.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from backend.engine import batcher, facts, ladder, picture, scripts
from backend.engine.conditioning import Conditioner
from backend.engine.film import Film
from backend.engine.forward import Forward
from backend.engine.inversion import Inversions
from backend.engine.painter import Painter, Tools
from backend.engine.picture import Picture
from backend.engine.preview import LatentToRgb, preview_map
from backend.engine.previews import Previews
from backend.engine.resources import Resources
from backend.engine.solo import Solos, loader
from backend.engine.stage import Stage
from backend.engine.training import Training
from backend.errors import Broken, InvalidParameter, Problem, SignetError
from backend.models.hashes import model_sha256
from backend.models.loader import LoadedModel, free_memory
from backend.models.memory import ModelMemory
from backend.ports import SafetyDesk
from backend.requests import BATCHED
from backend.types import Bucket, ModelInfo, Pixels, RawImage, SealedImage
from backend.wire import (
    Cancel,
    Ended,
    FromEngine,
    Invert,
    Loaded,
    NoiseMark,
    Preview,
    Progress,
    Sealed,
    Stop,
    ToEngine,
    Train,
    Unload,
    Work,
)

_LOG = logging.getLogger(__name__)
_SMALL_MODEL = 1 << 30


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The pool to the loop: one picture is sealed, or could not be."""

    job_id: str
    result: SealedImage | SignetError


@dataclass(slots=True)
class _Open:
    """A job the engine is working on: `waiting` pictures are not sealed, `done` of `total` steps are over in all."""

    work: Work
    started: float
    waiting: int
    total: int
    done: int = 0
    last_preview: float = field(default=0.0)


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
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        encoders: tuple[Path, ...] = (),
        precision: str = "auto",
        preprocessors: Path | None = None,
        mark: NoiseMark | None = None,
    ) -> None:
        self.inbox: queue.SimpleQueue[ToEngine | _Outcome] = queue.SimpleQueue()
        self._memory = memory
        self._desk = desk
        self._send = send
        self._previews = Previews(desk, most=previews, blur=blur_previews)
        self._pool = ThreadPoolExecutor(sealers, thread_name_prefix="seal")
        self._forward = Forward()
        self._conditioner = Conditioner()
        self._resources = Resources(encoders)
        self._device, self._dtype = device or torch.device("cpu"), dtype
        self._maps: dict[str, LatentToRgb] = {}
        self._hashes: dict[str, Future[str]] = {}
        self._open: dict[str, _Open] = {}
        self._pictures: dict[int, Picture] = {}
        self._films: dict[int, Film] = {}
        self._tools = Tools(
            self._model, self._conditioner, self._resources, self._device, self._dtype, preprocessors, mark
        )
        self._solos = Solos(
            memory,
            loader(self._device, self._dtype, precision),
            lambda work, index: Painter(work, index, self._tools),
        )
        self._training = Training(self._model, send)
        self._inversions = Inversions(self._model, memory.has, self._conditioner, self._forward, send)
        self._count = 0
        self._now = ""

    def run(self) -> None:
        """Until Stop arrives."""
        try:
            while self._receive():
                self.tick()
        finally:
            self._guard([], self._training.keep)  # what was learned since the last checkpoint would be lost
            self._solos.close()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _receive(self) -> bool:
        """Take in what has arrived; wait for something if there is nothing to do. False ends the loop."""
        fresh: list[Work] = []
        while True:
            try:
                message = self.inbox.get(block=not (self._busy or fresh))
            except queue.Empty:
                break
            match message:
                case Work():
                    fresh.append(message)
                case Train():
                    self._training.add(message)
                case Invert():
                    self._inversions.add(message)
                case Cancel(job_id):
                    if self._training.id == job_id:
                        self._guard([job_id], self._training.keep)
                    if any(work.job_id == job_id for work in fresh):
                        fresh = [work for work in fresh if work.job_id != job_id]
                        self._send(Ended(job_id, cancelled=True))
                    self._end(job_id, cancelled=True)
                case Unload(model_id):
                    self._unload(model_id)
                case _Outcome(job_id, result):
                    self._sealed(job_id, result)
                case Stop():
                    return False
        self._start(fresh)
        return True

    @property
    def _busy(self) -> bool:
        return bool(self._pictures or self._solos or self._training or self._inversions)

    def _start(self, fresh: Sequence[Work]) -> None:
        for work in fresh:
            self._guard([work.job_id], partial(self._begin, work, fresh))

    def _begin(self, work: Work, together: Sequence[Work]) -> None:
        job_id, request = work.job_id, work.request
        total = scripts.total_steps(request, work.model.factor) * len(work.indexes)
        self._open[job_id] = _Open(work, time.perf_counter(), len(work.indexes), total)
        self._now = job_id
        if work.model.family not in BATCHED and request.mode == "txt2img":
            self._solos.add(work)
            return
        waiting = sum(_rows(other) for other in together if _alike(other, work))
        for index in work.indexes:
            if job_id in self._open:
                self._begin_picture(Painter(work, index, self._tools), waiting)
        if not work.indexes:
            self._end(job_id)

    def _begin_picture(self, painter: Painter, waiting: int) -> None:
        started = time.perf_counter()
        if facts.paints(painter.request):
            self._model(painter.work.model)  # tells that it loads before anything else is told
        self._send(Progress(painter.work.job_id, "encoding"))
        script = scripts.script(painter)
        stage = picture.after(script, None)
        if not isinstance(stage, Stage):
            self._finished(painter, stage, 1, started)
            return
        rows = max(stage.most_rows, picture.rows_of(painter.request, painter.words))
        bucket = _bucket(rows, painter.request.bucket, waiting, self._live(stage.key))
        self._count += 1
        self._pictures[self._count] = Picture(self._count, painter, script, stage, bucket, started, rows)
        if painter.request.film and self._previews.wanted(painter.work.verdict):
            self._films[self._count] = Film(painter.request, painter.work.job_id, painter.index)

    def _live(self, key: Hashable) -> dict[Bucket, int]:
        """Rows under way per bucket among pictures that could share a forward with `key`."""
        live: dict[Bucket, int] = {}
        for one in self._pictures.values():
            if one.key == key:
                live[one.bucket] = live.get(one.bucket, 0) + one.stage.most_rows
        return live

    def _model(self, info: ModelInfo) -> LoadedModel:
        known = self._memory.has(info)
        if not known:
            self._send(Progress(self._now, "loading", message=f"loading {info.title}"))
        model = self._memory.get(info, self._leased())
        if not known:
            self._forget()
            self._tell_loaded()
        if not known or info.id not in self._maps:
            self._maps[info.id] = preview_map(model)
            self._hashes[info.id] = self._pool.submit(model_sha256, Path(info.path))
        return model

    def _tell_loaded(self) -> None:
        self._send(Loaded(self._memory.loaded, self._memory.used, self._memory.budget))

    def _leased(self) -> set[str]:
        """Models that pictures under way, or a training, still need."""
        used = {voice.model.info.id for one in self._pictures.values() for voice in one.stage.voices}
        return used | self._training.leased | self._solos.leased | self._inversions.leased

    def _forget(self) -> None:
        """What was derived from models that may be gone: their successors may be given the same identity."""
        self._conditioner.forget()
        self._forward.forget()
        self._resources.forget()  # pictures under way hold what they use themselves

    def _unload(self, model_id: str) -> None:
        if model_id in self._leased():
            return  # somebody's picture needs it; it goes when memory does
        self._memory.unload(model_id)
        self._forget()
        _empty_cache()
        self._tell_loaded()

    def tick(self) -> None:
        """Pictures first, then what is left of the time for a training."""
        started, busy = time.perf_counter(), bool(self._pictures or self._solos)
        self._tick_solo()
        self._tick_pictures()
        if self._inversions:
            self._now = self._inversions.id
            self._guard([self._inversions.id], self._inversions.turn)
        if self._training.due(time.perf_counter() - started if busy else None):
            self._now = self._training.id
            self._guard([self._training.id], self._train)

    def _train(self) -> None:
        if self._training.turn():
            self._end(self._training.id)

    def _tick_pictures(self) -> None:
        """One denoiser forward for the most urgent batch; finished pictures are decoded and sent to the sealers."""
        batch = [self._pictures[one.id] for one in batcher.next_batch([p.candidate() for p in self._pictures.values()])]
        if not batch:
            return
        chosen = {one.id for one in batch}
        for one in self._pictures.values():
            one.waited = 0 if one.id in chosen else one.waited + 1
        self._guard([one.work.job_id for one in batch], partial(self._step, batch))
        for one in batch:
            if one.id in self._pictures and not one.stage.stepper.left:
                self._guard([one.work.job_id], partial(self._next_pass, one))

    def _step(self, batch: Sequence[Picture]) -> None:
        try:
            predictions = self._predict(batch)
        except torch.OutOfMemoryError:
            predictions = ()
        if predictions is None:
            for one in batch:
                if one.id in self._pictures:
                    self._guard([one.work.job_id], partial(self._step, (one,)))
            return
        if not predictions:
            self._relieve(batch)
            return
        with torch.inference_mode():
            for one, prediction in zip(batch, predictions, strict=True):
                step = one.stage.stepper.step
                estimate = one.stage.advance(prediction)
                if one.stage.stepper.step != step:
                    self._report(one, estimate, step + 1)

    def _predict(self, batch: Sequence[Picture]) -> Sequence[torch.Tensor] | None:
        """None if one of several pictures cannot be painted: which, they will show alone in their batches."""
        try:
            heats = [film.watch(one.stage) if (film := self._films.get(one.id)) else None for one in batch]
            return self._forward([one.stage for one in batch], batch[0].bucket, heats)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            if len(batch) == 1:
                raise
            return None

    def _relieve(self, batch: Sequence[Picture]) -> None:
        """Nothing has moved yet: take the mildest measure and try again at the next tick, or fail with the figures."""
        rows = max(one.rows for one in batch)
        pinned = any(one.painter.request.bucket for one in batch)
        idle = len(set(self._memory.loaded) - self._leased())
        state = ladder.State("denoise", bucket=rows if pinned else batch[0].bucket, rows=rows, idle=idle)
        measure = ladder.next_measure(state)
        if measure is None:
            raise ladder.failure(state, "this picture", free_memory())
        for one in batch:
            one.painter.measures.append(measure)
            if measure == "halve the bucket":
                one.bucket = batcher.choose_bucket(max(rows, one.bucket // 2))
        if measure == "unload idle models":
            self._memory.drop_all(self._leased())
            self._forget()
            self._tell_loaded()
        _empty_cache()

    def _report(self, one: Picture, estimate: torch.Tensor, step: int) -> None:
        job = self._open[one.work.job_id]
        job.done += 1
        now = time.perf_counter()
        eta = (now - job.started) / job.done * max(job.total - job.done, 0)
        self._send(Progress(one.work.job_id, "step", job.done, job.total, eta))
        draw = self._maps[one.stage.model.info.id]
        self._preview(one.work, now, partial(draw, estimate))
        if film := self._films.get(one.id):
            veil = partial(self._previews.veil, one.work.job_id, one.work.verdict)
            for message in film.frames(one.stage, step, estimate, draw, veil):
                self._send(message)

    def _preview(self, work: Work, now: float, draw: Callable[[], Pixels]) -> None:
        """Send what `draw` makes, as the policy of the job wants it, unless it is too soon for another preview."""
        job = self._open[work.job_id]
        if self._previews.due(work.job_id, work.verdict, now - job.last_preview):
            job.last_preview = now
            pixels = draw()
            self._send(Preview(work.job_id, self._previews.veil(work.job_id, work.verdict, pixels).jpeg(pixels)))

    def _next_pass(self, one: Picture) -> None:
        """The script goes on with the finished latent: to another pass, or to the sealers."""
        job = self._open[one.work.job_id]
        self._send(Progress(one.work.job_id, "decoding", job.done, job.total))
        self._now = one.work.job_id
        following = picture.after(one.script, one.stage.stepper.sample)
        if isinstance(following, Stage):
            one.stage = following
            return
        del self._pictures[one.id]
        self._films.pop(one.id, None)
        self._finished(one.painter, following, one.bucket, one.started)

    def _finished(self, painter: Painter, pixels: Pixels, bucket: Bucket, started: float) -> None:
        seconds = time.perf_counter() - started
        sha256 = self._hash(painter.work.model)
        self._seal_soon(facts.raw_image(painter, pixels, bucket, sha256, seconds, self._tools))

    def _seal_soon(self, raw: RawImage) -> None:
        job = self._open[raw.job_id]
        self._send(Progress(raw.job_id, "sealing", job.done, job.total))
        self._pool.submit(lambda: self.inbox.put(_Outcome(raw.job_id, self._seal(raw))))

    def _hash(self, info: ModelInfo) -> str | None:
        """Of the model's files, computed beside the first picture, which waits for it only if the model is small."""
        future = self._hashes.get(info.id)
        if future is None:
            return info.sha256
        try:
            return future.result() if future.done() or info.size < _SMALL_MODEL else info.sha256
        except OSError:  # the file has gone since it was loaded; the picture has not
            return info.sha256

    def _tick_solo(self) -> None:
        """A model with a pipeline of its own takes one step, between the ticks of the batched ones."""
        work = self._solos.current
        if work is None:
            return
        self._guard([work.job_id], partial(self._step_solo, work))

    def _step_solo(self, work: Work) -> None:
        job = self._open[work.job_id]
        loading = not self._solos.loaded
        if loading:
            self._send(Progress(work.job_id, "loading", message=f"loading {work.model.title}"))
        told = self._solos.tick(self._leased())
        if loading:  # others may have had to go for it
            self._forget()
            self._tell_loaded()
        if told.step > job.done:
            job.done = told.step
            self._send(Progress(work.job_id, "step", told.step, job.total))
        if (preview := told.preview) is not None:
            self._preview(work, time.perf_counter(), lambda: preview)
        if told.painter is not None and told.pixels is not None:
            self._tell_loaded()
            self._seal_soon(facts.raw_image(told.painter, told.pixels, 1, work.model.sha256, told.seconds, self._tools))

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
        self._previews.forget(job_id)
        self._pictures = {ident: one for ident, one in self._pictures.items() if one.work.job_id != job_id}
        self._films = {ident: film for ident, film in self._films.items() if ident in self._pictures}
        self._solos.drop(job_id)
        self._inversions.drop(job_id, problem)
        if self._training.drop(job_id) or known:
            self._send(Ended(job_id, problem, cancelled))

    def _guard(self, job_ids: Sequence[str], action: Callable[[], None]) -> None:
        """Run one operation; if it fails, the jobs in it fail with a Problem and the loop goes on."""
        try:
            action()
            return
        except SignetError as error:
            problem = error.problem
        except torch.OutOfMemoryError:
            problem = ladder.failure(ladder.State("load"), "this picture", free_memory()).problem
        except Exception:  # noqa: BLE001 - the engine's edge: logged, reported, and the loop goes on
            problem = _broken().problem
        # Cleaned up outside the except blocks: a live traceback would hold the tensors.
        for job_id in dict.fromkeys(job_ids):
            self._end(job_id, problem=problem)
        _empty_cache()


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _rows(work: Work) -> int:
    return sum(picture.rows_of(work.request, work.request.words_of(index)) for index in work.indexes)


def _bucket(rows: int, pinned: Bucket | None, waiting: int, live: Mapping[Bucket, int]) -> Bucket:
    """The bucket a picture keeps. Raises InvalidParameter if no bucket, or not the one asked for, holds its rows."""
    if rows > batcher.BUCKETS[-1]:
        detail = f"This picture needs {rows} rows; a batch has {batcher.BUCKETS[-1]}."
        raise InvalidParameter("prompt", detail, "Join fewer parts by AND.")
    if pinned is None:
        return batcher.join_bucket(rows, max(rows, waiting), live)
    if pinned < rows:
        detail = f"A bucket of {pinned} cannot hold the {rows} rows of this picture."
        raise InvalidParameter("bucket", detail, f"Use {batcher.choose_bucket(rows)}, or none.")
    return pinned


def _alike(one: Work, other: Work) -> bool:
    """Whether two jobs that start together may share batches."""
    same_size = (one.request.width, one.request.height) == (other.request.width, other.request.height)
    return same_size and one.model.id == other.model.id and one.request.bucket is None


def _broken() -> Broken:
    trace = uuid.uuid4().hex[:8]
    _LOG.exception("trace %s", trace)
    return Broken(trace)
