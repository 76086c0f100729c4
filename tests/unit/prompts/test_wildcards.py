"""Dynamic prompts: what the library draws, and the fence around it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter
from backend.prompts.expand import expand, variations
from backend.prompts.styles import Style
from backend.prompts.wildcard_files import Entry, entries
from backend.prompts.wildcards import MOST_MARKS, Wildcards, names

FILES = {
    "colour.txt": "# colours\nred\n\ngreen\n",
    "one/animal.txt": "cat\n",
    "season.txt": "in ${season:summer}\n",
    "price.txt": "100% $5 #1\n",
    "nested.txt": "a __one/animal__\n",
    "self.txt": "__self__\n",
    "more.yaml": "a:\n  b: [one, 3::one]\n  c: four\n",
    "pantry/more.json": '{"deep": {"x": ["y", {"text": "y", "weight": 2}, 7, null]}}',
    "list.json": '["only"]',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wildcards")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def wildcards(folder: Path) -> Wildcards:
    return Wildcards(folder)


def test_lists_are_named_by_their_files_folders_and_keys(folder: Path) -> None:
    assert names(folder) == (
        "a/b", "a/c", "colour", "list", "nested", "one/animal", "pantry/deep/x", "price", "season", "self",
    )  # fmt: skip
    assert entries(folder)["a/b"] == (Entry("one"), Entry("one", 3.0))


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("{a|b}", {"a", "b"}),
        ("{1::a|0::b}", {"a"}),
        ("{2$$a|b}", {"a,b", "b,a"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{1-2$$a|b}", {"a", "b", "a,b", "b,a"}),
        ("{-1$$a|b}", {"", "a", "b"}),
        ("{2-$$a|b}", {"a,b", "b,a"}),
        ("a __colour__ b", {"a red b", "a green b"}),
        ("__col*__", {"red", "green"}),
        ("__one/animal__", {"cat"}),
        ("__nested__", {"a cat"}),
        ("__{one/animal|list}__", {"cat", "only"}),
        ("__season__", {"in summer"}),
        ("__season(season=winter)__", {"in winter"}),
        ("__price__", {"100% $5 #1"}),
        ("__a/c__", {"four"}),
        ("${x=!{a|b}}${x}${x}", {"aa", "bb"}),
        ("${x:c}", {"c"}),
        ("${x?=a}${x}", {"a"}),
        ("%{photo of ..., soft$$a cat}", {"photo of a cat, soft"}),
        ("{~a|b}", {"a", "b"}),
        ("{!a|b}", {"a", "b"}),
        ("100% {a|a}, $5, #1, http://x/*", {"100% a, $5, #1, http://x/*"}),
        ("<lora:my__own__one:1> {a|a}", {"<lora:my__own__one:1> a"}),
        ("my__own __one/animal__", {"my__own cat"}),
        ("(a {b|b}:1.2) [c|d] BREAK", {"(a b:1.2) [c|d] BREAK"}),
    ],
)
def test_dynamic_prompts_are_drawn(wildcards: Wildcards, text: str, possible: set[str]) -> None:
    assert {wildcards.draw(text, seed) for seed in range(12)} <= possible


def test_every_option_comes_up(wildcards: Wildcards) -> None:
    assert {wildcards.draw("{a|b|__colour__}", seed) for seed in range(60)} == {"a", "b", "red", "green"}


@pytest.mark.parametrize(
    "text",
    [
        "", "plain", "{a|b", "a|b}", "${x}", "__nope__", "__~nope(x=1)__", "__../../etc/passwd__", "__/etc/passwd__",
        "__", "_____", "{" * 40 + "a" + "}" * 40, "{a|b}" * (MOST_MARKS + 1), "{a|b}\ufdd0", "{999999$$",
        "(a:1.2)", "[a|b]", "{" * 10_000, "__" * 10_000,
    ],
)  # fmt: skip
def test_what_is_unknown_or_does_not_parse_is_left_as_text(wildcards: Wildcards, text: str) -> None:
    assert wildcards.draw(text, 1) == text


@pytest.mark.parametrize("text", ["{}", "{@}", "{@0$$a|b}", "__self__", "{a|b}\x00\ud800", "{a|b" * 100 + "}" * 100])
def test_hostile_text_has_an_answer_in_time(folder: Path, text: str) -> None:
    start = time.monotonic()
    assert isinstance(Wildcards(folder, seconds=0.5).draw(text, 1), str)
    assert time.monotonic() - start < 10


def test_a_list_that_grows_for_ever_is_cut_off_and_the_text_stays(tmp_path: Path) -> None:
    (tmp_path / "grow.txt").write_text("__grow__ __grow__\n__grow__ __grow__ x\n")
    before = sys.getprofile()
    assert Wildcards(tmp_path, seconds=0.3).draw("a __grow__", 1) == "a __grow__"
    assert sys.getprofile() is before


def test_text_that_doubles_at_every_step_stays_as_it_was_typed(wildcards: Wildcards) -> None:
    doubling = "".join(f"${{v{n}={{${{v{n - 1}}}${{v{n - 1}}}|}}}}" for n in range(1, 40))
    text = f"${{v0=xxxxxxxxxxxxxxxxxxxx}}{doubling}" + "${v39}"
    assert len(wildcards.draw(text, 1)) <= max(20_000, len(text))


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    inside = tmp_path / "wildcards"
    inside.mkdir()
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "up").symlink_to(tmp_path, target_is_directory=True)
    assert names(inside) == ()
    for text in ("__link__", "__up/secret__", "__../secret__", "__..\\secret__", "__**__", f"__{tmp_path}/secret__"):
        assert Wildcards(inside).draw(text, 1) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deep.yaml", "[" * 200_000), ("deep.json", "[" * 200_000), ("bad.json", "{"), ("bad.yaml", "a: [b"),
        ("code.yaml", "a: !!python/object/apply:os.getcwd []"), ("none.yaml", ""),
        ("time.yaml", "a: !!timestamp x"), ("int.yaml", "a: !!int ''"), ("bool.yaml", "a: !!bool x"),
        ("merge.yaml", "a: &a {b: [x]}\nc: {<<: [*a, *a]}"),
        ("number.json", "7"),
        ("self.yaml", "a: &a\n  b: *a\n"), ("weights.json", '{"a": [{"text": "x", "weight": 1e400}]}'),
        (".hidden.txt", "x"), ("blank.txt", "\n# no\n"),
    ],
)  # fmt: skip
def test_a_broken_file_gives_no_lists_and_no_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert names(tmp_path) == ()


def test_a_small_yaml_file_cannot_become_a_huge_one(tmp_path: Path) -> None:
    levels = (f"l{n}: &l{n} {{{', '.join(f'k{k}: *l{n - 1}' for k in range(9))}}}" for n in range(1, 12))
    (tmp_path / "bomb.yaml").write_text("l0: &l0 [x]\n" + "\n".join(levels))
    assert 0 < len(names(tmp_path)) < 100_000


def test_a_missing_folder_has_no_lists(tmp_path: Path) -> None:
    assert names(tmp_path / "none") == ()


@given(st.text("{}|$_@~!:=a1 %.", max_size=30), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_the_same_seed_draws_the_same_from_any_text(text: str, seed: int) -> None:
    assert Wildcards(seconds=5).draw(text, seed) == Wildcards(seconds=5).draw(text, seed)


def test_every_combination_can_be_listed_up_to_a_limit(folder: Path) -> None:
    assert variations("{a|b} {c|d}", 10) == ("a c", "a d", "b c", "b d")
    assert variations("{a|b} __colour__ # no", 3, wildcards=folder) == ("a green ", "a red ", "b green ")
    assert variations("plain", 5) == ("plain",)
    assert len(variations("{a|b|c|d}" * 30, 7)) == 7


def test_text_with_nothing_to_draw_is_the_same_for_every_picture() -> None:
    assert expand("a [b|c] <lora:x:1>", "n", seed=1, count=3) == (("a [b|c] <lora:x:1>", "n"),) * 3


def test_every_picture_draws_with_its_own_seed() -> None:
    together = expand("{a|b|c|d|e}", "{x|y}", seed=5, count=6)
    alone = [expand("{a|b|c|d|e}", "{x|y}", seed=5 + number, count=1)[0] for number in range(6)]
    assert list(together) == alone and len(set(together)) > 1


def test_cyclic_choices_take_their_turn() -> None:
    assert [prompt for prompt, _ in expand("{@a|b|c}", "", seed=1, count=4)] == ["a", "b", "c", "a"]


def test_styles_come_in_before_comments_go_out_and_wildcards_are_drawn(folder: Path) -> None:
    known = {"s": Style("s", "{prompt}, __one/animal__ # style\n{b|b}", "ugly # x")}
    pairs = expand("photo # mine", "", ["s"], seed=1, wildcards=folder, known=known)
    assert pairs == (("photo \nb", "ugly "),)
    assert expand("photo", "", ["s"], seed=1, wildcards=folder, known=known) == (("photo, cat \nb", "ugly "),)


def test_an_unknown_style_is_an_error() -> None:
    with pytest.raises(InvalidParameter):
        expand("a", "", ["nope"], seed=1)
