"""Model files to modules ready to run. The only place where diffusers and transformers read weights.

Folders and single files take the same way: checked by backend.models.formats, then read by diffusers with every look-up
outside the machine switched off.
"""

from __future__ import annotations

import gzip
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from backend.errors import OutOfMemory, SignetError, UnreadableModel
from backend.models import formats
from backend.models.catalog import config_folder
from backend.types import ModelInfo

_CLIP_PACKAGE, _CLIP_FILE = "clip-anytorch", "bpe_simple_vocab_16e6.txt.gz"
_CLIP_MERGES = 49152 - 256 - 2


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The parts of one Stable Diffusion model in memory. `size` is bytes of weights, `scheduler` its configuration."""

    info: ModelInfo
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype
    size: int

    @property
    def latent_factor(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def load(info: ModelInfo, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Read the weights of a catalogue entry. Raises UnreadableModel if they are not what the configuration says."""
    path = Path(info.path)
    try:
        pipe = _from_folder(path, dtype) if info.layout == "diffusers" else _from_file(path, info, dtype)
        return _loaded(info, pipe, device, dtype)
    except SignetError:
        raise
    except torch.OutOfMemoryError as error:
        hint = "Use a smaller model, or close other programs that use the device."
        raise OutOfMemory(f'the model "{info.title}"', free_memory(), hint) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, NotImplementedError) as error:
        detail = f"The weights do not fit its configuration ({type(error).__name__}: {str(error)[:200]})."
        raise UnreadableModel(info.id, detail, "Copy or download the model again.") from error


def free_memory() -> int | None:
    """Bytes free on the GPU, None where there is none to ask."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def _loaded(info: ModelInfo, pipe: Any, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    modules = [pipe.unet, pipe.vae, pipe.text_encoder]
    for module in modules:
        if any(tensor.is_meta for tensor in module.state_dict().values()):
            raise UnreadableModel(info.id, "Some weights are missing from the file.", "Download the model again.")
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
    scheduler = dict(pipe.scheduler.config)
    if info.family == "sd2" and info.layout == "single-file" and predicts_velocity(pipe.unet):
        scheduler["prediction_type"] = "v_prediction"
    return LoadedModel(
        info=info,
        unet=pipe.unet,
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        scheduler=scheduler,
        device=device,
        dtype=dtype,
        size=sum(
            tensor.numel() * tensor.element_size() for module in modules for tensor in module.state_dict().values()
        ),
    )


def _from_folder(path: Path, dtype: torch.dtype) -> Any:
    formats.check_folder(path)
    text_encoder, found = CLIPTextModel.from_pretrained(
        path / "text_encoder", local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    if found["missing_keys"]:  # transformers would make up random ones, with no more than a warning
        raise UnreadableModel(path.name, "Weights of the text encoder are missing.", "Copy the model folder again.")
    return StableDiffusionPipeline.from_pretrained(
        path, text_encoder=text_encoder, local_files_only=True, use_safetensors=True, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False, dtype=dtype,
    )  # fmt: skip


def _from_file(path: Path, info: ModelInfo, dtype: torch.dtype) -> Any:
    family = formats.single_file_family(path)
    config = config_folder(path, family)
    own_tokenizer = {} if (config / "tokenizer").is_dir() else {"tokenizer": clip_tokenizer(family)}
    return StableDiffusionPipeline.from_single_file(
        str(path), config=str(config), local_files_only=True, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, dtype=dtype, **own_tokenizer,
    )  # fmt: skip


def clip_tokenizer(family: str) -> CLIPTokenizer:
    """OpenAI's CLIP vocabulary (49,408 tokens), read as data from the package that carries it (no code imported).

    SD 1.x pads with <|endoftext|>, SD 2.x with "!" (token 0), as in their original repositories.
    """
    files = importlib.metadata.files(_CLIP_PACKAGE) or []
    source = next(Path(str(file.locate())) for file in files if file.name == _CLIP_FILE)
    with gzip.open(source, "rt", encoding="utf-8") as text:
        lines = text.read().split("\n")[1 : _CLIP_MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = list(_byte_letters())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocab = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    pad = "<|endoftext|>" if family == "sd1" else "!"
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77, pad_token=pad)


def _byte_letters() -> tuple[str, ...]:
    """GPT-2's printable stand-ins for the 256 byte values, in CLIP's order (visible ones first)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return (*map(chr, visible), *(chr(256 + number) for number in range(len(hidden))))


def predicts_velocity(unet: Any) -> bool:
    """Whether an SD 2.x UNet predicts v rather than noise: the same probe as A1111 1.10.1.

    At the last training step the input is nearly pure noise; a noise predictor gives it back, a v predictor does not.
    """
    weight: Tensor = unet.conv_in.weight
    x = torch.full((1, unet.config.in_channels, 8, 8), 0.5, device=weight.device, dtype=weight.dtype)
    text = torch.full((1, 2, unet.config.cross_attention_dim), 0.5, device=weight.device, dtype=weight.dtype)
    with torch.inference_mode():
        out = unet(x, torch.tensor([999], device=weight.device), encoder_hidden_states=text).sample
    return bool((out - x).mean().item() < -1)
