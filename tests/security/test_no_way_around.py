"""No way around the inspection: a picture that must be covered is, whichever road it takes out of the studio.

Every scanner is a stand-in that flags everything. Pictures of every kind are made by the real engine under each
profile; then everything that any address, file or message hands out is decoded and compared with the sealed pixels.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from starlette.testclient import TestClient

from backend import images, wire
from backend.errors import NotAllowed
from backend.trust import Covered
from backend.types import Job, Pixels, Principal, Record
from extensions.context import Extension
from extensions.hookspecs import hookimpl
from safety.desk import DeskConfig
from safety.inspect import harmless
from tests.support import scanners
from tests.support.drawings import shapes
from tests.support.front import BASE
from tests.support.guarded import Tapped, entries, guarded
from tests.support.leaks import leaks, pictures_in, shown
from tests.support.pictures import mask
from tests.support.studio import Studio, sealed
from webui import bridge, compose, terminal
from webui.api.native import CALLER
from webui.app import create_app
from webui.compose import Services

SIDE = 128
PLAIN: dict[str, Any] = {"steps": 2, "sampler": "Euler", "cfg": 4.0, "seed": 7}
POLICIES = {"personal": "blur", "shared": "blur", "classroom": "withhold"}


class Listening:
    """An extension with every door: it changes requests and hears of pictures."""

    EXTENSION = Extension("listening", "Listening", "1", "", frozenset({"plans", "prompt", "events", "models:read"}))

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @hookimpl
    def signet_changed_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {**fields, "prompt": "a red apple"} if fields.get("prompt") == "changed by an extension" else None

    @hookimpl
    def signet_picture_kept(self, record: Record) -> None:
        self.heard.append(record)


@dataclass
class Made:
    """What was made under one profile: records and jobs by kind, plans, and what the engine said meanwhile."""

    policy: str
    handling: str
    records: dict[str, Record] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    tickets: list[str] = field(default_factory=list)

    def pixels(self, studio: Services) -> Iterator[tuple[str, Pixels]]:
        for kind, record in self.records.items():
            yield kind, kept(studio, record)


@pytest.fixture(scope="module")
def extension() -> Listening:
    return Listening()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, extension: Listening) -> Iterator[Services]:
    with guarded(tmp_path_factory.mktemp("data"), plugins=(extension,)) as services:
        yield services


@pytest.fixture(scope="module")
def web(studio: Services) -> Iterator[TestClient]:
    with TestClient(create_app(studio.service), base_url=BASE, raise_server_exceptions=False) as client:
        yield client


def kept(studio: Services, record: Record) -> Pixels:
    return images.decode(sealed_bytes(studio, record), max_pixels=1 << 24).pixels


def sealed_bytes(studio: Services, record: Record) -> bytes:
    return (studio.settings.outputs / record.path).read_bytes()


def posted(web: TestClient, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    reply = web.post(path, json=body)
    assert reply.status_code == 202, reply.text
    found: Mapping[str, Any] = reply.json()
    return found


def brought(web: TestClient, data: bytes) -> str:
    reply = web.post("/api/v1/inputs", content=data, headers={"content-type": "image/png"})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def until(met: Callable[[], bool]) -> None:
    for _ in range(1200):
        if met():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within two minutes")


def kinds(web: TestClient) -> dict[str, dict[str, Any]]:
    start = brought(web, images.encode_png(shapes(SIDE)["disc"]))
    half = brought(web, images.encode_png(mask(SIDE, SIDE, (0, 64, SIDE, SIDE))))
    return {
        "txt2img": {"prompt": "a red apple", "film": [1, 2], "maps": True},
        "hires": {"prompt": "a red apple", "hires": {"scale": 1.5, "denoise": 0.5}},
        "img2img": {"mode": "img2img", "prompt": "a green apple", "init_image": start},
        "inpaint": {"mode": "inpaint", "prompt": "an apple", "init_image": start, "inpaint": {"mask": half}},
        "outpaint": {"mode": "inpaint", "prompt": "a tree", "init_image": start, "outpaint": {"right": 64}},
        "upscale": {"mode": "upscale", "init_image": start, "upscale": {"scale": 2.5}},
        "convert": {"mode": "convert", "init_image": start, "format": "jpeg", "quality": 95},
        "webp": {"prompt": "a red apple", "format": "webp", "quality": 95},
        "extension": {"prompt": "changed by an extension"},
    }


@pytest.fixture(scope="module", params=POLICIES)
def made(request: pytest.FixtureRequest, studio: Services, web: TestClient) -> Made:
    """Pictures of every kind, asked for by every face."""
    made = Made(request.param, POLICIES[request.param])
    link: Any = studio.service._link
    link.said.clear()
    assert web.put("/api/v1/policy", json={"profile": made.policy}).status_code == 200
    jobs = {kind: posted(web, "/api/v1/jobs", {**PLAIN, **fields})["id"] for kind, fields in kinds(web).items()}
    jobs["page"] = bridge.submitted(
        studio.service,
        [None, "a red apple", "", "Euler", "Automatic", 2, 4.0, SIDE, SIDE, 7, 1],
        json.dumps({"model": "starter"}),
    )["job"]
    for name, fields, arguments in (
        ("xyz", {"prompt": "a red heart"}, {"x": {"axis": "CFG", "values": "2,4"}}),
        ("matrix", {"prompt": "a cat|red"}, {}),
    ):
        ticket = posted(web, f"/api/v1/plans/{name}", {"fields": {**PLAIN, **fields}, "arguments": arguments})
        made.tickets.append(ticket["id"])
        jobs |= {f"{name} {number}": each["id"] for number, each in enumerate(ticket["jobs"])}
        jobs |= {f"{name} sheet": each["id"] for each in ticket["grids"]}
    for kind, job_id in jobs.items():
        made.jobs[kind] = studio.service.wait(job_id, 240)
        for record in studio.service.of_job(job_id):
            made.records[kind] = record
    made.said = list(link.said)
    return made


def test_every_picture_is_covered_marked_and_signed(studio: Services, made: Made) -> None:
    for kind, job in made.jobs.items():
        if kind.endswith("sheet") and made.handling == "withhold":
            assert job.state == "failed" and job.problem and "withheld" in job.problem["detail"], kind
            assert kind not in made.records
            continue
        assert job.state == "done", (kind, job.problem)
        record = made.records[kind]
        passport = record.passport
        assert record.handling == passport.handling == made.handling, kind
        assert passport.inspection.state == "flagged" and passport.policy.startswith(made.policy), kind
        assert passport.watermark.p_value <= 1e-6 and passport.credential.state == "valid", kind
        assert (record.thumbnail_path is not None) == (made.handling == "blur"), kind


@pytest.mark.parametrize("kind", ["txt2img", "convert", "webp"])
def test_mark_and_manifest_can_be_read_from_the_file(studio: Services, made: Made, kind: str) -> None:
    report = studio.service.verify(sealed_bytes(studio, made.records[kind]))
    assert report.c2pa.state == "valid" and report.c2pa.ours and report.watermark.found
    assert report.history.record_id == made.records[kind].id


def test_the_engine_says_nothing_clear_while_it_paints(studio: Services, made: Made) -> None:
    glimpses = [
        data
        for said in made.said
        for data in (
            (said.jpeg,)
            if isinstance(said, wire.Preview)
            else (said.jpeg, said.noisy)
            if isinstance(said, wire.Frame)
            else tuple(word.png for word in said.words)
            if isinstance(said, wire.Maps)
            else ()
        )
    ]
    if made.policy == "classroom":
        assert not glimpses
        return
    assert glimpses
    assert not [kind for kind, pixels in made.pixels(studio) for data in glimpses if leaks(data, pixels)]


def addresses(web: TestClient, studio: Services, made: Made) -> Iterator[str]:
    """Every GET address of the API, with every id that it could be given."""
    records = [record.id for record in made.records.values()]
    known: Mapping[str, list[str]] = {
        "record_id": records,
        "job_id": [job.id for job in made.jobs.values()],
        "ident": [record.passport.sha256 for record in made.records.values()],
        "plan_id": made.tickets,
        "audit_id": [str(each["id"]) for each in studio.service.audits.all()],
        "index": ["0"],
        "step": ["1", "2"],
        "number": ["0", "1"],
        "kind": ["checkpoint"],
        "name": ["starter"],
    }
    for path, methods in web.get("/api/v1/openapi.json").json()["paths"].items():
        if "get" not in methods:
            continue
        holes = re.findall(r"\{(\w+)\}", path)
        found = [path]
        for hole in holes:
            found = [
                address.replace("{" + hole + "}", value, 1)
                for address in found
                for value in (known["job_id"] if path.startswith("/api/v1/training/") else known[hole])
            ]
        yield from found


def test_no_address_hands_out_a_clear_picture(studio: Services, web: TestClient, made: Made) -> None:
    before = len(entries(studio, "reveal"))
    pixels = dict(made.pixels(studio))
    asked = 0
    for address in addresses(web, studio, made):
        if address.startswith("/api/v1/review/") and address.endswith("/file"):
            continue  # the owner's own door: see below
        tries = [web.get(address)]
        if "/records/" in address:
            tries += [
                web.get(address, params={"download": 1, "reveal": 0}),
                web.get(address, headers={"range": "bytes=0-"}),
                web.get(address + "/", follow_redirects=True),
            ]
        for reply in tries:
            asked += 1
            assert reply.status_code != 500, address
            for kind, each in pixels.items():
                assert not leaks(reply.content, each), (address, kind)
            if made.handling == "withhold":
                assert not list(pictures_in(reply.content)), address
    assert asked > 100
    assert len(entries(studio, "reveal")) == before


def test_a_thumbnail_of_a_covered_picture_is_colours_alone(studio: Services, web: TestClient, made: Made) -> None:
    for kind, record in made.records.items():
        reply = web.get(f"/api/v1/records/{record.id}/thumbnail")
        if made.handling == "withhold":
            assert reply.status_code == 403, kind
            continue
        (veil,) = pictures_in(reply.content)
        assert reply.headers["cache-control"] == "no-store" and max(veil.shape) <= 128
        pixels = kept(studio, record)
        assert abs(shown(veil, pixels)) < 0.1 < 0.9 < shown(pixels, pixels), kind


def test_asking_in_so_many_words_shows_a_blurred_picture_and_goes_on_record(
    studio: Services, web: TestClient, made: Made
) -> None:
    record = made.records["txt2img"]
    before = entries(studio, "reveal")
    covered = web.get(f"/api/v1/records/{record.id}/file")
    assert (covered.status_code == 403 and "covered" in covered.text) or "withheld" in covered.text
    reply = web.get(f"/api/v1/records/{record.id}/file?reveal=1")
    new = entries(studio, "reveal")[len(before) :]
    if made.handling == "withhold":
        assert reply.status_code == 403 and not new
        return
    assert reply.content == sealed_bytes(studio, record) and reply.headers["cache-control"] == "no-store"
    assert [entry["facts"]["record"] for entry in new] == [record.id]


def test_only_the_owner_sees_a_withheld_picture_and_only_in_the_review(
    studio: Services, web: TestClient, made: Made
) -> None:
    record = made.records["hires"]
    waiting = web.get("/api/v1/review", params={"limit": 200}).json()["records"]
    assert record.id in [each["id"] for each in waiting]
    before = len(entries(studio, "reveal"))
    assert web.get(f"/api/v1/review/{record.id}/file").content == sealed_bytes(studio, record)
    (entry,) = entries(studio, "reveal")[before:]
    assert entry["facts"] == {"record": record.id, "in": "review"}
    for roles in (frozenset({"user"}), frozenset({"guest"}), frozenset({"kiosk"}), frozenset[str]()):
        with pytest.raises(NotAllowed):
            studio.service.trust.reviewed_file(record.id, Principal(id="guest", roles=roles))
    assert len(entries(studio, "reveal")) == before + 1


def test_a_covered_picture_is_taken_up_again_only_when_it_is_revealed_and_stays_covered(
    studio: Services, web: TestClient, made: Made
) -> None:
    record = made.records["txt2img"]
    before = len(entries(studio, "reveal"))
    take = f"/api/v1/inputs/from-record/{record.id}"
    assert web.post(take, json={}).status_code == 403 and len(entries(studio, "reveal")) == before
    taken = web.post(f"{take}?reveal=1", json={})
    if made.handling == "withhold":
        assert taken.status_code == 403 and len(entries(studio, "reveal")) == before
        return
    assert taken.status_code == 201 and len(entries(studio, "reveal")) == before + 1
    start = taken.json()["id"]
    for fields in ({"mode": "convert"}, {"mode": "img2img", "prompt": "a pear", "denoise": 0.1}):
        job = studio.service.wait(posted(web, "/api/v1/jobs", {**PLAIN, **fields, "init_image": start})["id"], 120)
        (child,) = studio.service.of_job(job.id)
        assert child.handling == "blur" and child.passport.admission == "blur", job.problem


def test_a_request_that_is_sent_again_is_covered_again(studio: Services, web: TestClient, made: Made) -> None:
    record = made.records["extension"]
    sent = bridge.form_sent(studio.service, f"record:{record.id}")
    job = studio.service.wait(posted(web, "/api/v1/jobs", sent.request)["id"], 120)
    (again,) = studio.service.of_job(job.id)
    assert again.handling == made.handling and again.passport.seed == record.passport.seed
    assert web.get(f"/api/v1/records/{again.id}/file").status_code == 403


def test_verify_says_words_and_sends_no_picture_back(studio: Services, web: TestClient, made: Made) -> None:
    for kind in ("txt2img", "webp"):
        data = sealed_bytes(studio, made.records[kind])
        reply = web.post("/api/v1/verify", content=data, headers={"content-type": "application/octet-stream"})
        assert reply.status_code == 200 and not list(pictures_in(reply.content))
        reply = web.post("/api/v1/read", content=data, headers={"content-type": "application/octet-stream"})
        assert reply.status_code == 200 and not list(pictures_in(reply.content))


def test_gradios_own_addresses_hand_out_nothing(studio: Services, web: TestClient, made: Made) -> None:
    record = made.records["txt2img"]
    path = (studio.settings.outputs / record.path).resolve()
    pixels = kept(studio, record)
    for address in (
        f"/ui/gradio_api/file={path}",
        f"/ui/file={path}",
        f"/ui/gradio_api/stream/{record.id}/0/0/playlist.m3u8",
        f"/ui/gradio_api/proxy={BASE}/api/v1/records/{record.id}/file",
        f"/ui/gradio_api/file/{path}",
        f"/ui//gradio_api/file={path}",
        f"/signet/..{path}",
        f"/signet/%2e%2e{path}",
        f"/ui/assets/../../..{path}",
        f"/ui/static/..%2f..{path}",
    ):
        reply = web.get(address, follow_redirects=True)
        assert reply.status_code in (400, 403, 404, 405), (address, reply.status_code)
        assert not leaks(reply.content, pixels)
    for call in ("run/predict", "queue/join", "call/predict", "upload"):
        reply = web.post(f"/ui/gradio_api/{call}", json={"data": [str(path)], "fn_index": 0, "session_hash": "x"})
        assert not leaks(reply.content, pixels)


def test_the_command_line_names_no_covered_file_unless_asked(
    studio: Services, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(entries(studio, "reveal"))
    fields = {**PLAIN, "prompt": "a red apple"}
    for reveal in (False, True):
        out = tmp_path / f"out-{reveal}"
        with patch.object(compose, "open_services", lambda *_, **__: nullcontext(studio)):
            terminal.generate(studio.settings, fields, out=out, as_json=True, reveal=reveal)
        (image,) = json.loads(capsys.readouterr().out)["images"]
        given = reveal and made.handling == "blur"
        assert (image["path"] is not None) == given == bool(list(out.iterdir()))
        assert bool(image["covered"]) != given
        assert len(entries(studio, "reveal")) == before + given
        assert str(studio.settings.outputs) not in json.dumps(image) or given


def test_extensions_hear_of_pictures_and_are_handed_no_pixels(
    studio: Services, extension: Listening, made: Made
) -> None:
    heard = {record.id: record for record in extension.heard}
    assert made.records["extension"].id in heard
    assert made.records["extension"].passport.request.prompt == "a red apple"
    for record in heard.values():
        assert not list(pictures_in(record.model_dump_json().encode()))


def test_what_the_owner_decides_opens_and_closes_every_door(studio: Services, web: TestClient, made: Made) -> None:
    record = made.records["img2img"]
    file, small, take = (
        f"/api/v1/records/{record.id}/file",
        f"/api/v1/records/{record.id}/thumbnail",
        f"/api/v1/inputs/from-record/{record.id}",
    )
    decide = f"/api/v1/review/{record.id}"
    assert web.post(decide, json={"decision": "released"}).json()["cover"] == "show"
    assert web.get(file).content == sealed_bytes(studio, record)
    start = web.post(take, json={}).json()["id"]
    assert web.get(f"/api/v1/inputs/{start}/file").status_code == 200
    assert web.post(decide, json={"decision": "withheld"}).json()["cover"] == "withhold"
    pixels = kept(studio, record)
    hint = {"image": start, "preprocessor": "none"}
    for reply in (
        web.get(file),
        web.get(f"{file}?reveal=1"),
        web.get(small),
        web.post(take, json={}),
        web.post(f"{take}?reveal=1", json={}),
        web.get(f"/api/v1/inputs/{start}/file"),
        web.post("/api/v1/control/hint", json=hint),
    ):
        assert reply.status_code == 403, reply.url
        assert not leaks(reply.content, pixels)
    for mode in ("convert", "upscale", "img2img"):
        fields = {**PLAIN, "mode": mode, "prompt": "an apple", "init_image": start}
        job = studio.service.wait(posted(web, "/api/v1/jobs", fields)["id"], 60)
        assert job.state == "failed" and job.problem and "withheld" in job.problem["detail"]
    assert [entry["facts"]["decision"] for entry in entries(studio, "review")][-2:] == ["released", "withheld"]
    with pytest.raises(NotAllowed):
        studio.service.delete(record.id, Principal(id="guest", roles=frozenset({"guest"})))
    assert web.delete(f"/api/v1/records/{record.id}").status_code == 200
    assert {web.get(address).status_code for address in (file, small, f"/api/v1/inputs/{start}/file")} == {404}
    del made.records["img2img"]


def test_nobody_but_the_owner_decides_or_changes_the_policy(studio: Services, made: Made) -> None:
    record, guest = made.records["txt2img"], Principal(id="guest", roles=frozenset({"guest"}))
    with pytest.raises(NotAllowed):
        studio.service.trust.decide(record.id, "released", "", guest)
    with pytest.raises(NotAllowed):
        studio.service.trust.change_policy({"profile": "personal"}, guest)
    for source in ("share", "extension", "mcp"):
        with pytest.raises(NotAllowed):
            studio.service.trust.change_policy({"profile": "personal"}, Principal(source=source))


# ---- roads that are walked once


@pytest.fixture(scope="module")
def personal(studio: Services, web: TestClient) -> Services:
    assert web.put("/api/v1/policy", json={"profile": "personal"}).status_code == 200
    return studio


def test_a_sample_of_a_training_is_covered_like_any_picture(personal: Services, web: TestClient) -> None:
    start = brought(web, images.encode_png(shapes(SIDE)["disc"]))
    asked = {
        "name": "practice", "model": "starter", "images": [{"image": start, "caption": "a disc"}], "steps": 1,
        "rank": 1, "resolution": 64, "batch": 1, "save_every": 1, "sample_every": 1, "learning_rate": 1e-4,
    }  # fmt: skip
    ident = posted(web, "/api/v1/training", asked)["id"]
    service = personal.service
    until(lambda: bool(service.trainings.training(ident).samples))
    (sample,) = service.trainings.training(ident).samples
    job = service.wait(sample.job_id, 120)
    (record,) = service.of_job(job.id)
    assert record.handling == "blur" and web.get(f"/api/v1/records/{record.id}/file").status_code == 403


def test_an_audit_measures_no_covered_picture_and_its_report_shows_none(personal: Services, web: TestClient) -> None:
    suites = personal.settings.data / "suites"
    suites.mkdir(exist_ok=True)
    (suites / "two.toml").write_text(
        'name = "two"\ntitle = "Two"\nabout = "Two things."\n[[sets]]\nitems = ["a red apple", "a green apple"]\n',
        encoding="utf-8",
    )
    audits = personal.service.audits
    ident = str(audits.start({"suite": "two", "n": 1, "steps": 2}, CALLER)["id"])
    audits._running.thread.join(240) if audits._running else None  # type: ignore[attr-defined]
    state = web.get(f"/api/v1/audits/{ident}")
    report = web.get(f"/api/v1/audits/{ident}/report")
    made = [
        record
        for job in personal.service.jobs(CALLER, 10)
        for record in personal.service.of_job(job.id)
        if job.request.prompt in ("a red apple", "a green apple")
    ]
    assert made and "covered by the policy" in report.text
    for record in made:
        for reply in (state, report):
            assert not leaks(reply.content, kept(personal, record))


def test_an_interrupted_job_is_read_again_under_the_policy_now_in_force(personal: Services, web: TestClient) -> None:
    """Replay: the film of the first run does not stay either."""
    service = personal.service
    service.pause(True)
    job_id = posted(web, "/api/v1/jobs", {**PLAIN, "prompt": "a red apple", "film": [1]})["id"]
    service._dispatch.settle(job_id, "interrupted")
    assert web.put("/api/v1/policy", json={"profile": "classroom"}).status_code == 200
    service.pause(False)
    assert web.post(f"/api/v1/jobs/{job_id}/resume", json={}).status_code == 202
    job = service.wait(job_id, 120)
    (record,) = service.of_job(job.id)
    assert record.handling == "withhold" and record.passport.policy.startswith("classroom")
    assert not service.frames(job_id)


def test_a_scanner_that_fails_lets_nothing_leave(tmp_path: Path) -> None:
    with guarded(tmp_path, scanners=scanners.failing) as services:
        job = services.service.wait(services.service.submit({**PLAIN, "prompt": "a cat"}, CALLER).id, 120)
        assert job.state == "failed" and job.problem and job.problem["code"] == "not-inspected"
        assert not services.service.of_job(job.id) and not list(services.settings.outputs.rglob("*.png"))
        link: Any = services.service._link
        assert isinstance(link, Tapped) and not [said for said in link.said if isinstance(said, wire.Sealed)]


# ---- a glance that found nothing, and an inspection that did


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path)
    made.ready()
    yield made
    made.close()


def delivered(desk: Studio, job: Job, index: int, handling: str) -> None:
    picture = sealed(job, index)
    passport = picture.passport.model_copy(update={"handling": handling})
    desk.link.say(wire.Sealed(job.id, replace(picture, passport=passport)))


@pytest.mark.parametrize("handling", ["blur", "withhold"])
def test_the_film_of_a_picture_that_turns_out_covered_is_closed(desk: Studio, handling: str) -> None:
    job = desk.submit(film=[1], count=2)
    for index in (0, 1):
        desk.link.say(wire.Frame(job.id, index, 1, b"estimate", b"noise", 14.6))
        desk.link.say(wire.Maps(job.id, index, 1, (wire.WordMap("cat", 1.0, b"png"),)))
    desk.link.say(wire.Preview(job.id, b"preview"))
    delivered(desk, job, 0, handling)
    assert desk.service.preview(job.id) is None
    assert set(desk.service.frames(job.id)) == set(desk.service.maps(job.id)) == {(1, 1)}
    delivered(desk, job, 1, "show")
    desk.end(job)
    assert set(desk.service.frames(job.id)) == {(1, 1)}
    covered, clear = desk.service.of_job(job.id)
    with pytest.raises(Covered):
        desk.service.file(covered.id, CALLER)
    assert desk.service.file(clear.id, CALLER).is_file()


def test_a_glance_counts_doubt_and_failure_as_harm() -> None:
    grey = shapes(64)["disc"]
    config = DeskConfig(Path("nowhere"))
    assert harmless(grey, scanners.nothing(config))
    for opened in (scanners.everything, scanners.failing, scanners.none):
        assert not harmless(grey, opened(config))


# ---- the keys (T-SIGN)


def secrets_of(keys: Path) -> list[bytes]:
    """Every secret of the key files, in the forms in which it could be seen."""
    found: list[bytes] = []
    for path in keys.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        pem = str(content["key_pem"])
        lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
        mark = str(content["watermark_key"])
        raw = bytes.fromhex(mark)
        whole = base64.b64decode("".join(lines))
        number = load_pem_private_key(pem.encode(), None).private_numbers().private_value  # type: ignore[union-attr]
        private = number.to_bytes(32, "big")
        found += [line.encode() for line in lines] + [mark.encode(), mark.upper().encode(), raw, whole, private]
        found += [base64.b64encode(raw), base64.b64encode(private), private.hex().encode()]
        assert min(map(len, found)) >= 8
    return found


def test_the_keys_are_their_owners_alone_and_never_leave(studio: Services, web: TestClient, made: Made) -> None:
    """No reply, no log, no stored file and no manifest holds a piece of them."""
    keys = studio.settings.keys
    secrets = secrets_of(keys)
    assert len(secrets) > 8
    if os.name == "posix":
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in keys.rglob("*.json")} == {0o600}
    replies = [(address, web.get(address).content) for address in addresses(web, studio, made)]
    replies += [(address, web.get(address).content) for address in ("/ui/", "/ui/config", "/", "/signet/app.js")]
    replies += [(kind, sealed_bytes(studio, record)) for kind, record in made.records.items()]
    replies += [
        (path.name, path.read_bytes())
        for path in studio.settings.data.rglob("*")
        if path.is_file() and not path.is_relative_to(keys)
    ]
    assert len(replies) > 200
    assert not [where for where, data in replies for secret in secrets if secret in data]
