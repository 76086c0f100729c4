"""The shape of every part of the starter model: what is built here is what is shipped.

There are two geometries. `small`, which ships: pictures 128 x 128, latents (24, 8, 8), computed rather than learned,
for training on a CPU. `full`: pictures 256 x 256, learned latents (16, 32, 32), for a GPU. All parts are stock classes
of diffusers and transformers, so that a stock `StableDiffusionPipeline` loads them. The constants in capitals are those
of `small`; text is the same in both but for the depth of its tower.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from training.errors import BadInput


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the stages have to agree on. Lengths in pixels; channels from the largest picture to the smallest."""

    name: str
    size: int
    """Side of a picture."""
    factor: int
    """By how much the autoencoder shrinks it."""
    latent_channels: int
    learned: bool
    """Whether latents are learned, or computed as principal components of patches."""
    autoencoder_channels: tuple[int, ...]
    denoiser_channels: tuple[int, ...]
    """At latent size without attention to text, then half, quarter, ... with it."""
    text_layers: int
    beta_end: float
    """End of the noise table. The mean of more latent pixels needs more noise to be hidden."""

    @property
    def latent_size(self) -> int:
        """Side of a latent."""
        return self.size // self.factor


SMALL = Geometry(
    name="small",
    size=128,
    factor=16,
    latent_channels=24,
    learned=False,
    autoencoder_channels=(16, 32, 48, 64, 96),
    denoiser_channels=(128, 192),
    text_layers=4,
    beta_end=0.018,
)
FULL = Geometry(
    name="full",
    size=256,
    factor=8,
    latent_channels=16,
    learned=True,
    autoencoder_channels=(32, 64, 96, 128),
    denoiser_channels=(96, 192, 256),
    text_layers=6,
    beta_end=0.0255,
)
GEOMETRIES: Mapping[str, Geometry] = MappingProxyType({shape.name: shape for shape in (SMALL, FULL)})

SIZE, LATENT_CHANNELS, LATENT_SIZE = SMALL.size, SMALL.latent_channels, SMALL.latent_size
TEXT_WIDTH = 256
TOKENS = 77
VOCABULARY = 4608
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def named(name: str) -> Geometry:
    """The geometry of that name; BadInput if there is none."""
    if name not in GEOMETRIES:
        raise BadInput(f'There is no geometry "{name[:40]}". Choose one of: {", ".join(GEOMETRIES)}.')
    return GEOMETRIES[name]


def autoencoder(channels: tuple[int, ...] | None = None, *, shape: Geometry = SMALL) -> AutoencoderKL:
    """Narrow where the picture is large, no attention: the decoder is most of the time on a CPU."""
    channels = channels or shape.autoencoder_channels
    levels = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=shape.latent_channels,
        norm_num_groups=8,
        sample_size=shape.size,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        force_upcast=False,
    )


def denoiser(
    channels: tuple[int, ...] | None = None, sample_size: int | None = None, *, shape: Geometry = SMALL
) -> UNet2DConditionModel:
    """Plain convolutions at latent size (8 x 8, or 32 x 32), text attention at the smaller ones and in the middle.

    Attention at full latent size would cost half the training speed on a CPU for little that the next can not say.
    """
    channels = channels or shape.denoiser_channels
    return UNet2DConditionModel(
        sample_size=sample_size or shape.latent_size,
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * (len(channels) - 1),
        up_block_types=("CrossAttnUpBlock2D",) * (len(channels) - 1) + ("UpBlock2D",),
        attention_head_dim=4,  # a number of heads, whatever its name says
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=32,
    )


def text_tower(vocabulary: int = VOCABULARY, *, shape: Geometry = SMALL) -> CLIPTextModelWithProjection:
    """Causal layers, four or six; the projection serves the contrastive training and is dropped on export."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=3 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def vision_tower() -> CLIPVisionModelWithProjection:
    """The text tower's teacher: 64 x 64 pictures in patches of 8."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=192,
            intermediate_size=384,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
        )
    )


def scheduler(shape: Geometry = SMALL, **options: Any) -> EulerDiscreteScheduler:
    """Stable Diffusion's kind of noise table with v-prediction, its end raised a little.

    The last step of `small` has 45 times more noise than signal, enough to hide even the mean brightness of 64 latent
    pixels, so backgrounds come out truly white and every stock sampler works without a zero-terminal-SNR fix. The
    1,024 latent pixels of `full` need four times as much.
    """
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=shape.beta_end,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
        **options,
    )


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> CLIPTokenizer:
    """CLIP's kind of byte-pair tokenizer, learned from `texts`, with exactly `vocabulary` entries."""
    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>", fuse_unk=False))
    raw.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    learned = json.loads(raw.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return assemble_tokenizer(letters, merges, vocabulary)


def assemble_tokenizer(letters: list[str], merges: list[tuple[str, ...]], vocabulary: int) -> CLIPTokenizer:
    """Vocabulary in CLIP's order: letters, letters that end a word, merges, unused, start, end."""
    tokens = dict.fromkeys(letters + [letter + "</w>" for letter in letters])
    kept: list[tuple[str, ...]] = []
    for pair in merges:
        if len(tokens) + 2 >= vocabulary:
            break
        kept.append(pair)
        tokens["".join(pair)] = None
    names = list(tokens)
    names += [f"<|unused{number}|>" for number in range(vocabulary - 2 - len(names))]
    table = {name: number for number, name in enumerate([*names, START, END])}
    return CLIPTokenizer(
        vocab=table,
        merges=kept,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=TOKENS,
    )


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """All four classic files as well as transformers' own, so that old and new readers agree."""
    tokenizer.save_pretrained(folder)
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(state["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in state["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    specials = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n", encoding="utf-8")
