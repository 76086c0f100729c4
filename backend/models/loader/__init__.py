"""Model files to modules ready to run. The only place where weights of Stable Diffusion models are read.

Folders and single files take the same way: checked by backend.models.formats, read tensor by tensor into modules that
were built without weights. Nothing is looked up outside the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from backend.errors import OutOfMemory, SignetError, UnreadableModel
from backend.models import formats
from backend.models.catalog import config_folder
from backend.models.loader.clip import Pad, clip_tokenizer
from backend.models.loader.precision import dtype_for, keep_in_fp8, quantisation
from backend.models.loader.weights import (
    assemble,
    modern,
    read,
    read_folder,
    size_of,
    under,
    with_text_prefix,
)
from backend.types import ModelInfo

__all__ = [
    "LoadedModel", "clip_tokenizer", "dtype_for", "free_memory", "load", "load_vae", "predicts_velocity",
]  # fmt: skip

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_CONV_IN = f"{_UNET}input_blocks.0.0.weight"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The parts of one Stable Diffusion model in memory. `size` is bytes of weights, `scheduler` its configuration.

    `text_encoders` and `tokenizers` go in pairs: one of each, two for SDXL. The autoencoder may run in another dtype
    than the rest (`vae.dtype`). `force_zeros` asks for embeddings of zeros where the negative prompt is empty (SDXL).
    """

    info: ModelInfo
    unet: Any
    vae: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype
    size: int
    force_zeros: bool = False

    @property
    def text_encoder(self) -> Any:
        """The first one."""
        return self.text_encoders[0]

    @property
    def tokenizer(self) -> Any:
        """The first one."""
        return self.tokenizers[0]

    @property
    def latent_factor(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        """Of the autoencoder; the UNet of an inpainting model takes more."""
        return int(self.vae.config.latent_channels)

    @property
    def prediction_type(self) -> str:
        """ "epsilon", "v_prediction" or "sample"."""
        return str(self.scheduler.get("prediction_type", "epsilon"))

    @property
    def is_sdxl(self) -> bool:
        """Whether the UNet wants SDXL's pooled text and sizes; true of the refiner too."""
        return bool(self.unet.config.addition_embed_type == "text_time")

    @property
    def is_refiner(self) -> bool:
        return self.info.family == "sdxl-refiner"

    @property
    def inpaints(self) -> bool:
        """Whether the UNet takes mask and masked picture as further channels (9 with a 4-channel autoencoder)."""
        return int(self.unet.config.in_channels) == 2 * self.latent_channels + 1


@dataclass(frozen=True, slots=True)
class _Text:
    """Where one text encoder is found: `folder` and `words` in diffusers folders, `prefix` in single files."""

    folder: str
    words: str
    kind: type[Any]
    prefix: str
    openclip: bool

    @property
    def pad(self) -> Pad:
        return "!" if self.openclip else "<|endoftext|>"


_SDXL_SECOND = _Text(
    "text_encoder_2", "tokenizer_2", CLIPTextModelWithProjection, "conditioner.embedders.1.model.", True
)
_TEXTS: Mapping[str, tuple[_Text, ...]] = {
    "sd1": (_Text("text_encoder", "tokenizer", CLIPTextModel, "cond_stage_model.transformer.", False),),
    "sd2": (_Text("text_encoder", "tokenizer", CLIPTextModel, "cond_stage_model.model.", True),),
    "sdxl": (
        _Text("text_encoder", "tokenizer", CLIPTextModel, "conditioner.embedders.0.transformer.", False),
        _SDXL_SECOND,
    ),
    "sdxl-refiner": (
        _Text("text_encoder_2", "tokenizer_2", CLIPTextModelWithProjection, "conditioner.embedders.0.model.", True),
    ),
}
FAMILIES: tuple[str, ...] = tuple(_TEXTS)
"""Families that run in the batched engine."""


def load(info: ModelInfo, device: torch.device, dtype: torch.dtype, precision: str = "auto") -> LoadedModel:
    """Read the weights of a catalogue entry to `device`, computing in `dtype`.

    `precision` says how the denoiser's weights are kept (see backend.models.loader.precision). Raises UnreadableModel
    if the weights are not what the configuration says, OutOfMemory, and Unavailable if a package is missing.
    """
    try:
        return _Reader(info, device, dtype, precision).model()
    except SignetError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        hint = "Use a smaller model, or close other programs that use the device."
        raise OutOfMemory(f'the model "{info.title}"', free_memory(), hint) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, NotImplementedError) as error:
        raise _misfit(info.id, error) from error


def load_vae(path: Path, like: LoadedModel) -> Any:
    """Another autoencoder for the model `like`, on its device: a file (the original's or diffusers' names) or a folder.

    The latent space stays the model's: number of channels, scale and shift. Raises UnreadableModel.
    """
    name, dtype = path.stem, like.vae.dtype
    try:
        if path.is_dir():
            folder = path / "vae" if (path / "vae").is_dir() else path
            made = formats.read_json(folder / "config.json")
            kept = {key: like.vae.config.get(key) for key in ("scaling_factor", "shift_factor")}
            config = {**made, **kept, "latent_channels": made.get("latent_channels", 4)}
            if config["latent_channels"] != like.latent_channels:
                raise _wrong_channels(name, config["latent_channels"], like)
            tensors = modern(read_folder(folder, like.device, dtype))
        else:
            config = dict(like.vae.config)
            tensors = _vae_tensors(read(path, like.device, dtype), like)
            channels = tensors.get("decoder.conv_in.weight", torch.empty(0, like.latent_channels)).shape[1]
            if channels != like.latent_channels:
                raise _wrong_channels(name, channels, like)
        return assemble(name, "autoencoder", lambda: AutoencoderKL.from_config(config), lambda _: tensors)
    except SignetError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _misfit(name, error) from error


def free_memory() -> int | None:
    """Bytes free on the GPU, None where there is none to ask."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def predicts_velocity(unet: Any) -> bool:
    """Whether an SD 2.x UNet predicts v rather than noise: the same probe as A1111 1.10.1.

    At the last training step the input is nearly pure noise; a noise predictor gives it back, a v predictor does not.
    """
    weight: Tensor = unet.conv_in.weight
    x = torch.full((1, unet.config.in_channels, 8, 8), 0.5, device=weight.device, dtype=weight.dtype)
    text = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, device=weight.device, dtype=weight.dtype)
    with torch.inference_mode():
        out = unet(x, torch.tensor([999], device=weight.device), encoder_hidden_states=text).sample
    return bool((out - x[:, : out.shape[1]]).mean().item() < -1)


class _Reader:
    """One loading. `folder` holds the configuration: the model's own folder, one beside its file, or a shipped one."""

    def __init__(self, info: ModelInfo, device: torch.device, dtype: torch.dtype, precision: str) -> None:
        self.info, self.device, self.dtype, self.precision = info, device, dtype, precision
        self.path = Path(info.path)
        self.single = info.layout == "single-file"
        if self.single:
            self.folder, self.header = config_folder(self.path, info.family), formats.read_header(self.path)
        else:
            self.folder, self.header = self.path, {}
            formats.check_folder(self.path)
        self.index = formats.read_json(self.folder / "model_index.json")

    def model(self) -> LoadedModel:
        unet, vae = self._unet(), self._vae()
        texts = self._texts()
        encoders = tuple(self._text_encoder(text) for text in texts)
        return LoadedModel(
            info=self.info,
            unet=unet,
            vae=vae,
            text_encoders=encoders,
            tokenizers=tuple(self._tokenizer(text) for text in texts),
            scheduler=self._scheduler(unet),
            device=self.device,
            dtype=self.dtype,
            size=size_of((unet, vae, *encoders)),
            force_zeros=bool(self.index.get("force_zeros_for_empty_prompt", self.info.family == "sdxl")),
        )

    def _texts(self) -> tuple[_Text, ...]:
        if self.single:
            return _TEXTS[self.info.family]
        # A folder tells itself which encoders it has; the family may be a name of its own (the starter model's is).
        both = (*_TEXTS["sd1"], _SDXL_SECOND)
        return tuple(text for text in both if (self.folder / text.folder / "config.json").is_file())

    def _unet(self) -> Any:
        config = UNet2DConditionModel.load_config(self.folder / "unet", local_files_only=True)
        if self.single:
            config = {**config, "in_channels": self.header[_CONV_IN]["shape"][1]}
        quantised = quantisation(self.precision, self.dtype)
        if quantised is not None:
            return self._quantised_unet(quantised)

        def tensors(unet: Any) -> Mapping[str, Tensor]:
            if not self.single:
                return read_folder(self.path / "unet", self.device, self.dtype)
            return convert_ldm_unet_checkpoint(self._read(_UNET), dict(unet.config))  # type: ignore[no-any-return]

        unet = assemble(self.info.id, "denoiser", lambda: UNet2DConditionModel.from_config(config), tensors)
        if self.precision == "fp8":
            keep_in_fp8(unet, self.dtype)
        return unet

    def _quantised_unet(self, quantised: Any) -> Any:
        """Through diffusers' own loader, which quantises layer by layer as it reads."""
        if self.single:
            unet = UNet2DConditionModel.from_single_file(
                str(self.path), config=str(self.folder), subfolder="unet", local_files_only=True,
                quantization_config=quantised, dtype=self.dtype, device=self.device,
            )  # fmt: skip
        else:
            unet = UNet2DConditionModel.from_pretrained(
                self.path, subfolder="unet", local_files_only=True, use_safetensors=True,
                quantization_config=quantised, dtype=self.dtype,
            )  # fmt: skip
        return unet.to(self.device).eval().requires_grad_(False)

    def _vae(self) -> Any:
        config = AutoencoderKL.load_config(self.folder / "vae", local_files_only=True)
        kind = config.get("_class_name", "AutoencoderKL")
        if kind != "AutoencoderKL":
            raise UnreadableModel(self.info.id, f"Its autoencoder is an {str(kind)[:40]}, and AutoencoderKL is needed.")
        # SDXL's autoencoder leaves fp16's range and makes black pictures, unless it is one of those mended for it.
        sdxl = self.info.family.startswith("sdxl")
        overflows = self.dtype == torch.float16 and sdxl and config.get("force_upcast", True)
        dtype = torch.float32 if overflows else self.dtype

        def tensors(vae: Any) -> Mapping[str, Tensor]:
            if not self.single:
                return modern(read_folder(self.path / "vae", self.device, dtype))
            return convert_ldm_vae_checkpoint(self._read(_VAE, dtype), dict(vae.config))  # type: ignore[no-any-return]

        return assemble(self.info.id, "autoencoder", lambda: AutoencoderKL.from_config(config), tensors)

    def _text_encoder(self, text: _Text) -> Any:
        config = CLIPTextConfig.from_pretrained(self.folder / text.folder, local_files_only=True)

        def tensors(encoder: Any) -> Mapping[str, Tensor]:
            if not self.single:
                found = read_folder(self.path / text.folder, self.device, self.dtype)
            elif text.openclip:
                found = convert_open_clip_checkpoint(encoder, self._read(text.prefix), text.prefix)
            else:
                found = read(self.path, self.device, self.dtype, under(text.prefix))
            return with_text_prefix(found, encoder)

        return assemble(self.info.id, "text encoder", lambda: text.kind(config), tensors)

    def _tokenizer(self, text: _Text) -> Any:
        if (self.folder / text.words).is_dir():
            return CLIPTokenizer.from_pretrained(self.folder / text.words, local_files_only=True)
        return clip_tokenizer(text.pad)

    def _scheduler(self, unet: Any) -> Mapping[str, Any]:
        named = getattr(diffusers, str(self.index["scheduler"][1]))  # on the list of check_folder
        config = dict(named.from_config(named.load_config(self.folder / "scheduler", local_files_only=True)).config)
        if self.single and ("v_pred" in self.header or (self.info.family == "sd2" and predicts_velocity(unet))):
            config["prediction_type"] = "v_prediction"
        # Trainers mark SDXL checkpoints that predict v, and those trained with zero terminal SNR, by empty tensors.
        if self.single and "ztsnr" in self.header:
            config["rescale_betas_zero_snr"] = True
        return config

    def _read(self, prefix: str, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Tensors of a single file, under their own names."""
        return read(self.path, self.device, dtype or self.dtype, under(prefix, strip=False))


def _vae_tensors(found: Mapping[str, Tensor], like: LoadedModel) -> dict[str, Tensor]:
    """The tensors of a file of an autoencoder, or of a whole checkpoint, under diffusers' names."""
    inside = {name: tensor for name, tensor in found.items() if name.startswith(_VAE)} or dict(found)
    if any(".down_blocks." in name for name in inside):
        return modern(inside)
    return dict(convert_ldm_vae_checkpoint(inside, dict(like.vae.config)))


def _wrong_channels(name: str, channels: Any, like: LoadedModel) -> UnreadableModel:
    detail = f"This autoencoder has {channels} latent channels, and {like.info.title} needs {like.latent_channels}."
    return UnreadableModel(name, detail, "Choose one that was made for this kind of model.")


def _misfit(name: str, error: Exception) -> UnreadableModel:
    detail = f"The weights do not fit its configuration ({type(error).__name__}: {str(error)[:200]})."
    return UnreadableModel(name, detail, "Copy or download the model again.")
