"""The folders of other programs, links, names, and ten thousand files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from backend.errors import Conflict, UnknownModel, UnreadableModel
from backend.models import formats
from backend.models.catalog import Catalog
from backend.models.sidecars import Notes
from backend.types import ModelKind
from tests.support import headers
from tests.support.headers import CHECKPOINTS, lora, save, save_json, save_pipeline

EMBEDDING = {"emb_params": (2, 768)}
CONTROLNET = {"controlnet_cond_embedding.conv_in.weight": (2, 3, 3, 3), "x.attn2.to_k.weight": (2, 768)}
UPSCALER = {"conv_first.weight": (2, 3, 3, 3), "body.0.rdb1.conv1.weight": (2, 2, 3, 3)}
VAE = {"encoder.conv_in.weight": (2, 3, 3, 3), "decoder.conv_in.weight": (2, 4, 3, 3), "decoder.up.3.x": (1,)}
T2I = {"conv_in.weight": (2, 192, 3, 3), "body.0.block1.weight": (2, 2, 3, 3)}
IP = {"image_proj.x": (1,), "ip_adapter.1.to_k_ip.weight": (2, 768)}


def found(*roots: Path, **options: Path) -> dict[str, list[str]]:
    """Kind -> ids, in order."""
    out: dict[str, list[str]] = {}
    for info in Catalog((), roots, **options).all(None):
        out.setdefault(info.kind, []).append(info.id)
    return out


def aged(*roots: Path) -> None:
    """Make every directory look as if it had been left alone for a minute."""
    for root in roots:
        for place, _, _ in os.walk(root):
            os.utime(place, ns=(time.time_ns(), time.time_ns() - 60 * 10**9))


def a1111(root: Path) -> Path:
    save(root / "models/Stable-diffusion/anime/dream.safetensors", CHECKPOINTS["sd1"])
    save(root / "models/Lora/style.safetensors", lora())
    save(root / "models/LyCORIS/other.safetensors", lora(2048))
    save(root / "models/VAE/mse.safetensors", VAE)
    save(root / "models/ControlNet/canny.safetensors", CONTROLNET)
    save(root / "models/ControlNet/sketch.safetensors", T2I)
    save(root / "models/ControlNet/face.safetensors", IP)
    save(root / "models/ESRGAN/4x.safetensors", UPSCALER)
    save(root / "models/RealESRGAN/real.safetensors", UPSCALER)
    save(root / "models/hypernetworks/ignored.safetensors", EMBEDDING)
    save(root / "models/Codeformer/ignored.pth", {})
    save(root / "embeddings/easy.safetensors", EMBEDDING)
    save(root / "outputs/ignored.safetensors", EMBEDDING)
    return root


A1111_KINDS = {
    "checkpoint": ["dream"],
    "controlnet": ["canny"],
    "ip-adapter": ["face"],
    "t2i-adapter": ["sketch"],
    "upscaler": ["4x", "real"],
    "lora": ["style", "other"],
    "vae": ["mse"],
    "embedding": ["easy"],
}


def test_the_root_of_a1111_is_read_in_place(tmp_path: Path):
    assert {kind: sorted(ids) for kind, ids in found(a1111(tmp_path)).items()} == {
        kind: sorted(ids) for kind, ids in A1111_KINDS.items()
    }
    info = Catalog((), (tmp_path,)).find("dream")
    assert info.path == str(tmp_path / "models/Stable-diffusion/anime/dream.safetensors")


def test_its_models_folder_alone_will_do(tmp_path: Path):
    kinds = found(a1111(tmp_path) / "models")
    assert set(kinds) == set(A1111_KINDS) - {"embedding"}


def test_the_root_of_comfyui_is_read_in_place(tmp_path: Path):
    save(tmp_path / "models/checkpoints/xl/base.safetensors", CHECKPOINTS["sdxl"])
    save(tmp_path / "models/loras/style.safetensors", lora())
    save(tmp_path / "models/t2i_adapter/sketch.safetensors", T2I)
    save(tmp_path / "models/ipadapter/face.safetensors", IP)
    save(tmp_path / "models/upscale_models/4x.safetensors", UPSCALER)
    save(tmp_path / "models/embeddings/easy.safetensors", EMBEDDING)
    save(tmp_path / "models/diffusion_models/flux.safetensors", {"double_blocks.0.img_attn.qkv.weight": (2, 2)})
    save(tmp_path / "models/text_encoders/clip.safetensors", {"text_model.final_layer_norm.weight": (2,)})
    save(tmp_path / "custom_nodes/x/ignored.safetensors", lora())
    kinds = found(tmp_path)
    assert set(kinds) == {"checkpoint", "lora", "t2i-adapter", "ip-adapter", "upscaler", "embedding"}
    refused = Catalog((), (tmp_path,)).refused()
    assert "Flux" in str(refused["flux.safetensors"])
    assert "part" in str(refused["clip.safetensors"])
    assert Catalog((), (tmp_path,)).card("base").folder == "xl"


def test_our_own_folder_has_a_place_for_every_kind(tmp_path: Path):
    own = tmp_path / "models"
    save(own / "checkpoints/one.safetensors", CHECKPOINTS["sd1"])
    save(own / "loras/two.safetensors", lora())
    save(own / "upscalers/three.safetensors", UPSCALER)
    save(own / "t2i-adapter/four.safetensors", T2I)
    assert found(own=own) == {"checkpoint": ["one"], "lora": ["two"], "t2i-adapter": ["four"], "upscaler": ["three"]}


@pytest.mark.parametrize("form", ["lines", "list", "single"])
def test_extra_model_paths_are_followed_in_every_form(tmp_path: Path, form: str):
    base = a1111(tmp_path / "webui")
    loras = {
        "lines": "loras: |\n    models/Lora\n    models/LyCORIS",
        "list": "loras: [models/Lora, models/LyCORIS]",
        "single": f"loras: models/Lora\nb:\n  loras: {base}/models/LyCORIS",
    }
    text = f"a111:\n  base_path: webui/\n  is_default: true\n  checkpoints: models/Stable-diffusion\n  {loras[form]}\n"
    text += "  hypernetworks: models/hypernetworks\n"
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(text.replace("\n    models", "\n      models"))
    assert found(file) == {"checkpoint": ["dream"], "lora": ["style", "other"]}


@pytest.mark.parametrize("text", ["", "[]", "a: [", "a: 5", "a: {loras: {x: y}}", "a: {base_path: 7, loras: 9}", "\x00",
                                  "!!python/object/apply:os.system ['exit 1']", "[" * 5000])  # fmt: skip
def test_a_list_of_paths_that_says_nothing_leaves_nothing_else_out(tmp_path: Path, text: str):
    (tmp_path / "extra.yaml").write_text(text)
    save(tmp_path / "flat/one.safetensors", lora())
    assert found(tmp_path / "extra.yaml", tmp_path / "flat", tmp_path / "missing.yaml") == {"lora": ["one"]}


def test_a_list_of_paths_that_changes_is_read_again(tmp_path: Path):
    save(tmp_path / "a/one.safetensors", lora())
    file = tmp_path / "extra.yaml"
    file.write_text("x:\n  loras: nowhere\n")
    catalog = Catalog((), (file,))
    assert catalog.all("lora") == ()
    file.write_text("x:\n  loras: a\n")
    os.utime(file, ns=(5, 5))
    assert [info.id for info in catalog.all("lora")] == ["one"]


def cache(hub: Path, repository: str, revision: str = "abc", *, main: bool = True) -> Path:
    """An empty snapshot as huggingface_hub leaves it."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "blobs").mkdir(exist_ok=True)
    if main:
        (folder / "refs/main").write_text(revision)
    (folder / "snapshots" / revision).mkdir(parents=True)
    return folder / "snapshots" / revision


def test_the_hugging_face_cache_is_read_through_its_links(tmp_path: Path):
    snapshot = cache(tmp_path, "someone/painter-lora")
    blob = save(snapshot.parent.parent / "blobs/0123", lora())
    (snapshot / "pytorch_lora_weights.safetensors").symlink_to(os.path.relpath(blob, snapshot))
    cache(tmp_path, "someone/language-model")
    save(tmp_path / "models--someone--language-model/snapshots/abc/model.safetensors", {"model.layers.0.w": (2, 2)})
    save(tmp_path / "models--someone--language-model/snapshots/abc/old.bin", {})
    catalog = Catalog((), (tmp_path,))
    assert [(info.id, info.kind) for info in catalog.all(None)] == [("painter-lora", "lora")]
    assert catalog.card("painter-lora", "lora").folder == "someone"
    assert catalog.refused() == {}
    for piece in (snapshot, snapshot.parent.parent):
        assert "lora" in found(piece)


def test_a_pipeline_of_the_cache_is_called_after_its_repository(tmp_path: Path):
    snapshot = cache(tmp_path / "hub", "stabilityai/sdxl-turbo")
    parts = {"unet": ("diffusers", "UNet2DConditionModel"), "vae": ("diffusers", "AutoencoderKL")}
    parts |= {"text_encoder": ("transformers", "CLIPTextModel")}
    unet = {"cross_attention_dim": 2048, "sample_size": 64, "in_channels": 4}
    save_pipeline(snapshot, "StableDiffusionXLPipeline", parts, unet=unet, vae={"block_out_channels": [1, 1, 1, 1]},
                  text_encoder={}, text_encoder_2={})  # fmt: skip
    info = Catalog((), (tmp_path,)).find("sdxl-turbo")
    assert (info.id, info.family, info.native_size, info.width) == ("sdxl-turbo", "sdxl", 512, 2048)


def test_the_newest_snapshot_is_taken_where_none_is_called_main(tmp_path: Path):
    for number, revision in enumerate(("bbb", "aaa")):
        snapshot = cache(tmp_path, "someone/thing", revision, main=False)
        save(snapshot / f"{revision}.safetensors", lora())
        os.utime(snapshot, (number, number))
    assert found(tmp_path) == {"lora": ["aaa"]}


def test_a_link_is_followed_only_inside_the_named_folders(tmp_path: Path):
    target = save(tmp_path / "elsewhere/secret.safetensors", lora())
    root = tmp_path / "named"
    save(root / "real.safetensors", lora())
    (root / "alias.safetensors").symlink_to(root / "real.safetensors")
    (root / "out.safetensors").symlink_to(target)
    (root / "folder").symlink_to(target.parent)
    (root / "loop").symlink_to(root)
    catalog = Catalog((), (root,))
    assert [info.id for info in catalog.all("lora")] == ["alias", "real"]
    assert "model_folders" in str(catalog.refused()["out.safetensors"])
    with pytest.raises(UnreadableModel, match="leads out"):
        catalog.find("out", "lora")
    assert sorted(info.id for info in Catalog((), (root, tmp_path / "elsewhere")).all("lora"))[-1] == "secret"


def test_a_model_folder_that_holds_a_link_to_the_outside_is_refused(tmp_path: Path):
    folder = tiny_pipeline(tmp_path / "named/model")
    (folder / "unet/model.safetensors").rename(tmp_path / "outside.safetensors")
    (folder / "unet/model.safetensors").symlink_to(tmp_path / "outside.safetensors")
    catalog = Catalog((), (tmp_path / "named",))
    assert catalog.all() == ()
    assert "leads out" in str(catalog.refused()["model"])


def tiny_pipeline(folder: Path, kind: str = "StableDiffusionPipeline", **unet: object) -> Path:
    parts = {"unet": ("diffusers", "UNet2DConditionModel"), "vae": ("diffusers", "AutoencoderKL")}
    return save_pipeline(folder, kind, parts, unet=unet, vae={"block_out_channels": [1] * 4}, text_encoder={})


@pytest.mark.parametrize(
    ("kind", "unet", "expected"),
    [
        ("StableDiffusionPipeline", {"cross_attention_dim": 768}, ("sd1", "plain", None, 768)),
        ("StableDiffusionPipeline", {"cross_attention_dim": 256}, ("sd1", "plain", None, 256)),
        ("StableDiffusionPipeline", {"cross_attention_dim": 1024}, ("sd2", "plain", None, 1024)),
        ("StableDiffusionInpaintPipeline", {"cross_attention_dim": 768}, ("sd1", "inpaint", None, 768)),
        ("LatentConsistencyModelPipeline", {}, ("lcm", "plain", "LatentConsistencyModelPipeline", 768)),
    ],
)
def test_the_family_of_a_folder_comes_from_its_pipeline_and_its_denoiser(
    tmp_path: Path, kind: str, unet: dict[str, int], expected: tuple[object, ...]
):
    tiny_pipeline(tmp_path / "model", kind, **unet)
    info = Catalog((), (tmp_path,)).find("model")
    assert (info.family, info.variant, info.pipeline, info.width) == expected


def test_the_refiner_is_told_from_the_base_by_its_missing_text_encoder(tmp_path: Path):
    unet = {"cross_attention_dim": 1280, "sample_size": 128}
    save_pipeline(tmp_path / "refiner", "StableDiffusionXLImg2ImgPipeline", {}, unet=unet, vae={}, text_encoder_2={})
    info = Catalog((), (tmp_path,)).find("refiner")
    assert (info.family, info.variant, info.pipeline, info.native_size) == ("sdxl-refiner", "refiner", None, 1024)


@pytest.mark.parametrize(
    ("kind", "family", "sides"),
    [
        ("StableDiffusion3Pipeline", "sd3", (16, 1024)),
        ("FluxPipeline", "flux", (16, 1024)),
        ("PixArtSigmaPipeline", "pixart", (16, 1024)),
    ],
)
def test_a_transformer_pipeline_runs_alone(tmp_path: Path, kind: str, family: str, sides: tuple[int, int]):
    configs = {name: {} for name in ("vae", "text_encoder", "text_encoder_2")}
    save_pipeline(tmp_path / "model", kind, {}, transformer={"sample_size": 128}, **configs)
    info = Catalog((), (tmp_path,)).find("model")
    assert (info.family, info.pipeline, (info.factor, info.native_size)) == (family, kind, sides)


def test_controlnets_and_autoencoders_in_diffusers_format_are_models(tmp_path: Path):
    save_json(tmp_path / "canny/config.json", _class_name="ControlNetModel")
    save(tmp_path / "canny/diffusion_pytorch_model.safetensors", CONTROLNET)
    save_json(tmp_path / "xl-vae/config.json", _class_name="AutoencoderKL", scaling_factor=0.13025)
    save(tmp_path / "xl-vae/diffusion_pytorch_model.safetensors", VAE)
    save_json(tmp_path / "liar/config.json", _class_name="ControlNetModel")
    save(tmp_path / "liar/diffusion_pytorch_model.safetensors", VAE)
    catalog = Catalog((), (tmp_path,))
    net, vae = catalog.find("canny", "controlnet"), catalog.find("xl-vae", "vae")
    assert (net.layout, net.family, net.width) == ("diffusers", "sd1", 768)
    assert (vae.family, vae.factor) == ("sdxl", 8)
    assert "something else" in str(catalog.refused()["liar"])


def test_a_file_in_a_folder_for_another_kind_is_refused_as_what_it_is(tmp_path: Path):
    save(tmp_path / "models/Stable-diffusion/style.safetensors", lora())
    catalog = Catalog((), (tmp_path,))
    assert catalog.all(None) == ()
    assert "This is a LoRA" in str(catalog.refused()["style.safetensors"])
    with pytest.raises(UnreadableModel, match='such as "Lora"'):
        catalog.find("style")


def test_in_a_flat_folder_everything_is_what_it_is(tmp_path: Path):
    save(tmp_path / "style.safetensors", lora())
    save(tmp_path / "base.safetensors", CHECKPOINTS["sd1"])
    assert found(tmp_path) == {"checkpoint": ["base"], "lora": ["style"]}
    with pytest.raises(UnknownModel, match="no VAE called"):
        Catalog((), (tmp_path,)).find("style", "vae")


def test_an_autoencoder_beside_a_checkpoint_belongs_to_it(tmp_path: Path):
    save(tmp_path / "base.safetensors", CHECKPOINTS["sd1"])
    save(tmp_path / "base.vae.safetensors", VAE)
    save(tmp_path / "lonely.vae.safetensors", VAE)
    catalog = Catalog((), (tmp_path,))
    assert catalog.find("base").vae == str(tmp_path / "base.vae.safetensors")
    assert [info.id for info in catalog.all("vae")] == ["lonely.vae"]


def test_equal_names_are_told_apart_by_their_folders_and_stay_so(tmp_path: Path):
    for folder in ("", "anime/", "photo/"):
        save(tmp_path / f"models/Lora/{folder}style.safetensors", lora())
    save(tmp_path / "models/Stable-diffusion/style.safetensors", CHECKPOINTS["sd1"])
    save(tmp_path / "flat/style.safetensors", lora())
    catalog = Catalog((), (tmp_path, tmp_path / "flat"))
    ids = [info.id for info in catalog.all("lora")]
    assert ids == ["style", "anime/style", "photo/style", "flat/style"]
    assert catalog.find("style").kind == "checkpoint"
    assert [catalog.find(ident, "lora").id for ident in ids] == ids
    assert [catalog.card(ident, "lora").folder for ident in ids] == ["", "anime", "photo", ""]


def test_a_pickle_of_the_same_name_takes_no_name_away(tmp_path: Path):
    (tmp_path / "style.ckpt").write_bytes(b"\x80\x02")
    save(tmp_path / "style.safetensors", lora())
    catalog = Catalog((), (tmp_path,))
    assert catalog.find("style", "lora").id == "style"
    assert list(catalog.refused()) == ["style.ckpt"]


def test_pickles_are_never_opened_beyond_their_first_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = [f"x{suffix}" for suffix in formats.PICKLE_SUFFIXES]
    for name in (*names, "renamed.safetensors", "zip.safetensors"):
        (tmp_path / name).write_bytes((b"PK\x03\x04" if "zip" in name else b"\x80\x04") + bytes(10_000))
    read: dict[str, int] = {}
    plain_open = Path.open

    def watched(path: Path, *args: str, **options: object) -> object:
        handle = plain_open(path, *args, **options)  # type: ignore[call-overload]
        if path.parent == tmp_path:
            whole = handle.read

            def counted(size: int = -1) -> bytes:
                data: bytes = whole(size)
                read[path.name] = read.get(path.name, 0) + len(data)
                return data

            handle = _Watched(handle, counted)
        return handle

    monkeypatch.setattr(Path, "open", watched)
    refused = Catalog((), (tmp_path,)).refused()
    assert set(refused) == {*names, "renamed.safetensors", "zip.safetensors"}
    assert all("pickle" in str(error) and "Convert it" in str(error) for error in refused.values())
    assert read == {"renamed.safetensors": 9, "zip.safetensors": 9}


class _Watched:
    def __init__(self, handle: object, read: object) -> None:
        self.handle, self.read = handle, read

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *args: object) -> None:
        self.handle.close()  # type: ignore[attr-defined]


KINDS: tuple[ModelKind, ...] = ("lora", "checkpoint")


def test_ten_thousand_models_are_listed_in_seconds_and_then_at_once(tmp_path: Path):
    data = headers.encoded(lora(), {"ss_output_name": "x", "ss_tag_frequency": '{"a": {"cat": 3}}'})
    for number in range(100):
        (tmp_path / f"models/Lora/{number:02}").mkdir(parents=True)
        for other in range(100):
            (tmp_path / f"models/Lora/{number:02}/style-{number:02}{other:02}.safetensors").write_bytes(data)
    save(tmp_path / "models/Stable-diffusion/base.safetensors", CHECKPOINTS["sd1"])
    aged(tmp_path)
    catalog = Catalog((), (tmp_path,))

    def seconds(work: object) -> float:
        began = time.process_time()
        work()  # type: ignore[operator]
        return time.process_time() - began

    assert seconds(lambda: catalog.find("base")) < 3  # opens no LoRA
    assert seconds(lambda: catalog.all("lora")) < 10
    assert len(catalog.all("lora")) == 10_000
    assert min(seconds(lambda: catalog.all("lora")) for _ in range(3)) < 0.1
    assert min(seconds(lambda: catalog.find("style-5077", "lora")) for _ in range(3)) < 0.3
    assert min(seconds(catalog.version) for _ in range(3)) < 0.1
    assert len(catalog.cards("lora", "style-12")) == 100


def test_a_directory_that_is_left_alone_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "a/one.safetensors", lora())
    save(tmp_path / "b/two.safetensors", lora())
    aged(tmp_path)
    catalog = Catalog((), (tmp_path,))
    version = catalog.version()
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    assert catalog.version() == version
    assert listed == []
    save(tmp_path / "a/three.safetensors", lora())
    assert [info.id for info in catalog.all("lora")] == ["one", "three", "two"]
    assert catalog.version() > version
    assert set(listed) == {str(tmp_path / "a")}


def test_a_folder_that_comes_later_is_seen(tmp_path: Path):
    catalog = Catalog((), (tmp_path / "later",))
    assert catalog.all("lora") == ()
    save(tmp_path / "later/one.safetensors", lora())
    assert [info.id for info in catalog.all("lora")] == ["one"]


def test_the_same_name_in_the_same_folder_of_two_roots_still_makes_two_names(tmp_path: Path):
    roots = [tmp_path / name / "loras" for name in "abc"]
    for root in roots:
        save(root / "x/style.safetensors", lora())
    ids = [info.id for info in Catalog((), tuple(roots)).all("lora")]
    assert ids == ["style", "x/style", "loras/x/style"]
    again = [*roots, tmp_path / "d/loras"]
    save(again[-1] / "x/style.safetensors", lora())
    assert [info.id for info in Catalog((), tuple(again)).all("lora")] == [*ids, "x/style (2)"]


def test_many_threads_may_ask_while_files_come_and_go(tmp_path: Path):
    for number in range(20):
        save(tmp_path / f"style-{number}.safetensors", lora())
    catalog = Catalog((), (tmp_path,))
    faults: list[BaseException] = []

    def ask() -> None:
        try:
            for number in range(30):
                assert catalog.find("style-7", "lora").id == "style-7"
                assert len(catalog.cards("lora", "style")) >= 20
                catalog.version()
                if number % 5 == 0:
                    extra = save(tmp_path / f"new-{threading.get_ident()}.safetensors", lora())
                    assert extra.stem in {info.id for info in catalog.all("lora")}
                    extra.unlink()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert {info.id for info in catalog.all("lora")} == {f"style-{number}" for number in range(20)}


def test_what_comes_along_may_be_a_single_file_called_by_its_stem_and_its_neighbours_are_not_looked_at(tmp_path: Path):
    file = save(tmp_path / "brought/big.safetensors", UPSCALER)
    save(tmp_path / "brought/other.safetensors", UPSCALER)
    save(tmp_path / "own/big.safetensors", UPSCALER)
    catalog = Catalog((file, tmp_path / "brought/gone.safetensors"), (tmp_path / "own",))
    assert [info.id for info in catalog.all("upscaler")] == ["big", "own/big"]
    assert catalog.find("big", "upscaler").path == str(file)
    with pytest.raises(Conflict, match="part of Signet"):
        catalog.save_notes("big", "upscaler", Notes(notes="x"))
    file.unlink()
    assert [info.path for info in Catalog((file,), (tmp_path / "own",)).all("upscaler")] == [
        str(tmp_path / "own/big.safetensors")
    ]
