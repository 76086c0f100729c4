"""Tiny diffusers pipelines of other families, with random weights: built in code, saved as folders, run at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.support import tiny

_PLAIN = {"use_quant_conv": False, "use_post_quant_conv": False}
WORDS = ("a", "b", "c", "cat", "dog", "photo", "of", "red", "blue", "▁")


def _clip(projected: bool, width: int = 32) -> Any:
    words = tiny.tokenizer("sd1")
    config = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=width, max_position_embeddings=77, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval()


def t5_tokenizer() -> Any:
    pieces = ["<pad>", "</s>", "<unk>", *WORDS, *(f"▁{word}" for word in WORDS)]
    return transformers.T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)


def _t5(width: int = 32) -> Any:
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=40, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return transformers.T5EncoderModel(config).eval()


def _vae(channels: int = 4, **options: Any) -> Any:
    return diffusers.AutoencoderKL(
        latent_channels=channels, block_out_channels=(16, 32), norm_num_groups=8, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **options,
    ).eval()  # fmt: skip


def _flow(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, **options)


def sd3() -> Any:
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
            joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=64, out_channels=4,
            pos_embed_max_size=32,
        ).eval(),
        scheduler=_flow(), vae=_vae(shift_factor=0.06, scaling_factor=1.5, **_PLAIN),
        text_encoder=_clip(True), tokenizer=tiny.tokenizer(), text_encoder_2=_clip(True), tokenizer_2=tiny.tokenizer(),
        text_encoder_3=_t5(), tokenizer_3=t5_tokenizer(),
    )  # fmt: skip


def flux(*, distilled: bool = True) -> Any:
    return diffusers.FluxPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8],
            guidance_embeds=distilled,
        ).eval(),
        scheduler=_flow(), vae=_vae(shift_factor=0.1, scaling_factor=0.4, **_PLAIN),
        text_encoder=_clip(False), tokenizer=tiny.tokenizer(), text_encoder_2=_t5(), tokenizer_2=t5_tokenizer(),
    )  # fmt: skip


def _pixart(pipeline: Any) -> Any:
    return pipeline(
        transformer=diffusers.PixArtTransformer2DModel(
            sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4,
            cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate",
            num_embeds_ada_norm=100, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
            caption_channels=32, use_additional_conditions=False,
        ).eval(),
        scheduler=diffusers.DDIMScheduler(), vae=_vae(), text_encoder=_t5(), tokenizer=t5_tokenizer(),
    )  # fmt: skip


def lcm() -> Any:
    stable = tiny.pipeline("sd1")
    config = {name: value for name, value in stable.unet.config.items() if not name.startswith("_")}
    unet = diffusers.UNet2DConditionModel(**{**config, "time_cond_proj_dim": 16}).eval()
    scheduler = diffusers.LCMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    return diffusers.LatentConsistencyModelPipeline(
        vae=stable.vae, text_encoder=stable.text_encoder, tokenizer=stable.tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sana() -> Any:
    words = gemma_tokenizer()
    text = transformers.Gemma2Config(
        vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=512,
    )  # fmt: skip
    return diffusers.SanaPipeline(
        transformer=diffusers.SanaTransformer2DModel(
            patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
            num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
            sample_size=32,
        ).eval(),
        vae=diffusers.AutoencoderDC(
            in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_out_channels=(8, 8),
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), downsample_block_type="conv",
            upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu",
            scaling_factor=0.4,
        ).eval(),
        scheduler=_flow(), text_encoder=transformers.Gemma2Model(text).eval(), tokenizer=words,
    )  # fmt: skip


def gemma_tokenizer() -> Any:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *WORDS, *(f"▁{word}" for word in WORDS)]
    return transformers.GemmaTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])


def kandinsky() -> Any:
    words = tiny.tokenizer("sd1")
    vision = transformers.CLIPVisionConfig(
        hidden_size=32, image_size=32, projection_dim=32, intermediate_size=37, num_attention_heads=4,
        num_channels=3, num_hidden_layers=2, patch_size=14,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        in_channels=4, out_channels=8, addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(32, 64), layers_per_block=1,
        encoder_hid_dim=32, encoder_hid_dim_type="image_proj", cross_attention_dim=32, attention_head_dim=4,
        resnet_time_scale_shift="scale_shift", class_embed_type=None,
    ).eval()  # fmt: skip
    movq = diffusers.VQModel(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), latent_channels=4, layers_per_block=1,
        norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4, in_channels=3, out_channels=3,
    ).eval()  # fmt: skip
    prior = diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1)
    return diffusers.KandinskyV22CombinedPipeline(
        unet=unet, movq=movq,
        scheduler=diffusers.DDIMScheduler(beta_schedule="linear", beta_start=0.00085, beta_end=0.012,
                                          clip_sample=False, set_alpha_to_one=False, thresholding=False),
        prior_prior=prior.eval(), prior_image_encoder=transformers.CLIPVisionModelWithProjection(vision).eval(),
        prior_text_encoder=_clip(True), prior_tokenizer=words,
        prior_scheduler=diffusers.UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample",
                                                  num_train_timesteps=1000, clip_sample=True, clip_sample_range=10.0),
        prior_image_processor=transformers.CLIPImageProcessor(crop_size=32, size=32),
    )  # fmt: skip


def deepfloyd() -> Any:
    unet = diffusers.UNet2DConditionModel(
        sample_size=32, layers_per_block=1, block_out_channels=(32, 64), in_channels=3, out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), norm_num_groups=16,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), cross_attention_dim=32,
        encoder_hid_dim=32, attention_head_dim=8, addition_embed_type="text", addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm", resnet_time_scale_shift="scale_shift", act_fn="gelu",
    ).eval()  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="epsilon", variance_type="learned_range", thresholding=True
    )
    return diffusers.IFPipeline(
        tokenizer=t5_tokenizer(), text_encoder=_t5(), unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, watermarker=None, requires_safety_checker=False,
    )  # fmt: skip


MAKERS: Mapping[str, Callable[[], Any]] = {
    "sd3": sd3,
    "flux": flux,
    "pixart-alpha": lambda: _pixart(diffusers.PixArtAlphaPipeline),
    "pixart-sigma": lambda: _pixart(diffusers.PixArtSigmaPipeline),
    "lcm": lcm,
    "sana": sana,
    "kandinsky": kandinsky,
    "deepfloyd": deepfloyd,
}


def save(name: str, folder: Path) -> Path:
    """The pipeline `name` of MAKERS with its fixed random weights, as a diffusers folder."""
    torch.manual_seed(0)
    MAKERS[name]().save_pretrained(folder / name, safe_serialization=True)
    index = folder / name / "model_index.json"
    # Without torchvision the class is saved under the name of its substitute; published folders name the class itself.
    index.write_text(index.read_text().replace("CLIPImageProcessorPil", "CLIPImageProcessor"))
    return folder / name
