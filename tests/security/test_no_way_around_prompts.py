"""No way around admission: what must not be asked for is refused in whichever field it stands, before the queue.

The reader's classifier is a stand-in that knows one made-up word (WORD), and one made-up person (NAME) asked not to be
depicted. Behind the gate there is no engine, so that whatever got through would be found on its way there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from starlette.testclient import TestClient

from backend import images, wire
from backend.errors import Refused, StorageFull, Unavailable
from backend.types import Principal
from extensions.context import Extension
from extensions.hookspecs import hookimpl
from safety.prompt_filter.reading import Reader
from tests.support.drawings import shapes
from tests.support.front import BASE
from tests.support.guarded import NAME, WORD, Still, entries, guarded
from tests.support.lora import save
from tests.support.pictures import mask
from webui import bridge, compose, terminal
from webui.api.native import CALLER
from webui.app import api_app
from webui.compose import Services

SIDE = 128
PLAIN: dict[str, Any] = {"steps": 2, "sampler": "Euler", "cfg": 4.0, "seed": 7}
LONG = f"a row of forty and more characters that tells of a {WORD}"


class Meddling:
    """An extension that writes into requests what their words ask it to."""

    EXTENSION = Extension("meddling", "Meddling", "1", "", frozenset({"prompt"}))

    @hookimpl
    def signet_changed_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        match fields.get("prompt"):
            case "write it in":
                return {**fields, "prompt": f"a {WORD}"}
            case "loosen":
                return {name: value for name, value in fields.items() if name != "policy"} | {"consent": True}
            case "loosen in words":
                return {**fields, "policy": "shared"}
        return None


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    data = tmp_path_factory.mktemp("data")
    (data / "wildcards").mkdir()
    (data / "wildcards" / "things.txt").write_text(f"a {WORD}\nan old {WORD}\n", encoding="utf-8")
    with guarded(data, link=Still, plugins=(Meddling(),)) as services:
        layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
        tensors = {f"{layer}.lora_down.weight": torch.zeros(1, 256), f"{layer}.lora_up.weight": torch.zeros(64, 1)}
        save(data / "models" / "loras" / f"{NAME}.safetensors", tensors)
        link(services).say(wire.Ready("cpu"))
        yield services


@pytest.fixture(scope="module")
def web(studio: Services) -> Iterator[TestClient]:
    with TestClient(api_app(studio.service), base_url=BASE) as client:
        yield client


@pytest.fixture
def shared(studio: Services) -> Services:
    studio.service.trust.change_policy({"profile": "shared"}, Principal())
    return studio


def link(studio: Services) -> Any:
    return studio.service._link


def brought(web: TestClient, data: bytes) -> str:
    reply = web.post("/api/v1/inputs", content=data, headers={"content-type": "image/png"})
    return str(reply.json()["id"])


def refusals(studio: Services) -> int:
    return len(entries(studio, "refusal"))


class Watch:
    """What had happened before; `nothing` says that since then no job was queued and the engine was asked nothing."""

    def __init__(self, studio: Services) -> None:
        self.studio = studio
        self.refused, self.asked, self.trained = self._now()
        self.waiting = studio.service.waiting()

    def _now(self) -> tuple[int, int, int]:
        engine = link(self.studio)
        return refusals(self.studio), len(engine.works), len(engine.orders)

    def nothing(self, refusals: int = 1) -> None:
        assert self._now() == (self.refused + refusals, self.asked, self.trained)
        assert self.studio.service.waiting() == self.waiting


TEXTS: dict[str, str] = {
    "plain": f"a {WORD} on a table",
    "emphasis": f"a ({WORD}:1.3)",
    "brackets": f"a [{WORD}]",
    "scheduled in": f"a [cat:{WORD}:0.5]",
    "scheduled out": f"a [{WORD}::0.5] cat",
    "scheduled last": f"a [cat:{WORD}:0.99]",
    "put together": f"a {WORD[:4]}[:{WORD[4:]}:0]",
    "alternating": f"a [cat|{WORD}]",
    "alternating thirds": f"a [cat|dog|{WORD}]",
    "AND": f"a cat AND a {WORD} :0.2",
    "BREAK": f"a cat BREAK a {WORD}",
    "drawn": "__things__",
    "either": f"a {{cat|{WORD}}} and {{dog|{WORD}}} and {{{WORD}}}",
    "full width": "a " + "".join(chr(ord(char) + 0xFEE0) for char in WORD),
    "zero width": f"a {WORD[:3]}\u200b{WORD[3:]}",
    "capitals": f"A {WORD.upper()}",
    "an embedding's name": WORD,
    "a name": f"a portrait of {NAME}",
}


@pytest.mark.parametrize("written", TEXTS)
def test_a_prompt_is_refused_however_it_is_written(shared: Services, web: TestClient, written: str) -> None:
    watch = Watch(shared)
    reply = web.post("/api/v1/jobs", json={**PLAIN, "prompt": TEXTS[written]})
    assert (reply.status_code, reply.json()["code"]) == (403, "refused"), reply.text
    watch.nothing()


def fields(web: TestClient) -> dict[str, dict[str, Any]]:
    """The same word in every field of a request that ends in a picture, beside a harmless prompt."""
    start = brought(web, images.encode_png(shapes(SIDE)["disc"]))
    half = brought(web, images.encode_png(mask(SIDE, SIDE, (0, 64, SIDE, SIDE))))
    job = web.post("/api/v1/jobs", json={**PLAIN, "prompt": "a cat"}).json()["id"]
    web.post("/api/v1/styles", json={"name": "odd", "prompt": f"{{prompt}}, with a {WORD}"})
    sheet = {"cells": [job], "columns": 1}
    bad = f"a {WORD}"
    return {
        "batch of four": {"prompt": bad, "count": 4},
        "img2img": {"mode": "img2img", "prompt": bad, "init_image": start},
        "img2img that changes little": {"mode": "img2img", "prompt": bad, "init_image": start, "denoise": 0.0},
        "inpaint": {"mode": "inpaint", "prompt": bad, "init_image": start, "inpaint": {"mask": half}},
        "outpaint": {"mode": "inpaint", "prompt": bad, "init_image": start, "outpaint": {"right": 64}},
        "tiled upscale": {"mode": "upscale", "prompt": bad, "init_image": start, "upscale": {"diffusion": True}},
        "plain upscale": {"mode": "upscale", "prompt": bad, "init_image": start},
        "convert": {"mode": "convert", "prompt": bad, "init_image": start},
        "style": {"prompt": "a cat", "styles": ["odd"]},
        "hires prompt": {"prompt": "a cat", "hires": {"scale": 1.5, "prompt": bad}},
        "hires prompt, drawn": {"prompt": "a cat", "hires": {"scale": 1.5, "prompt": "__things__"}},
        "negative of a negative": {"prompt": "a cat", "negative": f"({WORD}:-1)"},
        "hires negative of a negative": {"prompt": "a cat", "hires": {"scale": 1.5, "negative": f"({WORD}:-1)"}},
        "lora tag": {"prompt": f"a cat <lora:{NAME}:1>"},
        "lora field": {"prompt": "a cat", "loras": [{"id": NAME}]},
        "sheet title": {"mode": "grid", "prompt": "a cat", "grid": {**sheet, "title": bad}},
        "sheet label": {"mode": "grid", "prompt": "a cat", "grid": {**sheet, "column_labels": [LONG]}},
        "short sheet label": {"mode": "grid", "prompt": "a cat", "grid": {**sheet, "row_labels": [NAME]}},
        "sheet prompt": {"mode": "grid", "prompt": bad, "grid": sheet},
        "text sent along": {"prompt": "a cat", "client_extras": {"note": f"really {NAME}"}},
        "text sent along, deep": {"prompt": "a cat", "client_extras": {"a": [{"b": {"c": f"really {NAME}"}}]}},
        "film": {"prompt": bad, "film": [1]},
        "from an extension": {"prompt": "write it in"},
        "stricter policy": {"prompt": bad, "policy": "classroom"},
    }


def test_it_is_refused_in_every_field(shared: Services, web: TestClient) -> None:
    everywhere = fields(web)
    watch = Watch(shared)
    codes = {
        field: web.post("/api/v1/jobs", json={**PLAIN, **given}).json().get("code")
        for field, given in everywhere.items()
    }
    assert not {field: code for field, code in codes.items() if code != "refused"}
    watch.nothing(len(everywhere))


def test_a_negative_prompt_that_keeps_it_out_is_let_through(shared: Services, web: TestClient) -> None:
    assert web.post("/api/v1/jobs", json={**PLAIN, "prompt": "a cat", "negative": WORD}).status_code == 202


PLANS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "search and replace": ("xyz", {"prompt": "a cat"}, {"x": {"axis": "Prompt S/R", "values": f"cat, {WORD}"}}),
    "styles": ("xyz", {"prompt": "a cat"}, {"x": {"axis": "Styles", "values": "None, odd"}}),
    "third axis": (
        "xyz",
        {"prompt": "a cat"},
        {"x": {"axis": "CFG", "values": "2,4"}, "z": {"axis": "Prompt S/R", "values": f"cat, {WORD}"}},
    ),
    "matrix": ("matrix", {"prompt": f"a cat|red|{WORD}"}, {}),
    "matrix's first part": ("matrix", {"prompt": f"{WORD}|red"}, {}),
}


@pytest.mark.parametrize("plan", PLANS)
def test_one_refused_picture_refuses_the_plan(shared: Services, web: TestClient, plan: str) -> None:
    web.post("/api/v1/styles", json={"name": "odd", "prompt": f"{{prompt}}, with a {WORD}"})
    kind, given, arguments = PLANS[plan]
    watch = Watch(shared)
    reply = web.post(f"/api/v1/plans/{kind}", json={"fields": {**PLAIN, **given}, "arguments": arguments})
    assert (reply.status_code, reply.json().get("code")) == (403, "refused"), reply.text
    watch.nothing()


def test_a_batch_of_pictures_is_refused_too(shared: Services, web: TestClient) -> None:
    start = brought(web, images.encode_png(shapes(SIDE)["disc"]))
    given = {**PLAIN, "mode": "img2img", "prompt": f"a {WORD}", "init_image": start}
    watch = Watch(shared)
    reply = web.post("/api/v1/plans/batch", json={"fields": given, "arguments": {"pictures": [start]}})
    assert (reply.status_code, reply.json().get("code")) == (403, "refused"), reply.text
    watch.nothing()


def test_presets_and_read_texts_are_only_fields_until_they_are_sent(shared: Services, web: TestClient) -> None:
    text = f"a {WORD}\nNegative prompt: grey\nSteps: 2, Sampler: Euler, CFG scale: 4, Seed: 7, Size: 128x128"
    web.put("/api/v1/presets/odd", json={"fields": {"prompt": f"a {WORD}"}})
    dropped = images.encode_png(shapes(SIDE)["disc"], text)
    found = [
        next(each["fields"] for each in web.get("/api/v1/presets").json() if each["name"] == "odd"),
        web.post("/api/v1/read-text", json={"text": text}).json()["fields"],
        web.post("/api/v1/read", content=dropped, headers={"content-type": "image/png"}).json()["fields"],
    ]
    for given in found:
        watch = Watch(shared)
        reply = web.post("/api/v1/jobs", json=given)
        assert (reply.status_code, reply.json().get("code")) == (403, "refused"), reply.text
        watch.nothing()


def test_the_page_and_the_command_line_are_told_the_same(shared: Services, capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(shared)
    values = [None, f"a {WORD}", "", "Euler", "Automatic", 2, 4.0, SIDE, SIDE, 7, 1]
    answer = bridge.submitted(shared.service, values)
    assert answer["problem"]["code"] == "refused"
    harmless = [None, "a cat", *values[2:]]
    answer = bridge.submitted(shared.service, harmless, json.dumps({"hires": {"scale": 1.5, "prompt": WORD}}))
    assert answer["problem"]["code"] == "refused"
    with patch.object(compose, "open_services", lambda *_, **__: nullcontext(shared)), pytest.raises(Refused):
        terminal.generate(shared.settings, {**PLAIN, "prompt": f"a {WORD}"}, out=None, as_json=True, reveal=True)
    watch.nothing(3)


def test_the_prompt_stays_with_the_user_and_the_log_keeps_no_word_of_it(shared: Services, web: TestClient) -> None:
    reply = web.post("/api/v1/jobs", json={**PLAIN, "prompt": f"a {WORD} by the sea"}).json()
    assert "kept for you to change" in reply["hint"] and WORD in reply["detail"]
    newest = web.get("/api/v1/jobs", params={"limit": 1}).json()["jobs"][0]
    assert newest["state"] == "refused" and newest["request"]["prompt"] == f"a {WORD} by the sea"
    assert bridge.form_sent(shared.service, f"job:{newest['id']}").form["prompt"] == f"a {WORD} by the sea"
    assert web.post(f"/api/v1/jobs/{newest['id']}/resume", json={}).status_code == 409
    entry = entries(shared, "refusal")[-1]
    assert entry["facts"]["job"] == newest["id"] and entry["facts"]["reasons"][0]["category"] == "violence"
    assert WORD not in json.dumps(entry["facts"])


TAUGHT: dict[str, dict[str, Any]] = {
    "caption": {"images": [{"caption": f"a {WORD}"}]},
    "one caption of two": {"images": [{"caption": "a disc"}, {"caption": f"a {WORD}"}]},
    "trigger": {"trigger": f"a {WORD}"},
    "sample": {"sample_prompt": f"a {WORD}", "sample_every": 1},
    "name": {"name": NAME + " II"},
}


@pytest.mark.parametrize("where", TAUGHT)
def test_what_may_not_be_asked_for_may_not_be_taught(shared: Services, web: TestClient, where: str) -> None:
    start = brought(web, images.encode_png(shapes(SIDE)["disc"]))
    plain: dict[str, Any] = {"name": "practice", "model": "starter", "images": [{"caption": "a disc"}], "steps": 1}
    given = {**plain, **TAUGHT[where]}
    given["images"] = [{**each, "image": start} for each in given["images"]]
    watch = Watch(shared)
    reply = web.post("/api/v1/training", json=given)
    assert (reply.status_code, reply.json().get("code")) == (403, "refused"), reply.text
    watch.nothing()
    assert not shared.service.trainings.trainings()


def test_the_prompts_of_an_audit_are_admitted_one_by_one(shared: Services, web: TestClient) -> None:
    suites = shared.settings.data / "suites"
    suites.mkdir(exist_ok=True)
    text = f'name = "odd"\ntitle = "Odd"\nabout = "Odd things."\n[[sets]]\nitems = ["a {WORD}", "an old {WORD}"]\n'
    (suites / "odd.toml").write_text(text, encoding="utf-8")
    watch = Watch(shared)
    ident = shared.service.audits.start({"suite": "odd", "n": 2, "steps": 2}, CALLER)["id"]
    for _ in range(300):
        found = shared.service.audits.one(ident)
        if found["state"] != "running":
            break
        time.sleep(0.1)
    assert found["state"] == "done" and found["done"] == 4
    watch.nothing(2)


# ---- nothing that comes with a request loosens the policy


LOOSER: tuple[dict[str, Any], ...] = (
    {"policy": "personal"},
    {"policy": "closed"},
    {"policy": ["personal"]},
    {"policy": {"name": "personal"}},
    {"override_settings": {"policy": "personal"}},
    {"override_settings": {"CLIP_stop_at_last_layers": 2}},
    {"moderation": "low"},
    {"safety": False},
    {"enable_safety_checker": False},
    {"nsfw": True},
    {"reveal": True},
    {"handling": "show"},
    {"verdict": {"action": "allow"}},
    {"principal": {"roles": ["owner"]}},
    {"words": [{"prompt": "a cat"}]},
    {"flag_from": 0.99},
    {"nsfw_threshold": 1},
)


@pytest.mark.parametrize("given", LOOSER, ids=json.dumps)
def test_there_is_no_field_that_loosens(shared: Services, web: TestClient, given: dict[str, Any]) -> None:
    watch = Watch(shared)
    for prompt in ("a cat", f"a {WORD}"):
        reply = web.post("/api/v1/jobs", json={**PLAIN, "prompt": prompt, **given})
        assert reply.status_code in (400, 422), reply.text
    watch.nothing(0)


@pytest.mark.parametrize(
    "given",
    [{"policy": ""}, {"policy": None}, {"policy": "shared"}, {"consent": True}]
    + [{"client_extras": each} for each in LOOSER[:4]],
    ids=json.dumps,
)
def test_what_is_taken_does_not_loosen_either(shared: Services, web: TestClient, given: dict[str, Any]) -> None:
    watch = Watch(shared)
    reply = web.post("/api/v1/jobs", json={**PLAIN, "prompt": f"a {WORD}", **given})
    assert (reply.status_code, reply.json().get("code")) == (403, "refused"), reply.text
    watch.nothing()


def test_a_request_may_tighten(studio: Services, web: TestClient) -> None:
    studio.service.trust.change_policy({"profile": "personal"}, Principal())
    noted = web.post("/api/v1/jobs", json={**PLAIN, "prompt": f"a {WORD}"})
    assert noted.status_code == 202
    verdict = studio.service.job(noted.json()["id"]).verdict
    assert (verdict.action, verdict.flagged, verdict.previews) == ("note", "blur", "show")
    refused = web.post("/api/v1/jobs", json={**PLAIN, "prompt": f"a {WORD}", "policy": "shared"})
    assert refused.status_code == 403
    tight = web.post("/api/v1/jobs", json={**PLAIN, "prompt": "a cat", "policy": "classroom"})
    verdict = studio.service.job(tight.json()["id"]).verdict
    assert (verdict.flagged, verdict.flag_from, verdict.previews) == ("withhold", 0.3, "none")


@pytest.mark.parametrize("prompt", ["loosen", "loosen in words"])
def test_an_extension_takes_no_stricter_policy_away_and_declares_no_consent(
    studio: Services, web: TestClient, prompt: str
) -> None:
    studio.service.trust.change_policy({"profile": "personal"}, Principal())
    job_id = web.post("/api/v1/jobs", json={**PLAIN, "prompt": prompt, "policy": "classroom"}).json()["id"]
    job = studio.service.job(job_id)
    assert job.request.policy == "classroom" and job.verdict.flagged == "withhold" and not job.request.consent


def test_the_sheet_of_a_plan_keeps_the_stricter_policy(studio: Services, web: TestClient) -> None:
    _, sheets = planned(studio, web)
    assert [studio.service.job(each).verdict.previews for each in sheets] == ["none"]


def test_every_picture_of_a_plan_keeps_the_stricter_policy(studio: Services, web: TestClient) -> None:
    jobs, _ = planned(studio, web)
    assert [studio.service.job(each).verdict.previews for each in jobs] == ["none", "none"]


def planned(studio: Services, web: TestClient) -> tuple[list[str], list[str]]:
    """Two pictures under a stricter policy than the studio's, and their sheet."""
    studio.service.trust.change_policy({"profile": "personal"}, Principal())
    given = {**PLAIN, "prompt": "a cat", "policy": "classroom"}
    arguments = {"x": {"axis": "CFG", "values": "2,4"}}
    ticket = web.post("/api/v1/plans/xyz", json={"fields": given, "arguments": arguments}).json()
    return [each["id"] for each in ticket["jobs"]], [each["id"] for each in ticket["grids"]]


def test_a_job_that_was_admitted_once_is_read_again_when_it_goes_on(studio: Services, web: TestClient) -> None:
    service = studio.service
    service.trust.change_policy({"profile": "personal"}, Principal())
    job_id = web.post("/api/v1/jobs", json={**PLAIN, "prompt": f"a {WORD}"}).json()["id"]
    service._dispatch.settle(job_id, "interrupted")
    service.trust.change_policy({"profile": "shared"}, Principal())
    watch = Watch(studio)
    reply = web.post(f"/api/v1/jobs/{job_id}/resume", json={})
    assert reply.status_code == 403 and service.job(job_id).state == "interrupted"
    watch.nothing()
    assert entries(studio, "refusal")[-1]["facts"]["resumed"] is True


# ---- what stops admission stops it for everybody, and says so


def test_a_log_that_is_full_stops_admission(studio: Services, web: TestClient) -> None:
    studio.service.trust.change_policy({"profile": "personal"}, Principal())
    waiting, asked = studio.service.waiting(), len(link(studio).works)
    log = studio.service.trust._trust.log
    with patch.object(type(log), "append", side_effect=StorageFull(4096, 0)):
        for prompt in ("a cat", f"a portrait of {NAME}"):
            reply = web.post("/api/v1/jobs", json={**PLAIN, "prompt": prompt})
            assert (reply.status_code, reply.json()["code"]) == (507, "storage-full"), reply.text
    assert (studio.service.waiting(), len(link(studio).works)) == (waiting, asked)


def test_without_a_classifier_nothing_is_admitted_and_everybody_is_told_why(tmp_path: Path) -> None:
    def missing() -> Reader:
        raise Unavailable("The prompt filter is not there.", "Restore models/filter.")

    with guarded(tmp_path, link=Still, opening=missing) as services:
        link(services).say(wire.Ready("cpu"))
        web = TestClient(api_app(services.service), base_url=BASE)
        start = brought(web, images.encode_png(shapes(SIDE)["disc"]))
        cat = {**PLAIN, "prompt": "a cat"}
        picture = {"image": start, "caption": "a disc"}
        for path, body in (
            ("/jobs", cat),
            ("/jobs", {**cat, "mode": "convert", "init_image": start}),
            ("/plans/matrix", {"fields": {**cat, "prompt": "a cat|red"}, "arguments": {}}),
            ("/training", {"name": "practice", "model": "starter", "images": [picture], "steps": 1}),
        ):
            reply = web.post(f"/api/v1{path}", json=body)
            assert reply.status_code == 503 and "prompt filter" in reply.json()["detail"], reply.text
        assert not services.service.waiting() and not link(services).works and not link(services).orders
