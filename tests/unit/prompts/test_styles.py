"""Styles: files as A1111 writes them, and worse ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidParameter
from backend.prompts import styles
from backend.prompts.styles import Style


def file(folder: Path, text: str | bytes, name: str = "styles.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def test_columns_quotes_and_line_breaks_are_read(tmp_path: Path) -> None:
    path = file(tmp_path, '\ufeffname,prompt,negative_prompt\nink,"ink, {prompt}\nwash",blurry\nplain,soft,\n')
    assert styles.read(path) == (Style("ink", "ink, {prompt}\nwash", "blurry"), Style("plain", "soft", ""))


def test_an_old_file_with_a_text_column_is_read(tmp_path: Path) -> None:
    assert styles.read(file(tmp_path, "name,text\nink,black ink\n")) == (Style("ink", "black ink"),)


def test_of_two_styles_with_one_name_the_later_counts_in_the_place_of_the_first(tmp_path: Path) -> None:
    first = file(tmp_path, "name,prompt,negative_prompt\na,1,\nb,2,\n")
    second = file(tmp_path, "name,prompt,negative_prompt\na,3,\n", "more.csv")
    assert styles.read(first, second) == (Style("a", "3"), Style("b", "2"))


def test_divider_rows_are_kept_as_such_and_change_nothing(tmp_path: Path) -> None:
    path = file(tmp_path, "name,prompt,negative_prompt\n---- Light ----,,\na,1,\n----,,\n----,,\n")
    read = styles.read(path)
    assert [style.divides for style in read] == [True, False, True, True]
    known = {style.name: style for style in read}
    assert styles.apply(styles.choose(known, ["---- Light ----", "a"]), "x", "") == ("x, 1", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "name",
        "prompt\nx",
        "name,prompt\n\n,,,,\n",
        b"\xff\xfe\x00",
        'name,prompt\n"open',
        "name\n" + "x" * 200_000,
    ],
)
def test_a_broken_file_never_stops_the_studio(tmp_path: Path, text: str | bytes) -> None:
    assert all(style.name for style in styles.read(file(tmp_path, text)))


def test_a_broken_row_does_not_hide_the_others(tmp_path: Path) -> None:
    rows = f"name,prompt,negative_prompt\na,1,\nb,{'x' * 200_000},\nc,3,\n"
    assert [style.name for style in styles.read(file(tmp_path, rows))] == ["a", "c"]


def test_a_missing_file_has_no_styles(tmp_path: Path) -> None:
    assert styles.read(tmp_path / "none.csv", tmp_path) == ()


def test_writing_keeps_the_old_file_as_bak(tmp_path: Path) -> None:
    path = file(tmp_path, "name,prompt,negative_prompt\nold,1,\n")
    styles.write(path, [Style("new", "2")])
    assert styles.read(path) == (Style("new", "2"),)
    assert styles.read(tmp_path / "styles.csv.bak") == (Style("old", "1"),)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["styles.csv", "styles.csv.bak"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_no_cell_of_a_written_file_begins_like_a_formula(tmp_path: Path, start: str) -> None:
    path = tmp_path / "styles.csv"
    styles.write(path, [Style("a", f"{start}HYPERLINK(1)", f"{start}1")])
    cells = path.read_text(encoding="utf-8-sig").splitlines()[1].split(",")
    assert all(cell.strip('"').startswith(("a", "'")) for cell in cells)
    assert styles.read(path) == (Style("a", f"{start}HYPERLINK(1)", f"{start}1"),)


CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\x00"), max_size=20)


@settings(deadline=None)
@given(st.lists(st.builds(Style, CELL.filter(lambda n: n.strip() == n != ""), CELL.map(str.strip), CELL.map(str.strip)),
                max_size=5, unique_by=lambda style: style.name))  # fmt: skip
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, listed: list[Style]) -> None:
    path = tmp_path_factory.mktemp("styles") / "styles.csv"
    styles.write(path, listed)
    assert styles.read(path) == tuple(listed)


def test_a_placeholder_takes_the_prompt_and_a_style_without_one_follows_it() -> None:
    around, after = Style("a", "photo of {prompt}, {prompt}", "ugly"), Style("b", " soft ", "")
    assert styles.apply([around], "cat", "") == ("photo of cat, cat", "ugly")
    assert styles.apply([after], "cat ", "bad") == ("cat, soft", "bad")
    assert styles.apply([after, around], "cat", "bad") == ("photo of cat, soft, cat, soft", "bad, ugly")
    assert styles.apply([after], "", "") == ("soft", "")
    assert styles.apply([], " cat ", "") == (" cat ", "")


def test_an_unknown_style_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(InvalidParameter, match=r'no style called "x".*"a"'):
        styles.choose({"a": Style("a")}, ["x"])
