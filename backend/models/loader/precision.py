"""How precisely weights are kept, by what the device is good at or by what was asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import diffusers
import torch

from backend.errors import InvalidParameter, Unavailable

Precision = Literal["auto", "fp32", "bf16", "fp16", "fp8", "int8", "nf4", "int8-torchao"]
"""fp8 keeps the denoiser's weights in 8 bits and computes in 16; int8, nf4 (bitsandbytes) and int8-torchao quantise
them. Autoencoder and text encoders stay in 16 bits: they are small, and errors there show."""

PRECISIONS: tuple[str, ...] = get_args(Precision)
_PLAIN = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Quantiser:
    """A way of diffusers to quantise while loading, and the package it needs."""

    package: str
    config: Callable[[torch.dtype], Any]


def _nf4(dtype: torch.dtype) -> Any:
    return diffusers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _int8(dtype: torch.dtype) -> Any:
    return diffusers.BitsAndBytesConfig(load_in_8bit=True)


def _torchao(dtype: torch.dtype) -> Any:
    quantization = importlib.import_module("torchao.quantization")
    return diffusers.TorchAoConfig(quantization.Int8WeightOnlyConfig())


def _gguf(dtype: torch.dtype) -> Any:
    return diffusers.GGUFQuantizationConfig(compute_dtype=dtype)


_QUANTISERS: Mapping[str, Quantiser] = {
    "nf4": Quantiser("bitsandbytes", _nf4),
    "int8": Quantiser("bitsandbytes", _int8),
    "int8-torchao": Quantiser("torchao", _torchao),
    "gguf": Quantiser("gguf", _gguf),
}


def dtype_for(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The dtype to compute in. "auto" is float32 on the CPU (small models are no faster in less, fp16 is slow there),
    bfloat16 on CUDA devices that have it in hardware, else float16.

    Raises InvalidParameter for an unknown name and Unavailable for one the device cannot run.
    """
    if precision not in PRECISIONS:
        raise InvalidParameter("precision", f'"{precision[:40]}" is no precision.', f"One of {', '.join(PRECISIONS)}.")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Unavailable("This GPU has no bfloat16.", "Choose fp16.")
    if precision in _PLAIN:
        return _PLAIN[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        return torch.float32 if precision == "auto" else torch.bfloat16
    return torch.float16


def quantisation(precision: str, dtype: torch.dtype) -> Any | None:
    """The configuration diffusers wants for `precision` ("gguf" included), or None if it quantises nothing.

    Raises Unavailable, naming the package that is missing.
    """
    quantiser = _QUANTISERS.get(precision)
    if quantiser is None:
        return None
    if importlib.util.find_spec(quantiser.package) is None:
        detail = f'"{precision}" needs the package {quantiser.package}, which is not installed.'
        raise Unavailable(detail, f"Install {quantiser.package}, or choose fp8, which needs nothing.")
    return quantiser.config(dtype)


def keep_in_fp8(module: Any, dtype: torch.dtype) -> None:
    """Store the layers of a diffusers module as float8 and cast each to `dtype` while it runs: half the memory.

    Not exact: weights lose 5 of fp16's 10 bits of mantissa or more.
    """
    module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
