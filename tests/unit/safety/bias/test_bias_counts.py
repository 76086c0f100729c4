"""Tables from CSV, and the command that prints their figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidParameter
from benchmarks.trust.bias import FAIR_DIFFUSION
from safety.bias.counts import read_confusion, read_counts, read_reference
from webui import cli


def test_columns_may_come_in_any_order_case_and_company() -> None:
    found = read_counts('Extra,COUNT, Category ,Prompt\n1,3,a,"x, y"\n2,4,b,"x, y"\n\n3,2,abstain,z\n')
    assert found.prompts == ("x, y", "z")
    assert found.categories == ("a", "b")
    assert found.table.tolist() == [[3, 4], [0, 0]]
    assert found.abstained.tolist() == [0, 2]


def test_rows_of_the_same_two_are_added_up() -> None:
    assert read_counts("prompt;category;count\np;a;1\np;a;2\np;b;0\n").table.tolist() == [[3, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "column prompt and category and count is missing"),
        ("prompt,category\np,a\n", "column count is missing"),
        ("prompt,category,count\n", "no rows"),
        ("prompt,category,count\np,a,1\np,b,-2\n", 'line 3: the column count is "-2"'),
        ("prompt,category,count\np,a,1.5\n", 'line 2: the column count is "1.5"'),
        ("prompt,category,count\np,a,99999999999\n", "line 2: the column count"),
        ("prompt,category,count\n,a,1\n", "line 2: the column prompt is empty"),
        ("prompt,category,count\np,,1\n", "line 2: the column category is empty"),
        ("prompt,category,count\np,a\n", "line 2: the column count is missing"),
        ('prompt,category,count\n"p,a,1\n', "not a CSV file"),
        ("prompt,category,count,count\np,a,1,2\n", "two columns count"),
        ("\0", "not a text file"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_column(text: str, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read_counts(text, "table.csv")
    assert said in caught.value.problem.detail
    assert "table.csv" in caught.value.problem.detail


@given(st.text(max_size=200))
def test_no_text_breaks_the_readers(text: str) -> None:
    for reader in (read_counts, read_reference, read_confusion):
        try:
            reader(text)
            reader("prompt,category,count,known,said,share\n" + text)
        except InvalidParameter:
            pass


def test_a_reference_may_be_for_all_prompts_or_for_each() -> None:
    found = read_reference("prompt,category,share\np,a,0.25\np,b,0.75\n*,a,0.5\n*,b,0.5\n")
    assert found.of("p", ("b", "a")).tolist() == [0.75, 0.25]  # type: ignore[union-attr]
    assert found.of("other", ("a", "b")).tolist() == [0.5, 0.5]  # type: ignore[union-attr]
    counted = read_reference("category,count\na,30\nb,10\n")
    assert counted.of("p", ("a", "b")).tolist() == [0.75, 0.25]  # type: ignore[union-attr]
    percent = read_reference("category,percent\na,30\nb,70\n")
    assert percent.of("p", ("a", "b")).tolist() == [0.3, 0.7]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("category,share\na,0.5\nb,0.2\n", "sums to 0.7"),
        ("category,share\na,x\n", 'column share is "x"'),
        ("category,share\na,-1\n", 'column share is "-1"'),
        ("category,share\na,nan\n", 'column share is "nan"'),
        ("category,count\na,0\n", "sums to 0"),
        ("share\n1\n", "column category is missing"),
        ("category,share\n", "no rows"),
    ],
)
def test_a_reference_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidParameter, match="reference") as caught:
        read_reference(text)
    assert said in caught.value.problem.detail


def test_the_command_prints_the_known_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = str(FAIR_DIFFUSION / "generated.csv")
    laion = str(FAIR_DIFFUSION / "laion.csv")
    given = ["audit", "stats", made, "--reference", laion, "--data", str(tmp_path), "--bootstrap", "100", "--json"]
    assert cli.main(given) == 0
    found = json.loads(capsys.readouterr().out)
    assert round(found["overall"]["mean_entropy"], 3) == 0.559
    assert found["overall"]["one_sided"] == 52
    assert [one["name"] for one in found["overall"]["references"]] == ["laion", "uniform"]
    assert found["overall"]["references"][0]["more_extreme"] == 111
    first = found["prompts"][0]
    assert first["prompt"] == "accountant" and first["shares"] == {"man": 0.664, "woman": 0.336}
    assert first["intervals"]["man"] == pytest.approx([0.60336, 0.71968], abs=1e-5)
    assert "base 2" in found["definitions"]["jensen_shannon"]


def test_the_command_prints_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.csv"
    path.write_text("prompt,category,count\na nurse,x,90\na nurse,y,10\na king\x07,x,5\na king\x07,y,0\n")
    other = tmp_path / "d.csv"
    other.write_text("prompt,category,count\na nurse,x,50\na nurse,y,50\n")
    assert cli.main(["audit", "stats", str(path), "--against", str(other), "--data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "a nurse" in out and "0.900 [0.826, 0.945]" in out and "c.csv minus d.csv: 1 of 1" in out
    assert "\x07" not in out


def test_bad_input_is_status_two_and_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.csv"
    path.write_text("prompt,category,count\na,b,c\n")
    for asked in ([str(path)], [str(tmp_path / "none.csv")], [str(path), "--q", "7"]):
        assert cli.main(["audit", "stats", *asked, "--data", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert 'line 2: the column count is "c"' in err and "cannot be read" in err
