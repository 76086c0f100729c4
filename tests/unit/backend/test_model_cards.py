"""What is said about models: their own metadata, the files beside them, notes, names, and what fits what."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import Conflict, UnknownModel
from backend.models.catalog import Catalog
from backend.models.fit import fits
from backend.models.lora_metadata import read_spec
from backend.models.sidecars import Notes, read_sidecars, save_notes
from backend.models.texts import phrases, plain, weight, without_markup
from backend.settings import ROOT
from backend.types import ModelInfo
from tests.support.headers import CHECKPOINTS, lora, save, save_json

KOHYA = {
    "ss_output_name": "my_style_v2",
    "ss_network_dim": "16",
    "ss_base_model_version": "sd_v1",
    "ss_sd_model_name": "v1-5-pruned.safetensors",
    "ss_tag_frequency": json.dumps({"10_a": {"mystyle": 20, "1girl": 12}, "5_b": {"mystyle": 5, "tree": 3}}),
    "sshs_model_hash": "ABCDEF0123456789" + "0" * 48,
}
SPEC = {
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.title": "My style",
    "modelspec.author": "Somebody",
    "modelspec.license": "CC-BY-4.0",
    "modelspec.description": "Paints <b>well</b>.",
    "modelspec.trigger_phrase": "in my style, brush",
    "modelspec.thumbnail": "data:image/png;base64,AAAA",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_kohyas_tags_are_summed_over_data_sets_and_stand_for_triggers():
    spec = read_spec(KOHYA)
    assert spec.tags == (("mystyle", 25), ("1girl", 12), ("tree", 3))
    assert spec.triggers == ("mystyle", "1girl", "tree")
    assert (spec.alias, spec.autov3, spec.base_model) == ("my_style_v2", "abcdef012345", "v1-5-pruned.safetensors")
    assert "ss_tag_frequency" not in spec.metadata


def test_modelspec_comes_before_kohya_and_its_picture_is_left_out():
    spec = read_spec({**KOHYA, **SPEC})
    assert spec.triggers == ("in my style", "brush")
    assert (spec.title, spec.author, spec.licence) == ("My style", "Somebody", "CC-BY-4.0")
    assert spec.description == "Paints <b>well</b>."
    assert "modelspec.thumbnail" not in spec.metadata


@given(st.dictionaries(st.sampled_from([*KOHYA, *SPEC]), st.text(max_size=80) | st.sampled_from(
    ["{", '{"a": 5}', '{"a": {"b": "c"}}', "[[]]", '{"a": {"b": 1e400}}', "[" * 2000])))  # fmt: skip
def test_any_metadata_is_read_as_plain_text(metadata: dict[str, str]):
    spec = read_spec(metadata)
    assert all(len(text) <= 1000 for text in spec.metadata.values())
    assert not any("\x00" in text or "\u202e" in text for text in (*spec.metadata.values(), spec.title, *spec.triggers))


@given(st.text(max_size=200), st.integers(1, 50))
def test_plain_text_is_short_encodes_and_turns_nothing_around(text: str, limit: int):
    shown = plain(text, limit)
    assert len(shown) <= limit
    shown.encode()
    assert not set(shown) & set("\x00\x1b\r\u202e\u2066\ufeff")


def test_markup_is_taken_out_with_its_scripts():
    assert without_markup("<p>One &amp; two</p><script>alert(1)</script><p>three") == "One & two\n\nthree".replace(
        "\n\n", "\n"
    )
    assert without_markup("<![if x]>") is not None
    assert without_markup(5) == ""


@given(st.text(alphabet="<>!/-&;[]abp\"' ", max_size=60))
def test_no_markup_breaks_the_reader(text: str):
    assert isinstance(without_markup(text), str)


def test_words_and_weights_are_read_with_care():
    assert phrases("a, b ,, a,c") == ("a", "b", "c")
    assert phrases(["x, y", 5, None, ["z"]]) == ("x", "y", "5")
    assert [weight(value) for value in (0.8, "0.5", 0, None, "x", float("nan"), 99, True)] == [
        0.8, 0.5, None, None, None, None, None, 1.0,
    ]  # fmt: skip


# ---- files beside a model


def beside(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


def test_the_users_words_come_before_civitais(folder: Path):
    save_json(folder / "x.json", **{"description": "mine", "activation text": "t1, t2", "preferred weight": 0.7,
                                    "notes": "use gently", "sd version": "SD1"})  # fmt: skip
    save_json(folder / "x.civitai.info", description="<p>theirs</p>", trainedWords=["t3"], baseModel="SDXL 1.0",
              modelId=12, id=34, creator={"username": "maker"})  # fmt: skip
    said = read_sidecars(folder, "x", beside(folder))
    assert (said.description, said.notes, said.triggers, said.preferred_weight) == (
        "mine",
        "use gently",
        ("t1", "t2"),
        0.7,
    )
    assert (said.author, said.base_model) == ("maker", "SD1")
    assert said.source == "https://civitai.com/models/12?modelVersionId=34"
    (folder / "x.json").unlink()
    said = read_sidecars(folder, "x", beside(folder))
    assert (said.description, said.triggers, said.base_model) == ("theirs", ("t3",), "SDXL 1.0")


def test_a_text_file_beside_a_model_is_its_notes(folder: Path):
    (folder / "x.txt").write_text("\ufeffhello\x00 world", encoding="utf-8")
    assert read_sidecars(folder, "x", beside(folder)).notes == "hello world"


DAMAGED = (
    "", "[]", "{", "null", '{"description": {"a": 1}, "preferred weight": []}', "[" * 9000,
    '{"modelId": true, "id": "javascript:1", "creator": 5, "trainedWords": {"a": 1}}',
)  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_sidecars_say_nothing(folder: Path, text: str):
    for name in ("x.json", "x.civitai.info"):
        (folder / name).write_text(text)
    said = read_sidecars(folder, "x", beside(folder))
    assert (said.description, said.source, said.author, said.triggers) == ("", "", "", ())


def test_notes_are_written_as_a1111_writes_them_and_what_others_wrote_stays(folder: Path):
    path = save_json(folder / "x.json", **{"description": "old", "extension key": [1, 2], "notes": "old"})
    save_notes(path, Notes(notes="new ✓", preferred_weight=0.5))
    assert json.loads(path.read_text("utf-8")) == {
        "description": "old", "extension key": [1, 2], "notes": "new ✓", "preferred weight": 0.5,
    }  # fmt: skip
    save_notes(folder / "y.json", Notes(activation_text="t"))
    assert json.loads((folder / "y.json").read_text()) == {"activation text": "t"}
    assert sorted(beside(folder)) == ["x.json", "y.json"]


def test_a_file_that_is_no_notes_is_left_as_it_is(folder: Path):
    secret = save_json(folder.parent / "secret.json", a=1)
    (folder / "link.json").symlink_to(secret)
    (folder / "list.json").write_text("[1]")
    (folder / "broken.json").write_text("{")
    (folder / "folder.json").mkdir()
    for name in ("link", "list", "broken", "folder"):
        with pytest.raises(Conflict, match="left as it is"):
            save_notes(folder / f"{name}.json", Notes(notes="x"))
    assert json.loads(secret.read_text()) == {"a": 1}


def test_a_disk_that_fails_leaves_the_old_notes(folder: Path, monkeypatch: pytest.MonkeyPatch):
    path = save_json(folder / "x.json", notes="old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Exception, match="free"):
        save_notes(path, Notes(notes="new"))
    assert (json.loads(path.read_text()), sorted(beside(folder))) == ({"notes": "old"}, ["x.json"])


# ---- cards


def test_a_card_gathers_everything(folder: Path):
    save(folder / "anime/x.safetensors", lora(), {**KOHYA, **SPEC})
    save_json(folder / "anime/x.json", **{"activation text": "mine", "preferred weight": 0.6})
    (folder / "anime/x.preview.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    catalog = Catalog((), (folder,))
    card = catalog.card("x", "lora")
    assert (card.folder, card.triggers, card.preferred_weight, card.author) == ("anime", ("mine",), 0.6, "Somebody")
    assert (card.info.licence, card.info.autov3) == ("CC-BY-4.0", "abcdef012345")
    assert card.preview == str(folder / "anime/x.preview.png")
    assert catalog.preview("x", "lora") == folder / "anime/x.preview.png"


def test_a_preview_that_is_a_link_to_the_outside_is_none(folder: Path):
    save(folder / "x.safetensors", lora())
    (folder.parent / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "x.png").symlink_to(folder.parent / "secret.png")
    assert Catalog((), (folder,)).card("x", "lora").preview is None


def test_cards_are_searched_by_all_words_and_put_in_order(folder: Path):
    for number, name in enumerate(("b", "A", "c")):
        path = save(
            folder / f"{'sub/' * (name == 'c')}{name}.safetensors", lora(), {"modelspec.author": f"maker {name}"}
        )
        os.utime(path, ns=(number, number * 10**9))
    catalog = Catalog((), (folder,))

    def ids(**options: Any) -> list[str]:
        return [card.info.id for card in catalog.cards("lora", **options)]

    assert ids() == ["A", "b", "c"]
    assert ids(sort="newest") == ["c", "A", "b"]
    assert ids(sort="oldest") == ["b", "A", "c"]
    assert ids(text="MAKER a") == ["A", "b", "c"]
    assert ids(text="maker nobody") == []
    assert ids(text="sub") == ids(folder="sub") == ["c"]
    assert ids(folder="") == ["A", "b"]


def test_notes_saved_through_the_catalogue_are_on_the_card_at_once(folder: Path):
    save(folder / "x.safetensors", lora())
    catalog = Catalog((), (folder,))
    version = catalog.version()
    assert catalog.save_notes("x", "lora", Notes(notes="good")).notes == "good"
    assert catalog.card("x", "lora").notes == "good"
    assert catalog.version() > version


def test_notes_are_not_written_outside_the_named_folders(folder: Path):
    save(folder / "x.safetensors", CHECKPOINTS["sd1"])
    parts: dict[str, Any] = {"unet": {}, "vae": {"block_out_channels": [1] * 4}, "text_encoder": {}}
    from tests.support.headers import save_pipeline

    model = save_pipeline(folder.parent / "bundled", "StableDiffusionPipeline", {}, **parts)
    catalog = Catalog((model,), (folder,))
    with pytest.raises(Conflict, match="part of Signet"):
        catalog.save_notes("bundled", "checkpoint", Notes(notes="x"))
    with pytest.raises(Conflict, match="inside the folders"):
        Catalog((), (model,)).save_notes("bundled", "checkpoint", Notes(notes="x"))
    assert not (folder.parent / "bundled.json").exists()


# ---- names


def test_a_model_answers_to_every_name_people_use(folder: Path):
    save(folder / "Dream-v1.5.safetensors", CHECKPOINTS["sd1"])
    save(folder / "style.safetensors", lora(), KOHYA)
    catalog = Catalog((), (folder,))
    names = ("dream-V1.5", "Dream-v1.5.safetensors", "dream-v1", "REAM", "Dream-v1.5.safetensors [0123456789]")
    assert [catalog.find(name).id for name in names] == ["Dream-v1.5"] * len(names)
    for name in ("style", "MY_STYLE_v2", "abcdef012345", "abcdef01"):
        assert catalog.find(name, "lora").id == "style"


def test_a_piece_of_two_names_is_no_name_and_both_are_offered(folder: Path):
    save(folder / "painter-one.safetensors", lora())
    save(folder / "painter-two.safetensors", lora())
    with pytest.raises(UnknownModel, match="LoRA") as caught:
        Catalog((), (folder,)).find("painter", "lora")
    assert {"painter-one", "painter-two"} <= set((caught.value.problem.hint or "").replace('"', " ").split())
    assert Catalog((), (folder,)).find("er-two", "lora").id == "painter-two"
    with pytest.raises(UnknownModel):
        Catalog((), (folder,)).find("er", "lora")


def test_an_exact_name_goes_before_a_piece_of_another(folder: Path):
    save(folder / "style.safetensors", lora())
    save(folder / "style-two.safetensors", lora())
    assert Catalog((), (folder,)).find("style", "lora").id == "style"


@given(st.text(max_size=60))
def test_any_name_is_found_or_unknown(tmp_path_factory: pytest.TempPathFactory, name: str):
    folder = tmp_path_factory.getbasetemp() / "named"
    if not folder.exists():
        save(folder / "style.safetensors", lora(), KOHYA)
    with suppress(UnknownModel):
        assert Catalog((), (folder,)).find(name, "lora").id == "style"


# ---- what fits what

BASE = ModelInfo("m", "M", "sd1", "/m", "single-file", 8, 512, 1, width=768)
ADDITION = replace(BASE, kind="lora")


def test_what_fits_fits():
    assert fits(ADDITION, BASE) == ""
    assert fits(replace(ADDITION, kind="upscaler", family="any", width=None), BASE) == ""
    assert fits(replace(ADDITION, kind="vae", width=None), replace(BASE, family="sd2", width=1024)) == ""
    assert fits(replace(ADDITION, kind="embedding", family="sdxl"), replace(BASE, family="sdxl", width=2048)) == ""
    assert fits(ADDITION, replace(BASE, family="lcm")) == ""


@pytest.mark.parametrize(
    ("addition", "model", "reason"),
    [
        ({"family": "sdxl", "width": 2048}, {}, "made for SDXL, and this model is SD 1.x"),
        ({}, {"family": "sdxl", "width": 2048}, "made for SD 1.x, and this model is SDXL"),
        ({}, {"width": 256}, "width 768, and this model takes 256"),
        ({"width": None}, {"width": 256}, "width 768"),
        ({"family": "unknown", "width": None}, {}, "not known"),
        ({"family": "sdxl"}, {"family": "sdxl-refiner"}, "refiner"),
        ({"kind": "vae", "family": "sdxl"}, {}, "SDXL"),
        ({"kind": "vae", "factor": 8}, {"factor": 16}, "8 pixels"),
        ({"kind": "checkpoint"}, {}, "checkpoint"),
    ],
)
def test_what_does_not_fit_says_why(addition: dict[str, Any], model: dict[str, Any], reason: str):
    assert reason in fits(replace(ADDITION, **addition), replace(BASE, **model))


def test_several_kinds_are_one_list_in_which_an_exact_name_goes_first(folder: Path):
    net = {"controlnet_cond_embedding.conv_in.weight": (2, 3, 3, 3), "x.attn2.to_k.weight": (2, 768)}
    adapter = {"conv_in.weight": (2, 192, 3, 3), "body.0.block1.weight": (2, 2, 3, 3)}
    save(folder / "ControlNet/canny.safetensors", net)
    save(folder / "t2i_adapter/sketch-canny.safetensors", adapter)
    save(folder / "t2i_adapter/canny.safetensors", adapter)
    catalog = Catalog((), (folder,))
    kinds = ("controlnet", "t2i-adapter", "ip-adapter")
    assert catalog.find("canny", kinds).kind == "controlnet"
    assert catalog.find("models/canny", kinds).kind == "t2i-adapter"
    assert catalog.find("sketch", kinds).id == "sketch-canny"
    with pytest.raises(UnknownModel, match="no ControlNet called"):
        catalog.find("depth", kinds)


def test_a_name_with_its_sub_folder_is_a_name_with_either_slash(folder: Path):
    save(folder / "anime/one.safetensors", CHECKPOINTS["sd1"])
    catalog = Catalog((), (folder,))
    for name in ("anime/one", "anime\\one.safetensors", "Anime/One.safetensors [0123456789]"):
        assert catalog.find(name).id == "one"


def test_the_starter_takes_no_foreign_additions_though_its_family_is_theirs():
    starter = Catalog((ROOT / "models" / "starter",), ()).find("starter")
    assert (starter.family, starter.width) == ("sd1", 256)
    for addition in (
        ADDITION,
        replace(ADDITION, width=None),
        replace(ADDITION, kind="vae"),
        replace(ADDITION, kind="t2i-adapter"),
    ):
        assert fits(addition, starter)
    assert fits(replace(ADDITION, width=256), starter) == ""
