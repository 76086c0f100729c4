"""The engine process: builds the models' memory and the safety desk, runs the loop, talks to the studio by a pipe."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from logging.handlers import RotatingFileHandler
from multiprocessing.connection import Connection
from pathlib import Path

import diffusers
import torch
import transformers

from backend import netguard
from backend.engine.facts import describe
from backend.engine.loop import Engine
from backend.engine.offload import load_within
from backend.errors import SignetError
from backend.models.loader.precision import dtype_for
from backend.models.memory import ModelMemory
from backend.wire import Crashed, EngineConfig, FromEngine, Loaded, Ready, Stop

_LOG = logging.getLogger(__name__)


def main(connection: Connection, config: EngineConfig) -> None:
    """Runs in a spawned process until the studio says Stop or goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the studio's business
    netguard.keep_quiet()
    _log_to(config.logs)
    if config.offline:
        netguard.forbid_outgoing()
    _quiet_libraries()
    send = _sender(connection)
    try:
        engine = _build(config, send)
    except SignetError as error:
        send(Crashed(error.problem.sentence()))
        return
    except Exception as error:  # noqa: BLE001 - the process's edge: logged, and the studio learns the reason
        _LOG.exception("the engine cannot start")
        send(Crashed(f"{type(error).__name__}: {str(error)[:200]}"))
        return
    threading.Thread(target=_receive, args=(connection, engine), daemon=True, name="receive").start()
    engine.run()


def _build(config: EngineConfig, send: Callable[[FromEngine], None]) -> Engine:
    if config.threads:
        torch.set_num_threads(config.threads)
    choose_attention(config.attention)
    device = pick_device(config.device)
    dtype = dtype_for(device, config.precision)
    memory = ModelMemory(
        partial(load_within, device=device, dtype=dtype, precision=config.precision, stream=config.stream),
        config.memory,
    )
    desk = config.open_desk()
    if config.warm:
        try:
            memory.get(config.warm)
        except SignetError as error:  # told again, to the user, when somebody asks for it
            _LOG.warning("the default model could not be loaded: %s", error)
    send(Loaded(memory.loaded, memory.used, memory.budget))
    send(Ready(describe(device)))
    return Engine(
        memory,
        desk,
        send,
        previews=config.previews_per_second,
        blur_previews=config.blur_previews,
        device=device,
        dtype=dtype,
        encoders=config.encoders,
        precision=config.precision,
        preprocessors=config.preprocessors,
        mark=config.open_mark() if config.open_mark else None,
    )


def choose_attention(name: str) -> None:
    """The kernel of torch's scaled dot product attention for this process; "auto" lets torch choose.

    The plain one stays allowed, so that shapes a kernel cannot do still work.
    """
    if name == "auto":
        return
    cuda = torch.backends.cuda  # the switches of the CPU's kernels, too
    cuda.enable_flash_sdp(name == "flash")
    cuda.enable_mem_efficient_sdp(name == "efficient")
    cuda.enable_cudnn_sdp(name == "cudnn")
    cuda.enable_math_sdp(True)


def pick_device(wanted: str) -> torch.device:
    """A device asked for by name is taken at its word; "auto" takes the best there is."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _sender(connection: Connection) -> Callable[[FromEngine], None]:
    lock = threading.Lock()

    def send(message: FromEngine) -> None:
        with lock:
            connection.send(message)

    return send


def _receive(connection: Connection, engine: Engine) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # the studio is gone: nobody is left to seal for
        engine.inbox.put(message)
        if isinstance(message, Stop):
            return


def _log_to(folder: Path | None) -> None:
    """A file of its own, beside the studio's: two processes cannot rotate one file. Errors also go to stderr."""
    console = logging.StreamHandler()
    console.setLevel(logging.ERROR)
    handlers: list[logging.Handler] = [console]
    if folder:
        handlers.append(RotatingFileHandler(folder / "engine.log", maxBytes=2_000_000, backupCount=1, delay=True))
    logging.basicConfig(level=logging.INFO, handlers=handlers, format="%(asctime)s engine %(levelname)s %(message)s")


def _quiet_libraries() -> None:
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
