from __future__ import annotations

import json
import pickle
import random
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from backend.errors import UnreadableModel
from backend.models import formats
from backend.models.pipelines import ALLOWED_PARTS, PIPELINES, Pipeline

SD1_KEY = "cond_stage_model.transformer.text_model.final_layer_norm.weight"


def written(path: Path, header: Any, body: bytes = b"", *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + body)
    return path


def entry(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def refused(file: Path) -> str:
    with pytest.raises(UnreadableModel) as caught:
        formats.single_file_family(file)
    assert file.name in caught.value.problem.title
    return caught.value.problem.sentence()


def test_the_family_is_told_from_key_names(file: Path):
    save_file({SD1_KEY: torch.zeros(4)}, file)
    assert formats.single_file_family(file) == "sd1"
    save_file({"cond_stage_model.model.ln_final.weight": torch.zeros(4)}, file)
    assert formats.single_file_family(file) == "sd2"


@pytest.mark.parametrize("padding", range(0, 256, 8))
def test_a_sound_file_is_never_taken_for_a_pickle_whatever_the_length_of_its_header(file: Path, padding: int):
    header = {"__metadata__": {"note": "x" * padding}, SD1_KEY: entry([1], 0, 4)}
    raw = json.dumps(header).encode()
    written(file, raw + b" " * (-len(raw) % 8), bytes(4))
    assert formats.single_file_family(file) == "sd1"


def test_a_header_as_long_as_a_zip_signature_is_still_a_header(file: Path):
    raw = json.dumps({SD1_KEY: entry([1], 0, 4)}).encode()
    written(file, raw + b" " * (0x4B50 - len(raw)), bytes(4))
    assert file.read_bytes()[:2] == b"PK"
    assert formats.single_file_family(file) == "sd1"


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_by_its_first_bytes_and_never_run(file: Path, protocol: int):
    file.write_bytes(pickle.dumps(Malicious(), protocol))
    assert "pickle" in refused(file)


def test_a_zip_under_the_name_of_safetensors_is_refused_as_a_pickle(file: Path):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Malicious()))
    assert "pickle" in refused(file)


def test_a_file_saved_by_torch_is_refused_under_either_name(file: Path):
    torch.save({SD1_KEY: torch.zeros(2)}, file)
    assert "pickle" in refused(file)
    assert "pickles" in refused(file.rename(file.with_suffix(".ckpt")))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".CKPT"])
def test_suffixes_of_pickles_are_refused_without_a_look_inside(tmp_path: Path, suffix: str):
    assert "Convert it" in refused(tmp_path / f"model{suffix}")


def test_a_file_cut_off_anywhere_is_refused(file: Path):
    save_file({SD1_KEY: torch.zeros(64), "b": torch.zeros(64)}, file)
    whole = file.read_bytes()
    for length in (0, 1, 7, 8, 9, 50, len(whole) - 300, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file)


def test_a_picture_or_a_text_under_the_name_of_safetensors_is_refused(file: Path):
    for data in (b"\x89PNG\r\n\x1a\n" + bytes(100), b"hello " * 50, bytes(1000), b"<!doctype html>" * 20):
        file.write_bytes(data)
        refused(file)


def test_an_oversize_header_is_refused_at_once(file: Path):
    began = time.process_time()
    for length in (formats.MAX_HEADER + 1, 2**32, 2**63, 2**64 - 1):
        written(file, b"{}", length=length)
        refused(file)
    assert time.process_time() - began < 0.2


def test_a_header_of_64_mib_is_refused_with_its_size_and_without_reading_it(file: Path):
    with file.open("wb") as handle:
        handle.write((64 << 20).to_bytes(8, "little") + b"{")
        handle.truncate((64 << 20) + 100)
    began = time.process_time()
    assert "64.0 MiB; at most 8 MiB" in refused(file)
    assert time.process_time() - began < 0.1


def test_metadata_is_read_with_the_header_and_what_is_no_text_is_left_out(file: Path):
    written(file, {"__metadata__": {"a": "b", "c": 5, "d": {"e": "f"}}, SD1_KEY: entry([1], 0, 4)}, bytes(4))
    found = formats.read(file)
    assert found.metadata == {"a": "b"}
    assert (found.shapes, found.start) == ({SD1_KEY: (1,)}, file.stat().st_size - 4)
    assert formats.read(written(file, {"__metadata__": [1]})).metadata == {}


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_a_header_or_are_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes, length: int):
    file = tmp_path_factory.getbasetemp() / "garbage.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + b"{" + raw)
    with suppress(UnreadableModel):
        formats.facts_of(formats.read(file), file.name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "F16", "X"]) | JSON, "shape": JSON, "data_offsets": JSON}
)


@given(st.dictionaries(st.sampled_from(["__metadata__", SD1_KEY, "emb_params", ""]), JSON | ENTRY, max_size=4))
def test_any_json_is_a_header_or_is_refused(tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any]):
    file = written(tmp_path_factory.getbasetemp() / "json.safetensors", header, bytes(16))
    with suppress(UnreadableModel):
        formats.facts_of(formats.read(file), file.name)


@pytest.mark.parametrize(
    "bad",
    [
        entry([1], -4, 0),
        entry([1], 4, 0),
        entry([1], 0, 8),
        entry([2], 0, 4),
        entry([1], 0, 4, "F33"),
        entry([1], 0, 4, 7),
        entry([-1, -1], 0, 4),
        entry(["a", "b"], 0, 4),
        entry([1.0], 0, 4),
        entry([1], 0.0, 4.0),
        entry([1], "0", "4"),
        entry([10**12], 0, 4 * 10**12),
        entry([2**62, 4], 0, 2**66),
        {"dtype": "F32", "shape": [1]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]},
        [],
        "F32",
        None,
    ],
)
def test_a_tensor_that_is_not_described_consistently_is_refused(file: Path, bad: Any):
    refused(written(file, {SD1_KEY: bad}, bytes(4)))


@pytest.mark.parametrize(
    "raw",
    [b"[]", b"{", b"null", b"{]", b'{"a":' * 30_000, b"\xff\xfe{}", b'{"a": ' + b"9" * 5000 + b"}", b"[" * 200_000],
    ids=["list", "open", "null", "mixed", "deep", "utf-16", "long number", "deep list"],
)
def test_a_header_that_is_no_plain_object_is_refused(file: Path, raw: bytes):
    refused(written(file, raw, bytes(4)))


def test_a_tensor_of_a_million_sides_is_refused_at_once(file: Path):
    began = time.process_time()
    refused(written(file, {SD1_KEY: entry([9] * 1_000_000, 0, 4)}, bytes(4)))
    assert time.process_time() - began < 2


def test_too_many_tensors_are_refused(file: Path):
    refused(written(file, {f"t{number}": entry([0], 0, 0) for number in range(formats.MAX_TENSORS + 1)}))


def test_a_lora_and_an_sdxl_checkpoint_are_called_by_their_names(file: Path):
    save_file({"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(4)}, file)
    assert "LoRA" in refused(file)
    save_file({"conditioner.embedders.1.model.ln_final.weight": torch.zeros(4), SD1_KEY: torch.zeros(4)}, file)
    assert formats.single_file_family(file) == "sdxl"
    save_file({"something.else": torch.zeros(4)}, file)
    assert "no model of a known kind" in refused(file)
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(4)}, file)
    assert "Flux" in refused(file)


def test_three_hundred_mutated_headers_are_read_or_refused_and_nothing_else(file: Path):
    dice = random.Random(11)
    save_file({SD1_KEY: torch.zeros(8), "b": torch.zeros(2, 3), "c": torch.zeros(1, dtype=torch.float16)}, file)
    whole = file.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    outcomes = set()
    for turn in range(300):
        header = bytearray(whole[8:end])
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(len(header))
            match dice.randrange(4):
                case 0:
                    header[place] = dice.choice(b'0123456789-.eE"[]{},: \x00\xff')
                case 1:
                    del header[place : place + dice.randint(1, 8)]
                case 2:
                    header[place:place] = header[max(0, place - dice.randint(1, 20)) : place]
                case 3:
                    header[place] ^= 1 << dice.randrange(8)
        length = len(header) + (dice.choice([-8, -1, 1, 8, 2**40]) if turn % 5 == 0 else 0)
        file.write_bytes(length.to_bytes(8, "little") + header + whole[end:])
        try:
            outcomes.add(formats.single_file_family(file))
        except UnreadableModel:
            outcomes.add("refused")
    assert outcomes == {"refused", "sd1"}


def model_folder(root: Path, **index: Any) -> Path:
    folder = root / "model"
    for part in ("unet", "vae", "text_encoder"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        save_file({"w": torch.zeros(2)}, folder / part / "model.safetensors")
    plain = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps({**plain, **index}))
    return folder


def test_a_plain_folder_is_accepted(tmp_path: Path):
    assert formats.check_folder(model_folder(tmp_path))["unet"] == ["diffusers", "UNet2DConditionModel"]


@pytest.mark.parametrize(
    "index",
    [
        {"_class_name": "StableDiffusionXLPipeline"},
        {"_class_name": ["my_pipeline", "StableDiffusionPipeline"]},
        {"_class_name": None},
        {"unet": ["os", "system"]},
        {"unet": ["my_unet", "UNet2DConditionModel"]},
        {"unet": ["diffusers", "DiffusionPipeline"]},
        {"unet": ["diffusers.utils", "UNet2DConditionModel"]},
        {"unet": ["transformers", "AutoModel"]},
        {"unet": ["diffusers"]},
        {"unet": []},
        {"unet": [["os"], {"a": 1}]},
        {"anything": ["subprocess", "run"]},
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"auto_map": ["evil", "Model"]},
    ],
)
def test_a_folder_that_asks_for_foreign_code_is_refused(tmp_path: Path, index: dict[str, Any]):
    with pytest.raises(UnreadableModel):
        formats.check_folder(model_folder(tmp_path, **index))


@pytest.mark.parametrize("name", ["pipeline.py", "unet/model.py", "a/b/c.py"])
def test_a_folder_with_python_files_is_refused(tmp_path: Path, name: str):
    folder = model_folder(tmp_path)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("raise SystemExit")
    with pytest.raises(UnreadableModel, match="Python files"):
        formats.check_folder(folder)


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path):
    folder = model_folder(tmp_path)
    (folder / "vae" / "model.safetensors").rename(folder / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(UnreadableModel, match="vae/ has no"):
        formats.check_folder(folder)


def test_a_folder_with_one_renamed_pickle_is_refused(tmp_path: Path):
    folder = model_folder(tmp_path)
    (folder / "vae" / "model.safetensors").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UnreadableModel, match="pickle"):
        formats.check_folder(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a":' * 30_000, "\ud800"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UnreadableModel):
        formats.read_json(path)
    with pytest.raises(UnreadableModel):
        formats.read_json(tmp_path / "missing.json")


def test_a_part_whose_configuration_asks_for_code_is_refused(tmp_path: Path):
    for key in ("auto_map", "custom_pipelines", "_attn_implementation_internal"):
        folder = model_folder(tmp_path / key)
        (folder / "text_encoder" / "config.json").write_text(json.dumps({key: {"AutoModel": "evil.Model"}}))
        with pytest.raises(UnreadableModel, match="code of its own"):
            formats.check_folder(folder)


@pytest.mark.parametrize(("kind", "known"), PIPELINES.items())
def test_every_pipeline_on_the_list_is_accepted_with_its_parts_and_refused_without_one(
    tmp_path: Path, kind: str, known: Pipeline
):
    folder = tmp_path / "model"
    for part in known.parts:
        (folder / part).mkdir(parents=True)
        save_file({"w": torch.zeros(2)}, folder / part / "model.safetensors")
    written_index = {"_class_name": kind, "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(written_index))
    assert formats.check_folder(folder)["_class_name"] == kind
    (folder / known.parts[-1] / "model.safetensors").unlink()
    with pytest.raises(UnreadableModel, match=f"{known.parts[-1]}/ has no"):
        formats.check_folder(folder)


# Published folders name them still; transformers 5 has one tokenizer for both and calls the extractor a processor.
OF_EARLIER_VERSIONS = ("CLIPFeatureExtractor", "CLIPTokenizerFast", "T5TokenizerFast", "GemmaTokenizerFast")


def test_every_class_on_the_list_is_one_of_its_library():
    import diffusers
    import transformers

    for library, module in (("diffusers", diffusers), ("transformers", transformers)):
        known = {*dir(module), *OF_EARLIER_VERSIONS}
        assert [name for name in ALLOWED_PARTS[library] if name not in known] == []
    assert [name for name in PIPELINES if name not in dir(diffusers)] == []


def test_a_folder_of_another_pipeline_is_refused_by_name(tmp_path: Path):
    with pytest.raises(UnreadableModel, match="StableVideoDiffusionPipeline"):
        formats.check_folder(model_folder(tmp_path, _class_name="StableVideoDiffusionPipeline"))
