"""Any other text-to-image pipeline of diffusers, run alone: SD3, Flux, PixArt, Sana, Kandinsky 2.2, DeepFloyd IF, LCM.

Such a pipeline brings its own loop. It runs in a thread that stands still between steps until the engine's loop asks
for the next one, so that the loop stays in charge and can cancel.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.engine.decoding import Overflowed
from backend.engine.families.solo import Solo, fit_colours, kind_of, modules_of, open_folder
from backend.engine.preview import LatentToRgb
from backend.engine.stopped import Stopped
from backend.errors import InvalidParameter, OutOfMemory, SignetError, UnreadableModel
from backend.models.loader import free_memory
from backend.models.loader.weights import size_of
from backend.types import GenerationRequest, ModelInfo, Pixels, Words


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` are done. `latent` (1, C, h, w) is what `SoloPipeline.preview` draws; None: none yet."""

    step: int
    steps: int
    latent: Tensor | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pipeline is working on another picture: it can do one at a time."""


@dataclass(frozen=True, slots=True)
class Finished:
    pixels: Pixels = field(repr=False)


@dataclass(frozen=True, slots=True)
class SoloPipeline:
    """A pipeline in memory. `size` is bytes of weights, `factor` pixels per latent; the run at work holds `taken`."""

    info: ModelInfo
    pipe: Any
    solo: Solo
    device: torch.device
    dtype: torch.dtype
    size: int
    factor: int
    colours: LatentToRgb
    taken: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def load(cls, info: ModelInfo, device: torch.device, dtype: torch.dtype, precision: str = "auto") -> SoloPipeline:
        """From a diffusers folder. Raises UnreadableModel, OutOfMemory, and Unavailable if a package is missing."""
        try:
            return _load(info, device, dtype, precision)
        except SignetError:
            raise
        except (torch.OutOfMemoryError, MemoryError) as error:
            hint = "Use a smaller model, or close other programs that use the device."
            raise OutOfMemory(f'the model "{info.title}"', free_memory(), hint) from error
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
            detail = f"The folder cannot be opened ({type(error).__name__}: {str(error)[:200]})."
            raise UnreadableModel(info.id, detail, "Copy or download the model again.") from error

    def start(self, request: GenerationRequest, seed: int, words: Words) -> SoloRun:
        """One picture, ready for its first tick. Raises InvalidParameter for sizes the model cannot do."""
        multiple = self.factor * self.solo.patch
        for name in ("width", "height"):
            if getattr(request, name) % multiple:
                raise InvalidParameter(name, f"The {name} must be a multiple of {multiple} for {self.info.title}.")
        return SoloRun(self, request, seed, words)

    def run(
        self,
        request: GenerationRequest,
        seed: int,
        words: Words,
        on_step: Callable[[int, int, Tensor | None], None] = lambda step, steps, latent: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Pixels:
        """One picture from beginning to end. Raises Stopped once `cancelled` says so."""
        run = self.start(request, seed, words)
        try:
            while True:
                match run.tick():
                    case Finished(pixels):
                        return pixels
                    case Progress(step, steps, latent):
                        on_step(step, steps, latent)
                if cancelled():
                    raise Stopped
        finally:
            run.stop()

    def preview(self, latent: Tensor) -> Pixels:
        """A small picture of a latent that a step gave."""
        return self.colours(latent)


class SoloRun:
    """One picture in the making. The loop calls `tick` until it returns Finished, or `stop` if it is no longer wanted.

    Loop and thread never run at the same time: a tick lets the thread go and waits until it stands still again.
    """

    def __init__(self, solo: SoloPipeline, request: GenerationRequest, seed: int, words: Words) -> None:
        self._solo = solo
        self._request, self._seed, self._words = request, seed, words
        self._go = threading.Semaphore(0)
        self._said: queue.SimpleQueue[Progress | Finished | BaseException] = queue.SimpleQueue()
        self._unwanted = False
        self._thread: threading.Thread | None = None

    def tick(self) -> Progress | Waiting | Finished:
        """The next step; the last tick also decodes. Raises what the pipeline raises, and Stopped after `stop`."""
        if self._unwanted:
            raise Stopped
        if self._thread is None:
            if not self._solo.taken.acquire(blocking=False):
                return Waiting()
            self._thread = threading.Thread(target=self._work, daemon=True, name="solo")
            self._thread.start()
        else:
            self._go.release()
        said = self._said.get()
        if isinstance(said, Progress):
            return said
        self._leave()
        if isinstance(said, BaseException):
            raise said
        return said

    def stop(self) -> None:
        """End the run where it stands, and wait until it has ended; harmless when it has ended already."""
        self._unwanted = True
        self._leave()

    def _leave(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._unwanted = True
        self._go.release()
        thread.join()
        self._solo.taken.release()

    def _work(self) -> None:
        """In the thread."""
        try:
            with torch.inference_mode():
                images = self._solo.pipe(**self._arguments()).images
            image = np.asarray(images[0], np.float32)
            if not np.isfinite(image).all():
                raise Overflowed("its own pipeline")
            self._said.put(Finished(np.ascontiguousarray((image.clip(0, 1) * 255).round().astype(np.uint8))))
        except BaseException as error:  # noqa: BLE001 - handed to the loop, which raises it
            self._said.put(error)

    def _pause(self, step: int, latent: Tensor | None) -> None:
        """In the thread: hand back, and stand still until the next tick."""
        steps = self._request.steps
        self._said.put(Progress(min(step, steps), steps, latent))
        self._go.acquire()
        if self._unwanted:
            raise Stopped

    def _arguments(self) -> dict[str, Any]:
        """What the pipeline is called with, less what it does not know."""
        solo, request = self._solo.solo, self._request
        known = inspect.signature(self._solo.pipe.__call__).parameters

        def after_step(pipe: Any, index: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            self._pause(index + 1, self._spatial(values.get("latents")))
            return values

        def after_prior(pipe: Any, index: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            self._pause(0, None)
            return values

        def after_legacy_step(index: int, _time: Any, latents: Tensor) -> None:
            self._pause(index + 1, self._spatial(latents))

        modern = "callback_on_step_end" in known
        wanted = {
            "prompt": self._words.prompt,
            "negative_prompt": self._words.negative,
            "width": request.width,
            "height": request.height,
            "num_inference_steps": request.steps,
            "guidance_scale": request.cfg,
            "max_sequence_length": solo.tokens,
            "generator": torch.Generator("cpu").manual_seed(self._seed),
            "output_type": "np",
            "prior_callback_on_step_end": after_prior,
            **({"callback_on_step_end": after_step} if modern else {"callback": after_legacy_step}),
            **solo.fixed,
            **_true_guidance(self._solo.pipe, request.cfg, known),
        }
        return {name: value for name, value in wanted.items() if name in known}

    def _spatial(self, latents: Tensor | None) -> Tensor | None:
        """(1, C, h, w) from what the pipeline's steps work on."""
        if latents is None or self._solo.solo.space != "packed":
            return latents
        size = self._request.height, self._request.width
        return self._solo.pipe._unpack_latents(latents, *size, self._solo.pipe.vae_scale_factor)  # type: ignore[no-any-return]


def _true_guidance(pipe: Any, cfg: float, known: Mapping[str, Any]) -> dict[str, Any]:
    """Flux-dev was distilled: guidance is an input, and the negative prompt has no effect. Without that input
    (de-distilled models) guidance is done with two forwards, as everywhere else."""
    if "true_cfg_scale" not in known or pipe.transformer.config.guidance_embeds:
        return {"negative_prompt": None} if "true_cfg_scale" in known else {}
    return {"true_cfg_scale": cfg}


def _load(info: ModelInfo, device: torch.device, dtype: torch.dtype, precision: str) -> SoloPipeline:
    kind, solo = kind_of(info)
    dtype = torch.bfloat16 if solo.wide and dtype == torch.float16 else dtype
    pipe = open_folder(info, kind, solo, dtype, precision).to(device)
    modules = modules_of(pipe)
    for module in modules:
        module.eval().requires_grad_(False)
    factor, colours = fit_colours(pipe, solo, device, dtype)
    return SoloPipeline(info, pipe, solo, device, dtype, size_of(modules), factor, colours)
