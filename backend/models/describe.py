"""One place on disk to one catalogue entry, or to the reason why it cannot be used. Reads headers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.errors import SignetError, UnreadableModel
from backend.models import formats
from backend.models.folders import Place, may_hold, own_vae
from backend.models.lora_metadata import Spec, read_spec
from backend.models.pipelines import COMPONENTS, PIPELINES, TEXT_WIDTHS, Pipeline
from backend.models.recognise import Facts
from backend.models.texts import plain
from backend.types import ModelInfo
from backend.types.models import ModelKind

_NATIVE = {"sd1": 512, "sd2": 512}
_CONFIGS = Path(__file__).parent / "configs"
_HOMES: Mapping[str, str] = {
    "checkpoint": "Stable-diffusion", "lora": "Lora", "vae": "VAE", "controlnet": "ControlNet",
    "t2i-adapter": "ControlNet", "ip-adapter": "ControlNet", "embedding": "embeddings", "upscaler": "ESRGAN",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in a place. `news` is false for files of other programs, of which nobody wants to hear."""

    found: ModelInfo | SignetError
    spec: Spec = field(default_factory=Spec)
    news: bool = True


def config_folder(path: Path, family: str) -> Path:
    """The diffusers configuration for a single file: a folder of the same name beside it, or ours for the family."""
    beside = path.with_suffix("")
    return beside if (beside / "model_index.json").is_file() else _CONFIGS / family


def describe(place: Place, ident: str, state: tuple[int, int]) -> Look:
    """Never raises: whatever is wrong with a model is what is found. `state` is its size and time."""
    name = place.path.name
    try:
        if not place.is_folder:
            return _file(place, ident, state)
        if (place.path / "model_index.json").is_file():
            return Look(_pipeline(place, ident, state))
        return _component(place, ident, state)
    except SignetError as error:
        return Look(error, news=not place.quiet or (place.path / "model_index.json").is_file())
    except (OSError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        detail = f"Its configuration is damaged ({str(error)[:80]})."  # values of other kinds than they should be
        return Look(UnreadableModel(name, detail, "Copy it again."), news=not place.quiet)


# ---- files


def _file(place: Place, ident: str, state: tuple[int, int]) -> Look:
    path = place.path
    header = formats.read(path)
    facts = formats.facts_of(header, path.name)
    if facts.problem:
        raise UnreadableModel(path.name, facts.problem, facts.hint)
    _in_its_place(place, facts.kind)
    spec = read_spec(header.metadata)
    info = _checkpoint(place, ident, facts, state) if facts.kind == "checkpoint" else _part(place, ident, facts, state)
    return Look(_with(info, licence=spec.licence or info.licence, autov3=spec.autov3), spec)


def _checkpoint(place: Place, ident: str, facts: Facts, state: tuple[int, int]) -> ModelInfo:
    config = config_folder(place.path, facts.family)
    if not (config / "model_index.json").is_file():
        detail = f"There is no configuration for {facts.family} checkpoints in one file in this version."
        raise UnreadableModel(place.path.name, detail, "Use the model's folder in diffusers format.")
    unet = formats.read_json(config / "unet" / "config.json")
    factor = _factor(formats.read_json(config / "vae" / "config.json"))
    vae = own_vae(place)
    return ModelInfo(
        id=ident,
        title=ident,
        family=facts.family,
        path=str(place.path),
        layout="single-file",
        factor=factor,
        native_size=_native(unet, factor, _NATIVE.get(facts.family, 1024)),
        size=state[0],
        modified_ns=state[1],
        variant=facts.variant,
        vae=str(vae) if vae else None,
        width=facts.width or TEXT_WIDTHS.get(facts.family),
    )


def _part(place: Place, ident: str, facts: Facts, state: tuple[int, int]) -> ModelInfo:
    return ModelInfo(
        id=ident,
        title=ident,
        family=facts.family,
        path=str(place.path),
        layout="diffusers" if place.is_folder else "single-file",
        factor=facts.factor,
        native_size=0,
        size=state[0],
        modified_ns=state[1],
        kind=facts.kind,
        variant=facts.variant,
        width=facts.width,
    )


def _in_its_place(place: Place, kind: ModelKind) -> None:
    if not may_hold(place, kind):
        detail = f"This is {formats.a_kind(kind)}, and it lies in a folder for another kind."
        home = f' such as "{_HOMES[kind]}"' if kind in _HOMES else ""
        raise UnreadableModel(place.path.name, detail, f"Move it to a folder of its kind{home}.")


def _with(info: ModelInfo, **values: Any) -> ModelInfo:
    return replace(info, **values)


# ---- folders


def _pipeline(place: Place, ident: str, state: tuple[int, int]) -> ModelInfo:
    folder = place.path
    index = formats.check_folder(folder)
    kind = str(index["_class_name"])
    known = PIPELINES[kind]
    _in_its_place(place, "checkpoint")
    signet = _signet(folder)
    denoiser = formats.read_json(folder / known.denoiser / "config.json")
    factor = known.patch * (_factor(formats.read_json(folder / known.decoder / "config.json")) if known.decoder else 1)
    width = denoiser.get("cross_attention_dim")
    family = plain(signet.get("family"), 40) or _family(known, index, denoiser)
    return ModelInfo(
        id=ident,
        title=plain(signet.get("title"), 200) or ident,
        family=family,
        path=str(folder),
        layout="diffusers",
        factor=factor,
        native_size=_native(denoiser, factor // known.patch, known.native),
        size=sum(file.stat().st_size for file in folder.rglob("*.safetensors")),
        licence=plain(signet.get("licence"), 200) or "not stated",
        modified_ns=state[1],
        defaults=dict(signet.get("defaults", {})),
        variant="refiner" if family == "sdxl-refiner" else known.variant,
        pipeline=kind if known.alone else None,
        width=width if isinstance(width, int) and not known.alone else TEXT_WIDTHS.get(family),
    )


def _family(known: Pipeline, index: Mapping[str, Any], denoiser: Mapping[str, Any]) -> str:
    if known.family == "sd1" and denoiser.get("cross_attention_dim") == TEXT_WIDTHS["sd2"]:
        return "sd2"
    if known.family == "sdxl" and index.get("text_encoder") in (None, [None, None]):
        return "sdxl-refiner"
    return known.family


def _factor(vae: Mapping[str, Any]) -> int:
    """Pixels per latent: each level but the last halves the sides; AutoencoderDC and VQModel name them otherwise."""
    levels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or (0,) * 4
    return int(2 ** (len(levels) - 1))


def _native(denoiser: Mapping[str, Any], factor: int, otherwise: int) -> int:
    latent = denoiser.get("sample_size")
    sound = isinstance(latent, int) and not isinstance(latent, bool) and 0 < latent < 4096
    return int(latent or 0) * factor if sound else otherwise


def _component(place: Place, ident: str, state: tuple[int, int]) -> Look:
    """A ControlNet, adapter or autoencoder in diffusers format: a config.json and its weights."""
    config = formats.read_json(place.path / "config.json")
    name = str(config.get("_class_name"))[:60]
    if name not in COMPONENTS:
        what = config.get("_class_name") or config.get("model_type") or "part of a model"
        detail = f"The folder holds a {str(what)[:60]}, which is no model on its own."
        return Look(
            UnreadableModel(place.path.name, detail), news=not place.quiet and place.kind not in (None, "preprocessor")
        )
    formats.check_component(place.path)
    weights = sorted(place.path.glob("*.safetensors"))
    facts = formats.facts_of(formats.read(weights[0]), place.name)
    if facts.kind != COMPONENTS[name]:
        raise UnreadableModel(place.path.name, f"Its config.json says {name}, its weights are something else.")
    _in_its_place(place, facts.kind)
    if facts.kind == "vae":
        # Tensors of SD 1.x and SDXL autoencoders are alike; the scale of their latents is not.
        sdxl = abs(float(config.get("scaling_factor", 0.18215)) - 0.13025) < 1e-6
        facts = Facts("vae", "sdxl" if sdxl else facts.family, factor=_factor(config))
    signet = _signet(place.path)
    width = config.get("cross_attention_dim")
    info = _part(place, ident, facts, state)
    return Look(
        _with(
            info,
            title=plain(signet.get("title"), 200) or info.title,
            licence=plain(signet.get("licence"), 200) or info.licence,
            # A net without attention shows no width in its tensors; its maker may say what it belongs to.
            family=plain(signet.get("family"), 40) or info.family if info.family == "unknown" else info.family,
            width=info.width or (width if isinstance(width, int) else None),
        )
    )


def _signet(folder: Path) -> Mapping[str, Any]:
    """What a model's maker says for us: title, family, licence, defaults."""
    return formats.read_json(folder / "signet.json") if (folder / "signet.json").is_file() else {}
