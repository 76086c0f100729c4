from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.models.recognise import Facts, Shapes, recognise
from tests.support.headers import CHECKPOINTS, LORA, lora

ATTN2 = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
KOHYA = LORA


def look(shapes: Shapes, name: str = "", **metadata: str) -> Facts:
    found = recognise(shapes, metadata, name)
    assert found is not None
    return found


@pytest.mark.parametrize(("family", "width"), [("sd1", 768), ("sd2", 1024), ("sdxl", 2048), ("sdxl-refiner", 1280)])
def test_a_checkpoint_is_known_by_its_text_encoder_and_its_width_by_cross_attention(family: str, width: int):
    found = look(CHECKPOINTS[family])
    assert (found.kind, found.family, found.width, found.problem) == ("checkpoint", family, width, "")
    assert found.variant == ("refiner" if family == "sdxl-refiner" else "plain")


@pytest.mark.parametrize(("channels", "variant"), [(4, "plain"), (9, "inpaint"), (8, "edit")])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_channels_of_the_first_convolution_tell_an_inpainting_checkpoint(family: str, channels: int, variant: str):
    first = {"model.diffusion_model.input_blocks.0.0.weight": (320, channels, 3, 3)}
    assert look({**CHECKPOINTS[family], **first}).variant == variant


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "sd3"),
        ("double_blocks.0.img_attn.qkv.weight", "flux"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "flux"),
        ("y_embedder.y_embedding", "pixart"),
    ],
)
def test_a_transformer_in_one_file_is_named_and_said_to_need_its_folder(key: str, family: str):
    found = look({key: (4, 4)})
    assert (found.kind, found.family) == ("checkpoint", family)
    assert "in one file" in found.problem
    assert "diffusers" in (found.hint or "")


def test_a_unet_alone_is_said_to_lack_its_text_encoder():
    shapes = {key: shape for key, shape in CHECKPOINTS["sd1"].items() if "diffusion_model" in key}
    assert "without its text encoder" in look(shapes).problem
    diffusers = {"conv_in.weight": (2, 4, 3, 3), f"{ATTN2}.to_k.weight": (2, 768), "conv_out.weight": (4, 2, 3, 3)}
    assert look(diffusers).problem


LAYOUTS: dict[str, Shapes] = {
    "kohya": lora(1),
    "kohya, LDM names": {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 1),
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (9, 4),
    },
    "early diffusers": {f"unet.{ATTN2}.processor.to_k_lora.down.weight": (4, 1)},
    "diffusers": {f"unet.{ATTN2}.to_k.lora.down.weight": (4, 1)},
    "PEFT": {f"unet.{ATTN2}.to_k.lora_A.weight": (4, 1), f"unet.{ATTN2}.to_k.lora_B.weight": (9, 4)},
    "PEFT, bare": {f"base_model.model.{ATTN2}.to_k.lora_A.weight": (4, 1)},
    "PEFT, named": {f"unet.{ATTN2}.to_k.lora_A.default_0.weight": (4, 1)},
    "LoHa": {f"{KOHYA}.hada_w1_a": (9, 4), f"{KOHYA}.hada_w1_b": (4, 1), f"{KOHYA}.hada_w2_b": (4, 1)},
    "LoKr": {f"{KOHYA}.lokr_w1": (3, 1), f"{KOHYA}.lokr_w2": (3, 1)},
    "LoKr, factored": {f"{KOHYA}.lokr_w1": (3, 1), f"{KOHYA}.lokr_w2_a": (3, 2), f"{KOHYA}.lokr_w2_b": (2, 1)},
    "full": {f"{KOHYA}.diff": (9, 1)},
    "DoRA": {f"{KOHYA}.dora_scale": (9, 1), f"{KOHYA}.lora_down.weight": (4, 1), f"{KOHYA}.lora_up.weight": (9, 4)},
}


def widened(shapes: Shapes, width: int) -> Shapes:
    """Every input of one feature made `width` wide; a Kronecker product shares it between its factors."""
    both = any("lokr" in key for key in shapes)

    def side(key: str) -> int:
        return (8 if key.endswith("lokr_w1") else width // 8) if both else width

    return {key: (*shape[:-1], side(key)) if shape and shape[-1] == 1 and ("lora_up" not in key) else shape
            for key, shape in shapes.items()}  # fmt: skip


@pytest.mark.parametrize(("family", "width"), [("sd1", 768), ("sd2", 1024), ("sdxl", 2048), ("sdxl-refiner", 1280)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_family_of_a_lora_is_told_by_its_shapes_whatever_its_layout(layout: str, family: str, width: int):
    found = look(widened(LAYOUTS[layout], width))
    assert (found.kind, found.family, found.width) == ("lora", family, width)


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", "flux"),
        ("transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight", "flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", "sd3"),
        ("transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight", "sd3"),
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "unknown"),
    ],
)
def test_loras_of_transformers_are_told_apart(key: str, family: str):
    assert (look({key: (4, 3072)}).kind, look({key: (4, 3072)}).family) == ("lora", family)


def test_a_lora_of_the_text_encoder_alone_is_told_by_that():
    assert look({"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": (4, 768)}).family == "sd1"
    assert look({"lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": (4, 1280)}).family == "sdxl"


def test_metadata_decides_where_shapes_do_not():
    convolution = {"lora_unet_conv_in.lora_down.weight": (4, 4, 3, 3)}
    assert look(convolution).family == "sd1"
    assert look(convolution, ss_base_model_version="sdxl_base_v1-0").family == "sdxl"
    assert look(convolution, **{"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}).family == "sd2"
    assert look(convolution, ss_v2="True").family == "sd2"
    assert look(lora(768), ss_base_model_version="sdxl_base_v1-0").family == "sd1"


def test_a_lora_for_a_model_of_an_unusual_width_keeps_that_width():
    found = look(lora(256))
    assert (found.family, found.width) == ("sd1", 256)


def test_cloneofsimos_first_layout_is_a_lora_too():
    found = look({"unet:0:up": (320, 4), "unet:0:down": (4, 320), "unet:1:down": (4, 768)})
    assert (found.kind, found.family) == ("lora", "sd1")


@pytest.mark.parametrize("prefix", ["", "control_model."])
def test_a_controlnet_is_known_in_both_formats(prefix: str):
    original = {
        f"{prefix}input_hint_block.0.weight": (16, 3, 3, 3),
        f"{prefix}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    }
    assert (look(original).kind, look(original).family) == ("controlnet", "sd1")
    diffusers = {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), f"{ATTN2}.to_k.weight": (640, 2048)}
    assert (look(diffusers).kind, look(diffusers).family, look(diffusers).width) == ("controlnet", "sdxl", 2048)


def test_relatives_of_controlnets_are_named_as_what_they_are():
    control = look({"lora_controlnet": (0,), "input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (4, 2048)})
    assert (control.kind, control.family) == ("controlnet", "sdxl")
    assert "Control-LoRA" in control.problem
    assert "LLLite" in look({"lllite_unet_input_blocks_4_1.cond_emb.weight": (4, 4)}).problem


@pytest.mark.parametrize("inputs", [("sd1", 192), ("sdxl", 768)])
def test_a_t2i_adapter_is_told_by_how_it_folds_the_picture(inputs: tuple[str, int]):
    family, channels = inputs
    for prefix, block in (("", "body.0.block1.weight"), ("adapter.", "body.0.resnets.0.block1.weight")):
        found = look({f"{prefix}conv_in.weight": (320, channels, 3, 3), f"{prefix}{block}": (320, 320, 3, 3)})
        assert (found.kind, found.family) == ("t2i-adapter", family)


def test_an_ip_adapter_is_told_by_its_key_projection():
    for family, width in (("sd1", 768), ("sdxl", 2048)):
        found = look({"image_proj.proj.weight": (4, 1024), "ip_adapter.1.to_k_ip.weight": (320, width)})
        assert (found.kind, found.family, found.width) == ("ip-adapter", family, width)


def test_embeddings_are_known_by_their_few_tensors():
    assert look({"emb_params": (4, 768)}).family == "sd1"
    assert look({"emb_params": (4, 1024)}).family == "sd2"
    assert look({"clip_l": (4, 768), "clip_g": (4, 1280)}).family == "sdxl"
    assert look({"<my-cat>": (768,)}).kind == "embedding"
    assert recognise({"weight": (3, 7)}, {}) is None


def vae(latent: int, levels: int, *, diffusers: bool) -> Shapes:
    name = "decoder.up_blocks.{}.resnets.0.conv1.weight" if diffusers else "decoder.up.{}.block.0.conv1.weight"
    ups = {name.format(number): (2, 2) for number in range(levels)}
    return {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, latent, 3, 3), **ups}


@pytest.mark.parametrize("diffusers", [True, False])
def test_an_autoencoder_shows_its_factor_and_its_name_its_family(diffusers: bool):
    found = look(vae(4, 4, diffusers=diffusers), "vae-ft-mse-840000.safetensors")
    assert (found.kind, found.family, found.factor) == ("vae", "sd1", 8)
    assert look(vae(4, 4, diffusers=diffusers), "SDXL_vae.safetensors").family == "sdxl"
    assert look(vae(16, 4, diffusers=diffusers), "ae.safetensors").family == "flux"
    assert look(vae(24, 5, diffusers=diffusers)).family == "unknown"


def test_upscalers_show_their_scale():
    def rrdb(channels: int) -> Shapes:
        return {"conv_first.weight": (64, channels, 3, 3), "body.0.rdb1.conv1.weight": (32, 64, 3, 3)}

    assert [look(rrdb(channels)).factor for channels in (3, 12, 48)] == [4, 2, 1]
    assert look({f"params_ema.{key}": shape for key, shape in rrdb(3).items()}).kind == "upscaler"
    for tops, scale in (((0, 2, 4), 1), ((0, 3, 5, 7), 2), ((0, 3, 6, 8, 10), 4), ((0, 3, 6, 9, 11, 13), 8)):
        old = {f"model.{top}.weight": (64, 64, 3, 3) for top in tops}
        assert look({**old, "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)}).factor == scale
    compact = {"body.0.weight": (64, 3, 3, 3), "body.1.weight": (64,), "body.34.weight": (48, 64, 3, 3)}
    assert look(compact).factor == 4
    swin = {"conv_first.weight": (180, 3, 3, 3), "layers.0.residual_group.blocks.0.attn.qkv.weight": (540, 180)}
    assert look({**swin, "upsample.0.weight": (256, 64, 3, 3), "upsample.2.weight": (256, 64, 3, 3)}).factor == 4


def test_an_encoder_alone_is_a_part_and_not_a_model():
    assert "part" in look({"text_model.final_layer_norm.weight": (768,)}).problem
    assert "image encoder" in look({"vision_model.post_layernorm.weight": (768,)}).problem


def test_something_else_is_nothing():
    assert recognise({"model.layers.0.self_attn.q_proj.weight": (8, 8)}, {}) is None
    assert recognise({}, {}) is None


PIECES = st.sampled_from(
    ["lora_unet_", "attn2", "_to_k", ".lora_down", ".weight", "decoder.conv_in", "encoder.conv_in", "body.", "0.",
     "clip_l", "clip_g", "emb_params", "ip_adapter.", "image_proj.", "to_k_ip", "hada_w1_b", "lokr_w1", "unet:0:up"]
)  # fmt: skip
KEYS = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=30)
SIZES = st.lists(st.integers(0, 4096), max_size=5).map(tuple)


@given(
    st.dictionaries(KEYS, SIZES, max_size=12), st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=4)
)
def test_any_names_and_shapes_are_recognised_or_not_and_never_raise(shapes: Shapes, metadata: dict[str, str]):
    found = recognise(shapes, metadata, "x.safetensors")
    assert found is None or found.factor >= 1


def test_twenty_thousand_long_names_are_looked_through_at_once():
    shapes = {f"lora_{'attn2_to_' * 20}{number}.x": (4, 4) for number in range(20_000)}
    began = time.process_time()
    recognise(shapes, {})
    assert time.process_time() - began < 3
