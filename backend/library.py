"""What people bring along and refer to: pictures, styles, wildcards, cards of models, texts read out of files.

The front desk's other half: nothing here waits for the engine, and nothing here makes a picture.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend import dialects, images
from backend.dialects.fields import fields_of
from backend.errors import InvalidParameter, NotFound, Problem, SignetError
from backend.inputs import Input, InputStore
from backend.models.cards import Sort
from backend.models.catalog import Catalog
from backend.models.sidecars import Notes
from backend.preprocessors import preprocess, unavailable
from backend.presets import PresetStore
from backend.prompts import styles as style_files
from backend.prompts import wildcards
from backend.prompts.counter import Count, Counter
from backend.prompts.styles import Style
from backend.requests import Library
from backend.requests.words import Vocabulary
from backend.settings import Settings
from backend.types import ControlUnit, ModelCard, ModelInfo, ModelKind

_HINT_SIDE = 768
"""Longest side in pixels of a preprocessor's preview."""


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """What a picture or a text says about how it was made: untrusted text. `fields` fit a request."""

    program: str
    prompt: str
    negative: str
    parameters: Mapping[str, str]
    unknown: Mapping[str, str]
    fields: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


class LibraryDesk:
    """Thread-safe. `styles_file` and `wildcards_folder` lie in the data folder; both may be missing."""

    def __init__(self, settings: Settings, catalog: Catalog, inputs: InputStore) -> None:
        self._settings = settings
        self.catalog = catalog
        self.presets = PresetStore(settings.data / "presets.json")
        self._inputs = inputs
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counters: dict[str, Counter] = {}
        self._styles: tuple[int, Mapping[str, Style]] = (-1, {})

    @property
    def library(self) -> Library:
        """What a request may refer to, as it is now."""
        folder = self._settings.wildcards_folder
        return Library(self.catalog, self._inputs, Vocabulary(self.styles(), folder if folder.is_dir() else None))

    # ---- pictures

    def put(self, data: bytes) -> Input:
        """Keep a picture somebody brought. Raises UnreadableImage or StorageFull."""
        return self._inputs.put(data)

    def input(self, ident: str) -> Input:
        """Raises NotFound."""
        return self._inputs.get(ident)

    def read(self, data: bytes) -> ReadPicture | None:
        """How a picture was made, by any program we can read; None if it does not say. Raises UnreadableImage."""
        decoded = images.decode(data, max_pixels=self._settings.upload_limit_mpx * 1_000_000)
        found = dialects.read(decoded)
        if found is None:
            return None
        return _read(found, decoded.notes, decoded.texts)

    def read_text(self, text: str) -> ReadPicture | None:
        """The same for pasted text."""
        found = dialects.read_text(text)
        return _read(found, (), {}) if found else None

    def missing(self, preprocessor: str) -> str:
        """What a preprocessor lacks here, in a sentence; "" if it works."""
        problem = unavailable(preprocessor, self._settings.preprocessors)
        return problem.sentence() if problem else ""

    def hint(self, unit: ControlUnit) -> bytes:
        """What a preprocessor makes of a picture, as PNG: an analysis of the user's own picture, nothing generated.

        Raises NotFound, InvalidParameter, or Unavailable if the preprocessor lacks its weights.
        """
        pixels = images.decode(self.input(unit.image).path.read_bytes(), max_pixels=64_000_000).pixels
        height, width = pixels.shape[:2]
        scale = min(1.0, _HINT_SIDE / max(height, width))
        hint = preprocess(
            unit.preprocessor,
            pixels,
            width=max(1, round(width * scale)),
            height=max(1, round(height * scale)),
            pixel_perfect=unit.pixel_perfect,
            resolution=unit.resolution,
            resize=unit.resize,
            low=unit.low,
            high=unit.high,
            weights=self._settings.preprocessors,
        )
        return images.encode_png(hint)

    # ---- cards of models

    def cards(
        self, kind: ModelKind, text: str = "", folder: str | None = None, sort: Sort = "name"
    ) -> tuple[ModelCard, ...]:
        return self.catalog.cards(kind, text, folder, sort)

    def card(self, name: str, kind: ModelKind = "checkpoint") -> ModelCard:
        return self.catalog.card(name, kind)

    def model(self, name: str, kind: ModelKind = "checkpoint") -> ModelInfo:
        return self.catalog.find(name, kind)

    def why_not(self, addition: ModelInfo, model: ModelInfo) -> str:
        return self.catalog.fits(addition, model)

    def model_preview(self, name: str, kind: ModelKind) -> Path | None:
        return self.catalog.preview(name, kind)

    def save_notes(self, name: str, kind: ModelKind, notes: Notes) -> ModelCard:
        return self.catalog.save_notes(name, kind, notes)

    def refused_models(self) -> Mapping[str, Problem]:
        """Files and folders that look like models but cannot be used, by name."""
        return {name: error.problem for name, error in self.catalog.refused().items()}

    def models_version(self) -> int:
        """Grows when anything about the models on disk changes."""
        return self.catalog.version()

    # ---- words

    def styles(self) -> Mapping[str, Style]:
        """By name, in the order of the file."""
        path = self._settings.styles_file
        try:
            version = path.stat().st_mtime_ns
        except OSError:
            return {}
        with self._lock:
            if self._styles[0] != version:
                self._styles = (version, {style.name: style for style in style_files.read(path)})
            return self._styles[1]

    def save_style(self, style: Style) -> None:
        """Add a style, or change the one of that name. Raises InvalidParameter for a name that is none."""
        if not style.name.strip() or len(style.name) > 200:
            raise InvalidParameter("name", "A style needs a name of at most 200 characters.")
        with self._writing:  # two who save at once must not lose each other's
            kept = {**self.styles(), style.name: style}
            style_files.write(self._settings.styles_file, tuple(kept.values()))

    def delete_style(self, name: str) -> None:
        """The file before stays beside it as .bak. Raises NotFound."""
        with self._writing:
            kept = dict(self.styles())
            if name not in kept:
                raise NotFound("style", name)
            del kept[name]
            style_files.write(self._settings.styles_file, tuple(kept.values()))

    def wildcards(self) -> tuple[str, ...]:
        """Names that `__name__` may use."""
        folder = self._settings.wildcards_folder
        return wildcards.names(folder) if folder.is_dir() else ()

    def tokens(self, text: str, model: str, steps: int = 20, *, negative: bool = False) -> Count:
        """How much of a model's context a prompt takes; CLIP's tokens for models that bring no tokenizer."""
        return self._counter(model).count(text[: self._settings.max_prompt_chars], steps, negative=negative)

    def _counter(self, model: str) -> Counter:
        try:
            info = self.catalog.find(model or self._settings.default_model)
            folder = Path(info.path) / "tokenizer"
        except SignetError:
            folder = Path()
        key = str(folder) if folder.is_dir() and folder != Path() else ""
        with self._lock:
            if key not in self._counters:
                self._counters[key] = Counter.of(folder if key else None)
            return self._counters[key]


def _read(found: dialects.Found, notes: tuple[str, ...], texts: Mapping[str, str]) -> ReadPicture:
    made = fields_of(found)
    return ReadPicture(
        program=found.program,
        prompt=found.prompt,
        negative=found.negative,
        parameters=found.parameters,
        unknown=found.unknown,
        fields=made.fields,
        ignored=made.ignored,
        notes=notes,
        texts=texts,
    )
