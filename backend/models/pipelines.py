"""Which diffusers folders may be opened: pipelines of text to picture, and the classes their parts may have.

diffusers imports what a model_index.json names, so these tables are closed; a name that is not here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.types.models import Variant


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`family` names the architecture; `alone` means that diffusers' own pipeline runs it, one picture at a time.

    `parts` are the folders that must hold weights, `denoiser` is the one whose configuration tells sizes, `decoder` the
    one that makes pixels. Sides must be multiples of the decoder's factor times `patch`.
    """

    family: str
    parts: tuple[str, ...]
    variant: Variant = "plain"
    alone: bool = False
    denoiser: str = "unet"
    decoder: str = "vae"
    patch: int = 1
    native: int = 1024


_SD = ("unet", "vae", "text_encoder")
_XL = (*_SD, "text_encoder_2")

PIPELINES: Mapping[str, Pipeline] = {
    "StableDiffusionPipeline": Pipeline("sd1", _SD, native=512),
    "StableDiffusionInpaintPipeline": Pipeline("sd1", _SD, "inpaint", native=512),
    "StableDiffusionInstructPix2PixPipeline": Pipeline("sd1", _SD, "edit", native=512),
    "StableDiffusionXLPipeline": Pipeline("sdxl", _XL),
    "StableDiffusionXLInpaintPipeline": Pipeline("sdxl", _XL, "inpaint"),
    # The refiner is published under this name; a base model under it has the first text encoder too.
    "StableDiffusionXLImg2ImgPipeline": Pipeline("sdxl", ("unet", "vae", "text_encoder_2")),
    "LatentConsistencyModelPipeline": Pipeline("lcm", _SD, alone=True, native=768),
    "StableDiffusion3Pipeline": Pipeline(
        "sd3", ("transformer", "vae", "text_encoder", "text_encoder_2"), alone=True, denoiser="transformer", patch=2
    ),
    "FluxPipeline": Pipeline(
        "flux", ("transformer", "vae", "text_encoder", "text_encoder_2"), alone=True, denoiser="transformer", patch=2
    ),
    "PixArtAlphaPipeline": Pipeline(
        "pixart", ("transformer", "vae", "text_encoder"), alone=True, denoiser="transformer", patch=2
    ),
    "PixArtSigmaPipeline": Pipeline(
        "pixart", ("transformer", "vae", "text_encoder"), alone=True, denoiser="transformer", patch=2
    ),
    "SanaPipeline": Pipeline("sana", ("transformer", "vae", "text_encoder"), alone=True, denoiser="transformer"),
    "KandinskyV22Pipeline": Pipeline("kandinsky", ("unet", "movq"), alone=True, decoder="movq", patch=8, native=512),
    "KandinskyV22CombinedPipeline": Pipeline(
        "kandinsky",
        ("unet", "movq", "prior_prior", "prior_image_encoder", "prior_text_encoder"),
        alone=True,
        decoder="movq",
        patch=8,
        native=512,
    ),
    # DeepFloyd IF paints pixels; its UNet halves the sides three times.
    "IFPipeline": Pipeline("if", ("unet", "text_encoder"), alone=True, decoder="", patch=8, native=64),
}

ALLOWED_PARTS: Mapping[str, frozenset[str]] = {
    "diffusers": frozenset(
        {
            "UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL", "AutoencoderDC",
            "ConsistencyDecoderVAE", "VQModel", "PriorTransformer", "Transformer2DModel", "PixArtTransformer2DModel",
            "SD3Transformer2DModel", "FluxTransformer2DModel", "SanaTransformer2DModel",
            "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "LCMScheduler",
            "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
            "UniPCMultistepScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler", "DEISMultistepScheduler",
            "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "EDMEulerScheduler", "TCDScheduler",
            "EDMDPMSolverMultistepScheduler", "UnCLIPScheduler", "SCMScheduler", "FlowMatchEulerDiscreteScheduler",
        }
    ),
    "transformers": frozenset(
        {
            "CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModelWithProjection", "CLIPTokenizer",
            "CLIPTokenizerFast", "CLIPImageProcessor", "CLIPFeatureExtractor", "T5EncoderModel", "T5Tokenizer",
            "T5TokenizerFast", "Gemma2Model", "Gemma2ForCausalLM", "GemmaTokenizer", "GemmaTokenizerFast",
        }
    ),
    "stable_diffusion": frozenset({"StableDiffusionSafetyChecker"}),
    "deepfloyd_if": frozenset({"IFSafetyChecker", "IFWatermarker"}),
}  # fmt: skip

COMPONENTS: Mapping[str, str] = {
    "ControlNetModel": "controlnet",
    "T2IAdapter": "t2i-adapter",
    "AutoencoderKL": "vae",
}
"""Classes of a folder with nothing but a config.json and weights, and the kind each makes."""

FAMILY_NAMES: Mapping[str, str] = {
    "sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "sdxl-refiner": "the SDXL refiner", "sd3": "SD 3",
    "flux": "Flux", "pixart": "PixArt", "sana": "Sana", "kandinsky": "Kandinsky", "if": "DeepFloyd IF", "lcm": "LCM",
}  # fmt: skip

TEXT_WIDTHS: Mapping[str, int] = {"sd1": 768, "sd2": 1024, "sdxl": 2048, "sdxl-refiner": 1280, "lcm": 768}
"""Width of the text that cross-attention takes in the models that the families are named after."""


def family_name(family: str) -> str:
    return FAMILY_NAMES.get(family, family)
