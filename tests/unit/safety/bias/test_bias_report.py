"""The report: complete, escaped, needing nothing from outside, and without flagged pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from backend.types import Principal
from safety.bias.audit import finish
from safety.bias.drawing import interval_line
from safety.bias.features import PlainFeatures
from safety.bias.keeping import AuditFolder
from safety.bias.plan import AuditPlan, AuditReference, AuditResult, SignOff, Variant
from safety.bias.report import report
from safety.bias.suites import Suite, SuitePrompt
from tests.support.audits import ToyDesk
from tests.support.glyphs import Glyphs
from webui import cli

EVIL = "<script>alert(1)</script>\"'&"
EVEN = {"red": 0.5, "blue": 0.5}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    root = tmp_path_factory.mktemp("audit")
    glyphs = Glyphs({text: {"colour": EVEN} for text in (EVIL, "a hat", "red things", "blue things")})
    prompts = (SuitePrompt(text=EVIL), SuitePrompt(text="a hat"))
    identities = (SuitePrompt(text="red things", group="one"), SuitePrompt(text="blue things", group="two"))
    suite = Suite(name="s", title=f"Title {EVIL}", about=EVIL, prompts=prompts, identities=identities, negative=EVIL)
    plan = AuditPlan(
        id="a1",
        suite=suite,
        variants=(Variant(name=EVIL, model="m"), Variant(name="other", model="n")),
        n=6,
        n_identities=4,
        fields={"steps": 5, "note": EVIL},
        measures=("colour",),
        references=(AuditReference(name=EVIL, measure="colour", about=EVIL, shares={"": EVEN}),),
        bootstrap=200,
        features="plain",
        created="2026-11-21T10:00:00",
    )
    desk = ToyDesk(
        root,
        lambda text, seed, _model: glyphs.draw(text, seed),
        flag=lambda _text, seed: {0: ("scanner-failed", "show"), 5: ("flagged", "blur")}.get(seed, ("clean", "show")),
    )
    folder = AuditFolder(root, plan.id)
    folder.create(plan)
    run_all(plan, desk, folder)
    return finish(plan, folder.measurements(), folder.failures(), 0.999, "2026-11-21T11:00:00")


def run_all(plan: AuditPlan, desk: ToyDesk, folder: AuditFolder) -> None:
    from safety.bias.run import run

    run(plan, desk, Principal(), folder, PlainFeatures())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.tags


def test_strangers_texts_are_never_markup(result: AuditResult) -> None:
    html = report(result)
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html
    assert not any(name.startswith("on") for _, attributes in tags_of(html) for name in attributes)


def test_nothing_is_fetched_from_anywhere(result: AuditResult) -> None:
    html = report(result, lambda _record: ("image/png", b"picture"))
    tags = tags_of(html)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in tags}
    assert all(
        (attributes["src"] or "").startswith("data:image/png;base64,") for tag, attributes in tags if tag == "img"
    )
    assert "http://" not in html and "https://" not in html and "url(" not in html
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html


def test_flagged_and_covered_pictures_are_never_shown(result: AuditResult) -> None:
    asked: list[str] = []

    def thumbnail(record: str) -> tuple[str, bytes]:
        asked.append(record)
        return "image/png", b"x"

    html = report(result, thumbnail)
    shown = {one.record_id: one.shown for run in result.variants for refs in run.sheet.values() for one in refs}
    assert asked and all(shown[record] for record in asked)
    assert sum(not yes for yes in shown.values()) > 0 and "not shown" in html
    assert any("covered by the policy" in one.why for one in result.failures)


def test_a_thumbnail_of_an_odd_kind_is_left_out(result: AuditResult) -> None:
    assert "<img" not in report(result, lambda _record: ("image/svg+xml", b"<svg onload=x>"))


def test_everything_that_is_needed_to_repeat_it_stands_there(result: AuditResult) -> None:
    html = report(result)
    for text in (
        "a hat", "weights sha256 abab", "Euler", "5 steps", "guidance 4", "0 to 5", "2026-11-21T10:00:00",
        "Benjamini-Hochberg", "What this does not show", "not measured", "64 x 64", "Looked at by",
        "Jensen-Shannon divergence in bits", "plan sha256", "red things",
    ):  # fmt: skip
        assert text in html, text


def test_a_sign_off_is_printed(result: AuditResult) -> None:
    signed = result.model_copy(update={"sign_off": SignOff(who="Ada", when="2026-11-22", note="looked at all")})
    assert "Ada, 2026-11-22: looked at all" in report(signed)


def test_prompts_are_sorted_by_their_distance(result: AuditResult) -> None:
    html = report(result)
    first = html[html.index("Measure: colour") : html.index("How different")]
    distances = [float(text) for text in re.findall(r"TV (\d\.\d+)", first)]
    assert distances == sorted(distances, reverse=True) and len(distances) == 2


def test_intervals_are_drawn_to_scale_and_readable_without_eyes() -> None:
    drawn = interval_line(0.5, (0.25, 0.75), [('"<b>', 0.1)])
    found = {attributes.get("class"): attributes for _, attributes in tags_of(drawn)}
    axis, span, dot = found["axis"], found["span"], found["dot"]
    left, right = float(axis["x1"] or 0), float(axis["x2"] or 0)
    assert float(span["x1"] or 0) == pytest.approx(left + (right - left) / 4, abs=0.1)
    assert float(dot["cx"] or 0) == pytest.approx((left + right) / 2, abs=0.1)
    assert "0.500, interval 0.250 to 0.750" in drawn and "<b>" not in drawn


def test_the_command_lists_suites_and_refuses_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path)]
    assert cli.main(["audit", "bias", "--list", *data]) == 0
    assert "starter-colours" in capsys.readouterr().out
    for given, said in (
        (["--suite", "none"], "no suite"),
        (["--against", "none"], "both runs would be the same"),
        (["--lora", "x:y"], "has no weight"),
        (["--measure", "race"], "no measure"),
        (["-n", "0"], "cannot be used"),
        (["--half-width", "0.9"], "cannot be planned"),
        (["--resume", "../x"], "no audit"),
        (["--model", "no-such-model"], "no model"),
        (["--labelled", str(tmp_path / "nowhere")], "no folder of known pictures"),
        (["--reference", f"colour:{tmp_path / 'none.csv'}"], "cannot be read"),
    ):
        assert cli.main(["audit", "bias", *given, *data]) == 2, given
        assert said in capsys.readouterr().err
