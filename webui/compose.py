"""The composition root: builds every room in order, hands them to each other, and closes them in reverse order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from backend import images
from backend.dispatch import Stores
from backend.errors import SignetError, Unavailable
from backend.hooks import names_of
from backend.journal import Journal
from backend.latents import LatentDesk
from backend.meaning import MeaningDesk
from backend.models.catalog import Catalog
from backend.models.hashes import Hasher
from backend.service import Service
from backend.settings import Settings
from backend.storage import Storage, lock_folder
from backend.supervisor import Supervisor
from backend.towers import Towers
from backend.types import ModelInfo, Principal, Source
from backend.wire import EngineConfig
from db.engine import open_database
from db.history import SqlHistory
from db.jobs import SqlJobs
from db.vectors import SqlVectors
from extensions.opening import open_extensions
from safety.desk import DeskConfig, open_desk, open_verifier
from safety.policy_store import PolicyDesk
from safety.watermark.latent import LatentMark
from safety.watermark.latent_desk import open_noise_mark
from webui.compose_trust import Kept, begin_log, open_gate, open_readers, open_trust
from webui.options import STARTER, make_folders, open_library

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """Everything a face of the program may speak to. Use it in a `with`; `close` may be called twice."""

    settings: Settings
    principal: Principal
    service: Service
    _closing: ExitStack = field(repr=False)

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_services(settings: Settings, *, principal_source: Source, working: bool = True) -> Services:
    """Build everything and start the engine. Raises a SignetError that says what is in the way.

    Without `working` nothing is locked, recovered or started, and no job can be made: enough to look and to verify,
    also beside a running studio.
    """
    with ExitStack() as stack:
        make_folders(settings)
        if working:
            _take_folder(settings, stack)
        database = stack.enter_context(open_database(settings.database))
        jobs, history = SqlJobs(database), SqlHistory(database)
        storage = Storage(settings.outputs, settings.disk_reserve_mb)
        journal = Journal(jobs, history, storage)
        if working:
            _recover(journal)
        principal = Principal(source=principal_source)
        policy = PolicyDesk(settings.policy_file)
        trust = open_trust(settings, database, history, policy)
        desk = desk_config(settings)
        hasher = Hasher(settings.data / "model-hashes.json")
        library = open_library(settings, hasher)
        hooks = open_extensions(names_of(library))
        stack.callback(hooks.close)
        link = Supervisor(_engine_config(settings, desk, library.catalog))
        latents = LatentDesk(link)
        readers = open_readers(settings, history, library, latents)
        vision = STARTER.with_name("starter-vision")
        towers = partial(Towers, STARTER, vision)
        meaning = MeaningDesk(SqlVectors(database), towers, storage) if vision.is_dir() else None
        service = Service(
            settings,
            Stores(jobs, history, storage, journal),
            library,
            open_gate(settings, library, policy),
            open_verifier(desk, Kept(history, storage), readers),
            link,
            trust.desk,
            hooks,
            latents,
            meaning,
        )
        if working:
            begin_log(trust.log, settings, principal, policy, stack)
            service.start()
            stack.callback(service.close)
            hasher.start(library.catalog.everything, service.idle)
            stack.callback(hasher.close)
            if meaning:
                meaning.start(service.idle)
                stack.callback(meaning.close)
        return Services(settings, principal, service, stack.pop_all())


def _take_folder(settings: Settings, stack: ExitStack) -> None:
    try:
        stack.enter_context(lock_folder(settings.data))
    except Unavailable as error:
        hint = "Use the studio that is running (its page or its API), stop it, or name another folder with --data."
        raise Unavailable(error.problem.detail, hint) from error


def _recover(journal: Journal) -> None:
    found = journal.recover()
    counts = {name: len(getattr(found, name)) for name in found.__slots__ if getattr(found, name)}
    if counts:
        _LOG.warning("the last run did not end well; put right: %s", counts)


def desk_config(settings: Settings) -> DeskConfig:
    return DeskConfig(
        keys=settings.keys,
        watermark=settings.watermark,
        nsfw_threshold=settings.nsfw_threshold,
        drawn_threshold=settings.drawn_threshold,
        nudenet=settings.nudenet,
        training_use=settings.training_use,
        prompt_in_credentials=settings.prompt_in_credentials,
        prompt_in_infotext=settings.prompt_in_infotext,
        label_metadata=settings.label_metadata,
        trust=settings.trust,
        timestamp_url=settings.timestamp_url,
        timestamp_optional=settings.timestamp_optional,
        offline=settings.offline,
    )


def _engine_config(settings: Settings, desk: DeskConfig, catalog: Catalog) -> EngineConfig:
    return EngineConfig(
        open_desk=partial(open_desk, desk, images.encode_png, images.encode_thumbnail, images.encode_jpeg),
        warm=_warm(settings, catalog),
        device=settings.device,
        threads=settings.threads,
        memory=settings.model_memory_mb << 20,
        blur_previews=settings.blur_previews,
        offline=settings.offline,
        logs=settings.data / "logs",
        precision=settings.precision,
        stream=settings.stream_layers,
        attention=settings.attention,
        preprocessors=settings.preprocessors,
        open_mark=None
        if settings.latent_mark == "off"
        else partial(open_noise_mark, settings.keys, settings.latent_mark),
        encoders=tuple(
            folder for root in (settings.data / "models", *settings.model_folders) for folder in _encoders(root)
        ),
    )


def _noise_mark(settings: Settings) -> Callable[[], LatentMark] | None:
    """What opens the mark in the noise of new pictures, if the owner wants one."""
    return None if settings.latent_mark == "off" else partial(open_noise_mark, settings.keys, settings.latent_mark)


def _encoders(root: Path) -> tuple[Path, ...]:
    """Where vision models for IP-Adapters lie in our folder, ComfyUI's, and A1111's ControlNet extension's."""
    return (root / "clip_vision", root / "models" / "clip_vision", root / "ControlNet" / "clip_vision")


def _warm(settings: Settings, catalog: Catalog) -> ModelInfo | None:
    """The default model, to be loaded before anybody asks. A studio without it still starts and says so when asked."""
    try:
        return catalog.find(settings.default_model)
    except SignetError as error:
        _LOG.warning("no default model: %s", error)
        return None
