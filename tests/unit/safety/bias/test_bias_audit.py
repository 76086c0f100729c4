"""Whole audits of a toy generator: planted bias is found, none where there is none, and stopping loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.errors import Conflict, InvalidParameter, NotFound
from backend.types import Pixels, Principal
from safety.bias.audit import finish
from safety.bias.features import PlainFeatures
from safety.bias.keeping import AuditFolder, audits
from safety.bias.labeller import measured
from safety.bias.measures import MEASURES
from safety.bias.plan import AuditPlan, AuditReference, AuditResult, Measurement, Variant, digest, requests
from safety.bias.run import Progress, run
from safety.bias.suites import Suite, SuitePrompt
from tests.support.audits import ToyDesk
from tests.support.glyphs import Glyphs, figure

EVEN = {"red": 0.25, "green": 0.25, "blue": 0.25, "purple": 0.25}
TILTED = {"red": 0.1, "green": 0.1, "blue": 0.7, "purple": 0.1}
LIGHT = {"lighter": 0.8, "medium": 0.1, "darker": 0.1}
FEATURES = PlainFeatures()


def suite(*texts: str, **more: Any) -> Suite:
    prompts = tuple(SuitePrompt(text=text) for text in texts)
    return Suite(**{"name": "toy", "title": "Toy", "about": "Glyphs.", "prompts": prompts, **more})


def plan(of: Suite, n: int, **more: Any) -> AuditPlan:
    given = {"variants": (Variant(name="toy", model="toy"),), "measures": ("colour",), **more}
    return AuditPlan(id="audit-1", suite=of, n=n, bootstrap=200, **given)


def desk_of(folder: Path, glyphs: Glyphs, **more: Any) -> ToyDesk:
    folder.mkdir(exist_ok=True)
    return ToyDesk(folder, lambda text, seed, _model: glyphs.draw(text, seed), **more)


def audited(asked: AuditPlan, desk: ToyDesk, root: Path) -> AuditResult:
    folder = AuditFolder(root / "audits", asked.id)
    folder.create(asked)
    assert run(asked, desk, Principal(), folder, FEATURES)
    return finish(asked, folder.measurements(), folder.failures(), FEATURES.near, "2026-11-21")


def test_planted_bias_is_found_and_measured_within_two_points(tmp_path: Path) -> None:
    glyphs = Glyphs({"even": {"colour": EVEN, "skin": LIGHT}, "tilted": {"colour": TILTED, "skin": LIGHT}})
    asked = plan(suite("even", "tilted"), 120, measures=("colour", "skin"))
    result = audited(asked, desk_of(tmp_path / "out", glyphs), tmp_path)
    found = {one.prompt: one for one in result.variants[0].measured["colour"].prompts}
    for prompt in ("even", "tilted"):
        for name in EVEN:
            true = sum(glyphs.known[prompt, seed]["colour"] == name for seed in range(120)) / 120
            assert abs((found[prompt].shares or {})[name] - true) <= 0.02
    skin = result.variants[0].measured["skin"].prompts[0]
    true = sum(glyphs.known["even", seed]["skin"] == "lighter" for seed in range(120)) / 120
    assert abs((skin.shares or {})["lighter"] - true) <= 0.02
    assert found["tilted"].largest == "blue" and found["tilted"].references["uniform"].differs
    assert result.complete and result.variants[0].pictures == 240


def test_bias_is_not_found_where_there_is_none(tmp_path: Path) -> None:
    glyphs = Glyphs({f"p{i}": {"colour": EVEN} for i in range(6)})
    reference = AuditReference(name="planted", measure="colour", shares={"": EVEN})
    asked = plan(suite(*glyphs.shares), 40, references=(reference,))
    result = audited(asked, desk_of(tmp_path / "out", glyphs), tmp_path)
    found = result.variants[0].measured["colour"].prompts
    assert [one.prompt for one in found if one.references["planted"].differs] == []


def test_a_tilted_variant_differs_from_the_plain_one(tmp_path: Path) -> None:
    plain, tilted = Glyphs({"thing": {"colour": EVEN}}), Glyphs({"thing": {"colour": TILTED}})
    variants = (Variant(name="with", model="toy", loras=(("blue", 0.8),)), Variant(name="alone", model="base"))
    desk = ToyDesk(tmp_path, lambda text, seed, model: (tilted if model == "toy" else plain).draw(text, seed))
    result = audited(plan(suite("thing"), 60, variants=variants), desk, tmp_path)
    compared = result.comparisons["colour"]
    assert compared.names == ("with", "alone")
    assert compared.prompts[0].differs and compared.prompts[0].differences["blue"] > 0.2
    assert {ask["prompt"] for ask in desk.asked} == {"thing <lora:blue:0.8>", "thing"}
    assert {ask["seed"] for ask in desk.asked if ask["model"] == "toy"} == {
        ask["seed"] for ask in desk.asked if ask["model"] == "base"
    }


def test_identity_groups_are_resembled_without_a_label(tmp_path: Path) -> None:
    shares = {
        "red group": {"colour": {"red": 1.0}},
        "blue group": {"colour": {"blue": 1.0}},
        "open": {"colour": {"red": 0.9, "blue": 0.1}},
    }
    identities = (SuitePrompt(text="red group", group="r"), SuitePrompt(text="blue group", group="b"))
    asked = plan(suite("open", identities=identities), 40, n_identities=12, measures=())
    result = audited(asked, desk_of(tmp_path / "out", Glyphs(shares)), tmp_path)
    found = result.variants[0].resemblance
    assert found is not None and found.right == found.known == 24
    assert found.statistics is not None
    one = found.statistics.prompts[0]
    assert (one.shares or {})["r"] > 0.75 and one.references["uniform"].differs
    assert result.variants[0].measured == {} and result.variants[0].diversity[0].n == 40


def test_groups_that_look_alike_give_no_shares(tmp_path: Path) -> None:
    shares = {name: {"colour": EVEN} for name in ("one", "two", "open")}
    identities = (SuitePrompt(text="one", group="a"), SuitePrompt(text="two", group="b"))
    asked = plan(suite("open", identities=identities), 8, n_identities=12, measures=())
    found = audited(asked, desk_of(tmp_path / "out", Glyphs(shares)), tmp_path).variants[0].resemblance
    assert found is not None and found.statistics is None and "by chance" in found.why_not


def test_what_must_not_vary_is_scored_two_sidedly(tmp_path: Path) -> None:
    shares = {"red thing": {"colour": {"red": 0.9, "blue": 0.1}}, "green thing": {"colour": {"green": 1.0}}}
    prompts = (
        SuitePrompt(text="red thing", expected={"colour": "red"}),
        SuitePrompt(text="green thing", expected={"colour": "green"}),
    )
    glyphs = Glyphs(shares)
    asked = plan(Suite(name="f", title="F", about="a", kind="fixed", prompts=prompts), 40)
    found = audited(asked, desk_of(tmp_path / "out", glyphs), tmp_path).variants[0].must_not_vary
    assert found is not None and found.score is not None
    red = sum(glyphs.known["red thing", seed]["colour"] == "red" for seed in range(40))
    assert [one.kept for one in found.prompts] == [red, 40]
    assert found.score == pytest.approx((red + 40) / 80) and found.interval[0] < found.score
    assert found.prompts[0].seen["blue"] == 40 - red and found.for_eyes == 0


def test_refusals_failures_and_covered_pictures_are_told_and_do_not_stop_it(tmp_path: Path) -> None:
    glyphs = Glyphs({name: {"colour": EVEN} for name in ("fine", "refused", "failing")})
    desk = desk_of(
        tmp_path / "out",
        glyphs,
        refused=frozenset({"refused"}),
        failing=frozenset({"failing"}),
        flag=lambda _text, seed: {0: ("scanner-failed", "show"), 5: ("flagged", "blur")}.get(seed, ("clean", "show")),
    )
    result = audited(plan(suite("fine", "refused", "failing"), 6), desk, tmp_path)
    assert result.complete and result.variants[0].pictures == 5
    assert sorted((one.prompt, one.why) for one in result.failures) == [
        (0, "covered by the policy, so it was not measured"),
        *[(1, "The policy says no.")] * 2,
        *[(2, "The engine stumbled.")] * 6,
    ]
    refs = result.variants[0].sheet["fine"]
    assert [one.shown for one in refs] == [False, True, True, True, True]
    assert result.variants[0].hidden == 1


def test_a_cancelled_audit_goes_on_where_it_stopped(tmp_path: Path) -> None:
    glyphs = Glyphs({name: {"colour": EVEN} for name in ("a", "b", "c")})
    asked, told = plan(suite("a", "b", "c"), 8), []
    desk = desk_of(tmp_path / "out", glyphs, stop_after=3)
    folder = AuditFolder(tmp_path / "audits", asked.id)
    folder.create(asked)
    assert not run(asked, desk, Principal(), folder, FEATURES, told.append)
    kept = len(folder.measurements())  # also those that were finished when it was stopped
    assert 0 < kept < asked.pictures and desk.cancelled
    half = finish(asked, folder.measurements(), folder.failures(), FEATURES.near, "now")
    assert not half.complete
    assert run(asked, desk, Principal(), folder, FEATURES, told.append)
    assert len(folder.measurements()) == asked.pictures == 24
    seeds = [(ask["prompt"], ask["seed"] + i) for ask in desk.asked for i in range(ask["count"])]
    assert len(seeds) == len(set(seeds)), "no picture was made twice"
    last: Progress = told[-1]
    assert (last.done, last.pictures) == (24, 24)


def test_an_audit_never_brings_pictures(tmp_path: Path) -> None:
    asked = plan(suite("a"), 1, fields={"init_image": "x"}, measures=("skin",))
    folder = AuditFolder(tmp_path, asked.id)
    folder.create(asked)
    with pytest.raises(InvalidParameter, match="words alone"):
        run(asked, desk_of(tmp_path / "out", Glyphs({})), Principal(), folder, FEATURES)


def test_every_prompt_gets_its_turn_before_any_gets_more(tmp_path: Path) -> None:
    asks = list(requests(plan(suite("a", "b"), 6, first_seed=10)))
    assert [(ask.prompt, ask.seed, ask.count) for ask in asks] == [(0, 10, 4), (1, 10, 4), (0, 14, 2), (1, 14, 2)]
    seen = [
        Measurement(variant=0, identity=False, prompt=0, seed=seed, record_id="r", sha256="s", shown=True)
        for seed in (10, 11, 13)
    ]
    again = list(requests(plan(suite("a"), 6, first_seed=10), seen))
    assert [(ask.seed, ask.count) for ask in again] == [(12, 1), (14, 2)]
    with pytest.raises(InvalidParameter, match="more than"):
        next(requests(plan(suite(*(f"p{i}" for i in range(200))), 10_000)))


def test_a_measured_labeller_corrects_the_shares(tmp_path: Path) -> None:
    class Careless:
        """Says red of every third green thing."""

        def __init__(self) -> None:
            self._count = 0

        def draw(self, text: str, seed: int, model: str) -> Pixels:
            return glyphs.draw(text, seed)

    import numpy as np

    rng, glyphs = np.random.default_rng(0), Glyphs({"thing": {"skin": LIGHT, "colour": EVEN}})
    known = [(name, figure(rng, {"skin": name, "colour": "blue"})) for name in LIGHT for _ in range(10)]
    labeller = measured(MEASURES["skin"], known, "glyphs")
    asked = plan(suite("thing"), 30, measures=("skin",), labellers=(labeller,))
    desk = ToyDesk(tmp_path, Careless().draw)
    one = audited(asked, desk, tmp_path).variants[0].measured["skin"].prompts[0]
    assert one.corrected is not None
    assert one.corrected.shares["lighter"] == pytest.approx((one.shares or {})["lighter"], abs=0.02)


def test_a_result_survives_the_disk_and_a_cut_line_is_passed_over(tmp_path: Path) -> None:
    glyphs = Glyphs({"a": {"colour": EVEN}})
    asked = plan(suite("a"), 4)
    result = audited(asked, desk_of(tmp_path / "out", glyphs), tmp_path)
    folder = AuditFolder(tmp_path / "audits", asked.id)
    folder.write_result(result)
    assert folder.result() == result and folder.plan() == asked and digest(folder.plan()) == digest(asked)
    path = folder.path / "measurements.jsonl"
    whole = folder.measurements()
    path.write_bytes(path.read_bytes()[:-20])
    assert folder.measurements() == whole[:-1]
    folder.append(whole[-1])
    assert folder.measurements() == whole
    assert audits(tmp_path / "audits") == ("audit-1",)


@pytest.mark.parametrize("ident", ["../x", "", "a/b", ".", "x" * 99])
def test_an_audit_is_found_by_a_plain_id_only(tmp_path: Path, ident: str) -> None:
    with pytest.raises(NotFound):
        AuditFolder(tmp_path, ident)


def test_no_audit_is_written_over(tmp_path: Path) -> None:
    asked = plan(suite("a"), 1)
    AuditFolder(tmp_path, asked.id).create(asked)
    with pytest.raises(Conflict):
        AuditFolder(tmp_path, asked.id).create(asked)
    with pytest.raises(NotFound):
        AuditFolder(tmp_path, "other").plan()
    (tmp_path / asked.id / "plan.json").write_text("{")
    with pytest.raises(InvalidParameter):
        AuditFolder(tmp_path, asked.id).plan()
