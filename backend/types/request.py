"""What somebody asks for. Pictures are named by the sha256 of their bytes: a request is small and can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Bucket = Literal[1, 2, 4, 8]
Mode = Literal["txt2img", "img2img", "inpaint", "upscale", "convert", "grid"]
Resize = Literal["stretch", "crop", "fill", "latent"]
Emphasis = Literal["original", "no norm", "ignore", "none"]
Stricter = Literal["", "shared", "classroom"]
STRICTER: tuple[Stricter, ...] = get_args(Stricter)
"""Policies that a request may ask for beyond the one in force, the mildest first."""
FileFormat = Literal["png", "jpeg", "webp", "avif"]


class Shape(BaseModel):
    """Base of everything that crosses a border: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraUse(Shape):
    """A LoRA of the catalogue with its weights for text encoder and denoiser; `blocks` scales the UNet's blocks."""

    id: str
    text: float = 1.0
    unet: float = 1.0
    blocks: tuple[float, ...] = ()


class Words(Shape):
    """The text of one picture as admission sees it: styles in, comments out, wildcards drawn. `<lora:...>` stays in."""

    prompt: str
    negative: str = ""
    loras: tuple[LoraUse, ...] = ()


class ControlUnit(Shape):
    """One guide. `start` and `end` are shares of the steps, `low` and `high` the preprocessor's own thresholds.

    `mode` "prompt" weakens the control where it is far from the picture's centre of attention, "control" applies it to
    the conditional row alone (A1111's "My prompt is more important" and "ControlNet is more important").
    `resolution` is the preprocessor's working size in pixels; None with `pixel_perfect` takes the picture's own.
    """

    image: str
    preprocessor: str = "none"
    model: str
    weight: float = Field(default=1.0, ge=0, le=2)
    start: float = Field(default=0.0, ge=0, le=1)
    end: float = Field(default=1.0, ge=0, le=1)
    mode: Literal["balanced", "prompt", "control"] = "balanced"
    resize: Literal["stretch", "crop", "fill"] = "crop"
    pixel_perfect: bool = True
    resolution: int | None = Field(default=None, ge=64, le=2048)
    low: float | None = None
    high: float | None = None


class Inpaint(Shape):
    """`mask` is a picture whose bright pixels are repainted (dark ones if `inverted`); lengths are pixels.

    With `area` "masked" the surroundings of the mask, `padding` wide, are painted at full size and put back.
    None as `mask` is allowed when the canvas grows: then only what is new is painted.
    """

    mask: str | None = None
    blur: int = Field(default=4, ge=0, le=64)
    inverted: bool = False
    area: Literal["whole", "masked"] = "whole"
    padding: int = Field(default=32, ge=0, le=512)
    fill: Literal["fill", "original", "noise", "nothing"] = "original"


class Outpaint(Shape):
    """Pixels by which the canvas grows on each side."""

    left: int = Field(default=0, ge=0, le=2048)
    right: int = Field(default=0, ge=0, le=2048)
    up: int = Field(default=0, ge=0, le=2048)
    down: int = Field(default=0, ge=0, le=2048)


class Hires(Shape):
    """A second pass in the same job, at `width` x `height`. `steps` 0 and empty names mean "as in the first pass"."""

    width: int = Field(ge=64)
    height: int = Field(ge=64)
    upscaler: str = "Latent"
    steps: int = Field(default=0, ge=0)
    denoise: float = Field(default=0.7, ge=0, le=1)
    sampler: str = ""
    schedule: str = ""
    cfg: float | None = Field(default=None, ge=1, le=30)
    prompt: str = ""
    negative: str = ""


class Upscale(Shape):
    """Make a picture larger. With `diffusion` it is repainted in tiles of `tile` pixels, `overlap` pixels shared."""

    upscaler: str = "Lanczos"
    diffusion: bool = False
    tile: int = Field(default=512, ge=64, le=2048)
    overlap: int = Field(default=64, ge=0, le=512)


class Refiner(Shape):
    """An SDXL refiner that takes over at the share `switch` of the steps."""

    model: str
    switch: float = Field(default=0.8, ge=0, le=1)


class Churn(Shape):
    """Noise put back during sampling (Karras et al. 2022, algorithm 2). `tmax` None is infinity."""

    churn: float = Field(default=0.0, ge=0, le=100)
    tmin: float = Field(default=0.0, ge=0)
    tmax: float | None = Field(default=None, ge=0)
    noise: float = Field(default=1.0, ge=0, le=10)


class Variation(Shape):
    """A1111's variation seed: noise is turned from the seed's towards `seed`'s by `strength`, 0..1."""

    seed: int = Field(ge=0, lt=2**53)
    strength: float = Field(gt=0, le=1)


class Grid(Shape):
    """A sheet of finished pictures. `cells` are job ids row by row; "" leaves a place empty."""

    cells: tuple[str, ...] = Field(min_length=1, max_length=400)
    columns: int = Field(ge=1, le=400)
    column_labels: tuple[str, ...] = ()
    row_labels: tuple[str, ...] = ()
    title: str = ""
    margin: int = Field(default=0, ge=0, le=100)


class GenerationRequest(Shape):
    """What somebody asks for, complete and valid: made by `backend.requests.checked`, never by hand from raw input.

    `prompt`, `negative` and `styles` are as typed; `words` is what they came to, one for each picture or one for all.
    `width` and `height` are pixels, `cfg` is the classifier-free guidance scale (1 = off), used within `cfg_interval`
    (shares of the steps). Image number i of `count` uses `seed + i`. `denoise` is the strength of img2img, 0..1.
    `bucket` pins the number of rows in a denoiser batch, to repeat an old picture bit by bit; None lets the engine
    choose. `format` is that of the sealed file, `quality` counts for JPEG, WebP and AVIF. `resize_from` (width,
    height) draws the noise for another size (A1111's seed resize). `film` are the steps to keep small frames of, with
    `maps` also of where each word of the prompt looked; neither changes the picture. `policy` tightens the one in
    force for this request alone, `consent` declares that the people in the pictures brought agreed to what is made of
    them.
    """

    mode: Mode = "txt2img"
    prompt: str
    negative: str = ""
    styles: tuple[str, ...] = ()
    words: tuple[Words, ...] = ()
    width: int
    height: int
    steps: int
    sampler: str
    schedule: str
    cfg: float
    seed: int
    count: int = 1
    model: str
    vae: str = ""
    clip_skip: int = 1
    emphasis: Emphasis = "original"
    cfg_rescale: float = 0.0
    cfg_interval: tuple[float, float] = (0.0, 1.0)
    eta: float | None = None
    churn: Churn = Churn()
    variation: Variation | None = None
    resize_from: tuple[int, int] | None = None
    tiling: bool = False
    init_image: str | None = None
    denoise: float = 0.75
    resize: Resize = "stretch"
    noise_multiplier: float = 1.0
    inpaint: Inpaint | None = None
    outpaint: Outpaint | None = None
    control: tuple[ControlUnit, ...] = ()
    hires: Hires | None = None
    upscale: Upscale | None = None
    refiner: Refiner | None = None
    grid: Grid | None = None
    film: tuple[int, ...] = ()
    maps: bool = False
    format: FileFormat = "png"
    quality: int = Field(default=92, ge=50, le=100)
    bucket: Bucket | None = None
    policy: Stricter = ""
    consent: bool = False
    client_extras: Mapping[str, Any] = {}

    def words_of(self, index: int) -> Words:
        """The text of picture number `index`."""
        if not self.words:
            return Words(prompt=self.prompt, negative=self.negative)
        return self.words[index % len(self.words)]

    @property
    def paints(self) -> bool:
        """Whether a diffusion model has a part in the picture."""
        if self.mode == "upscale":
            return bool(self.upscale and self.upscale.diffusion)
        return self.mode not in ("convert", "grid")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The sha256 names of every picture this request needs, each once, the picture to work on first."""
        mask = self.inpaint.mask if self.inpaint else None
        named = (self.init_image, mask, *(unit.image for unit in self.control))
        return tuple(dict.fromkeys(name for name in named if name))
