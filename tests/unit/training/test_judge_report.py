"""The report: what is asked, what counts as right, distances, copies, and the one command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support import lora as loras
from tests.support import tiny
from training.captions import COLOURS
from training.data import STYLES
from training.judging import __main__ as command
from training.judging import asks, distances, drawing, likeness, lists, network, report, scoring, sheets
from training.judging.asks import Ask
from training.judging.network import Judge, Network, Verdict
from training.judging.scoring import Tally

pytestmark = pytest.mark.filterwarnings("ignore")
LABELS = tuple(sorted({label for concept in lists.concepts() for label in lists.accepted(concept)}))


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Knows every label it can be asked for, and nothing about pictures."""
    torch.manual_seed(0)
    untrained = Network(len(LABELS), len(STYLES), len(COLOURS), widths=(4, 4, 8, 8), features=6).eval()
    real = torch.rand(40, 3, 64, 64) * 2 - 1
    looks = likeness.fit(real)
    memory = {
        "real": torch.randn(40, 6),
        "real_concepts": torch.arange(40),
        "real_styles": torch.arange(40) % 4,
        "looks_basis": looks.basis,
        "looks_centre": looks.centre,
        "looks": looks.of(real),
    }
    own = {name: {"share": 0.9, "hits": 9, "tries": 10} for name in ("clean_top1", "clean_top5", "clean_pair_false")}
    own |= {"weathered_distance": {"ratio": 1.5}}
    facts = {"own": own, "look_alike": {"limit": 0.5, "median": 4.0, "recognised": 0.8, "pictures": 40}}
    return Judge(untrained, LABELS, STYLES, tuple(COLOURS), facts=facts, memory=memory)


def verdict(*firsts: tuple[str, ...], style: str = "3d", colour: str = "white") -> Verdict:
    """A judge that names these labels, likeliest first, one tuple per picture."""
    concepts = np.zeros((len(firsts), len(LABELS)), dtype=np.float32)
    for row, labels in enumerate(firsts):
        for place, label in enumerate(labels):
            concepts[row, LABELS.index(label)] = 0.5 - 0.05 * place
    styles = np.tile(np.array([name == style for name in STYLES], dtype=np.float32), (len(firsts), 1))
    colours = np.tile(np.array([name == colour for name in COLOURS], dtype=np.float32), (len(firsts), 1))
    return Verdict(concepts, styles, colours, np.zeros((len(firsts), 6), dtype=np.float32))


def test_the_list_names_300_concepts_and_every_group_belongs_to_one() -> None:
    assert len(lists.concepts()) == 300
    assert set(lists.groups()) <= set(lists.concepts())


def test_synonyms_and_pairs_ask_for_listed_concepts_and_no_synonym_is_a_label() -> None:
    assert len(lists.synonyms()) >= 80
    assert {concept for _, concept in lists.synonyms()} <= set(lists.concepts())
    assert not {word for word, _ in lists.synonyms()} & set(LABELS)
    assert {concept for pair in lists.pairs() for concept in pair} <= set(lists.concepts())


def test_no_pair_asks_for_two_things_that_answer_for_each_other() -> None:
    for first, second in lists.pairs():
        assert not lists.accepted(first) & lists.accepted(second)


def test_the_shipped_judge_knows_every_label_of_the_lists() -> None:
    config = Path("models/judge/config.json")
    if not config.exists():
        pytest.skip("no judge is shipped yet")
    assert set(LABELS) <= set(json.loads(config.read_text(encoding="utf-8"))["labels"])


def test_everything_is_asked_with_a_seed_of_its_own_and_the_same_every_time() -> None:
    whole = asks.everything()
    assert whole == asks.everything()
    assert [sum(ask.part == part for ask in whole) for part in asks.PARTS][:3] == [1200, 120, 120]
    assert len({ask.seed for ask in whole}) == len(whole)
    assert "a cat, 3d style" in {ask.prompt for ask in whole}


def test_a_larger_sample_holds_the_smaller_one_and_no_part_is_left_out() -> None:
    whole = asks.everything()
    small, large = asks.sample(whole, 100), asks.sample(whole, 400)
    assert set(small) <= set(large)
    assert all(sum(ask.part == part for ask in small) >= asks.FEWEST for part in asks.PARTS)
    assert asks.sample(whole, 10**6) == whole


def test_a_kind_of_the_asked_thing_counts_but_not_the_other_way_round(judge: Judge) -> None:
    seen = verdict(("black cat",), ("cat",))
    found = scoring.tallies(judge, seen, [Ask("listed", "", ("cat",), 0), Ask("listed", "", ("black cat",), 0)])
    assert found["top1"] == Tally(1, 2)


def test_the_sixth_answer_is_too_late(judge: Judge) -> None:
    others = ("pizza", "key", "bed", "bell", "sun")
    seen = verdict((*others[:4], "dog"), (*others, "dog"))
    assert scoring.tallies(judge, seen, [Ask("listed", "", ("dog",), 0)] * 2)["top5"] == Tally(1, 2)


def test_a_pair_needs_both_and_strictly_both_first(judge: Judge) -> None:
    seen = verdict(("cat", "rocket"), ("cat", "key", "rocket"), ("cat",))
    found = scoring.tallies(judge, seen, [Ask("pair", "", ("cat", "rocket"), 0)] * 3)
    # The third judge names only the cat; ties after it go to the first labels of the alphabet.
    assert (found["pair"], found["pair_strict"], found["pair_one"]) == (Tally(2, 3), Tally(1, 3), Tally(3, 3))


def test_style_and_colour_are_judged_where_they_were_asked_for(judge: Judge) -> None:
    seen = verdict(("cat",), ("cat",), style="flat", colour="blue")
    found = scoring.tallies(
        judge, seen, [Ask("listed", "", ("cat",), 0, style="flat"), Ask("background", "", ("cat",), 0, colour="red")]
    )
    assert found["style"] == Tally(1, 1)
    assert found["colour"] == Tally(0, 1)


def test_chance_gives_no_picture_its_own_prompt() -> None:
    whole = asks.sample(asks.everything(), 100)
    dealt = scoring.shuffled(whole)
    assert sorted(ask.seed for ask in dealt) == sorted(ask.seed for ask in whole)
    assert all(one != two and one.part == two.part for one, two in zip(whole, dealt, strict=True))


def test_the_frechet_distance_of_known_normals_is_what_the_formula_says() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, (20000, 3))
    two = rng.normal(0, 2, (20000, 3)) + np.array([3.0, 0.0, 0.0])
    assert distances.frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert distances.frechet(one, two) == pytest.approx(9 + 3 * (2 - 1) ** 2, rel=0.03)


def test_pictures_like_the_real_ones_lie_as_near_as_its_halves() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(600, 4)).astype(np.float32)
    same = distances.distance(rng.normal(size=(300, 4)).astype(np.float32), real)
    other = distances.distance(rng.normal(size=(300, 4)).astype(np.float32) + 1, real)
    assert same.pictures == 300
    assert same.ratio < 2 < 10 < other.ratio


def test_a_moved_copy_is_recognised_and_a_new_picture_is_not() -> None:
    torch.manual_seed(0)
    coarse = torch.rand(60, 3, 6, 6) * 2 - 1
    pictures = torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")
    real, new = pictures[:40], pictures[40:]
    looks = likeness.fit(real)
    found = likeness.threshold(looks, real)
    assert found["recognised"] > 0.8
    assert float((likeness.aligned(looks, new, looks.of(real))[0] < found["limit"]).float().mean()) < 0.1


def test_a_lora_is_merged_as_its_factors_multiply_and_a_strangers_is_refused(tmp_path: Path) -> None:
    pipeline = tiny.pipeline()
    factors = loras.random_lora(pipeline.unet, ("to_k",))
    file = loras.save(tmp_path / "some.safetensors", loras.kohya(factors, alpha=2.0))
    path, (down, up) = next(iter(factors.items()))
    before = pipeline.unet.get_submodule(path).weight.detach().clone()
    assert drawing.merge(pipeline, file) == len(factors)
    after = pipeline.unet.get_submodule(path).weight.detach()
    assert torch.allclose(after - before, loras.product(down, up) * 2 / 4, atol=1e-5)
    save_file({"lora_unet_elsewhere.lora_down.weight": torch.zeros(1, 1)}, tmp_path / "other.safetensors")
    with pytest.raises(drawing.Unusable, match="no layer of this model"):
        drawing.merge(pipeline, tmp_path / "other.safetensors")


def test_one_command_draws_judges_and_writes_table_report_and_sheets(
    judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.save_folder(tiny.pipeline(), tmp_path / "model")
    network.save(judge, tmp_path / "judge")
    options = ["--model", str(model), "--judge", str(tmp_path / "judge"), "--out", str(tmp_path / "out")]
    assert command.main([*options, "--count", "1", "--steps", "1", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for words in ("right among the first five", "chance", "too few pictures to tell", "seconds per picture", "copies"):
        assert words in printed
    told = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in told["rows"]}
    assert rows["top5"]["tries"] == asks.FEWEST
    assert rows["top5"]["low"] <= rows["top5"]["value"] <= rows["top5"]["high"]
    assert rows["distance"]["low"] is None
    names = {file.name for file in (tmp_path / "out").glob("*.png")}
    assert {"background.png", "pair.png", "synonym.png"} < names


def test_a_missing_judge_or_model_is_said_and_nothing_is_drawn(
    judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--judge", str(tmp_path / "none")]) == 2
    assert "holds no judge" in capsys.readouterr().err
    network.save(judge, tmp_path / "judge")
    assert command.main(["--judge", str(tmp_path / "judge"), "--model", str(tmp_path / "none")]) == 2
    assert "no exported model" in capsys.readouterr().err


def test_a_sheet_shows_every_picture_and_marks_the_wrong_ones() -> None:
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    some = [Ask("pair", "a cat and a rocket", ("cat", "rocket"), 0)] * 2
    page = np.asarray(sheets.page(pictures, some, [(True, "cat + rocket"), (False, "key + bed")]))
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert (page == colour).all(axis=2).sum() == 64 * 64


def test_what_is_no_number_is_none_in_json_and_blank_in_the_table(judge: Judge) -> None:
    row = report.Row("distance", "Fréchet distance", 1.25)
    settings = {"pictures": 1, "model": "m", "sampler": "Euler a", "steps": 20, "guidance": 4.0}
    made = report.Report(settings, (row,), judge.facts)
    assert made.as_json()["rows"][0]["low"] is None
    assert "nan" not in report.table(made)
    assert math.isnan(row.low)
