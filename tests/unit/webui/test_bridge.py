"""Component values to request fields and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backend.errors import Refused, SignetError
from backend.samplers import SAMPLERS
from backend.settings import Settings
from tests.support.library import FewModels
from tests.unit.webui.fakes import MODEL, TALL, FakeDesk
from webui import bridge, parts
from webui.tabs.create import models_now
from webui.tabs.settings import settings_table, shown_value

VALUES = ["starter", "a red apple", "", "Euler", "Automatic", 20.0, 4.5, 256, 256, -1.0, 1]


@pytest.fixture
def desk(tmp_path: Path) -> FakeDesk:
    return FakeDesk(tmp_path, Settings(data=tmp_path))


def test_whole_numbers_of_sliders_become_integers_and_gaps_are_left_out() -> None:
    fields = bridge.fields_of([*VALUES[:5], 20.0, 4.0, None, 256, 7.0, None])
    assert fields["steps"] == 20 and isinstance(fields["steps"], int)
    assert fields["cfg"] == 4.0 and isinstance(fields["cfg"], float)
    assert fields["seed"] == 7 and "width" not in fields and "count" not in fields


def test_a_form_that_was_submitted_names_its_job(desk: FakeDesk) -> None:
    answer = bridge.submitted(desk, VALUES)
    assert answer == {"job": "j0001", "offers": [], "random": True, "width": 256, "height": 256}
    assert desk.asked[0][1].source == "ui"
    assert bridge.submitted(desk, [*VALUES[:9], 7, 1])["random"] is False


def test_a_form_that_was_refused_brings_the_problem(desk: FakeDesk) -> None:
    desk.broken = Refused("Not that.")
    assert bridge.submitted(desk, VALUES)["problem"]["detail"] == "Not that."
    desk.broken = ZeroDivisionError("secret")
    problem = bridge.submitted(desk, VALUES)["problem"]
    assert problem["code"] == "broken" and "secret" not in json.dumps(problem)


def test_a_picture_sent_to_the_form_repeats_itself(desk: FakeDesk) -> None:
    record = desk.keep(desk.request("x", seed=7, count=3, cfg=3.5, sampler="DDIM"), index=2)
    sent = bridge.form_sent(desk, f"record:{record.id}")
    form = sent.form
    assert form["seed"] == 9 and form["count"] == 1 and form["cfg"] == 3.5 and form["sampler"] == "DDIM"
    assert tuple(form) == bridge.FIELDS and not sent.partial
    assert sent.request["seed"] == 9 and sent.request["mode"] == "txt2img" and sent.request["denoise"] == 0.75
    assert json.loads(json.dumps(sent.request)) and "words" not in sent.request


def test_what_the_script_adds_wins_and_null_takes_away(desk: FakeDesk) -> None:
    bridge.submitted(desk, VALUES, json.dumps({"mode": "txt2img", "width": None, "clip_skip": 2, "steps": 5}))
    fields = desk.asked[0][0]
    assert fields["clip_skip"] == 2 and fields["steps"] == 5 and "width" not in fields


@pytest.mark.parametrize("extra", ["[1]", "nonsense", '"text"', '{"no_such_field": 1}', '{"seed": {}}'])
def test_what_the_script_adds_is_checked_like_everything_else(desk: FakeDesk, extra: str) -> None:
    assert bridge.submitted(desk, VALUES, extra)["problem"]["code"] == "invalid-parameter"


def test_a_pasted_text_fills_only_what_it_names_and_what_is_possible(desk: FakeDesk) -> None:
    fields = {
        "prompt": "x",
        "steps": 11,
        "cfg": "high",
        "sampler": "Euler a",
        "model": "gone",
        "clip_skip": 2,
        "seed": True,
    }
    sent = bridge.form_sent(desk, "fields:" + json.dumps(fields))
    assert sent.form == {"prompt": "x", "steps": 11, "sampler": "Euler a", "schedule": "Automatic"}
    assert sent.partial and sent.request["clip_skip"] == 2
    assert "model" in bridge.form_sent(desk, 'fields:{"model": "starter"}').form


def test_a_job_sent_to_the_form_may_go_on_drawing_seeds(desk: FakeDesk) -> None:
    bridge.submitted(desk, VALUES)
    assert bridge.form_sent(desk, "job:j0001:random").form["seed"] == -1
    assert bridge.form_sent(desk, "job:j0001").form["seed"] == desk.job("j0001").request.seed


@pytest.mark.parametrize("text", ["", "record", "record:", "job:nope", "x:y", "record:\x00", "fields:[]", "fields:{"])
def test_what_cannot_be_sent_is_not_found(desk: FakeDesk, text: str) -> None:
    with pytest.raises(SignetError):
        bridge.form_sent(desk, text)


def test_recycle_takes_the_seed_of_the_newest_picture(desk: FakeDesk) -> None:
    assert bridge.newest_seed(desk) == -1
    bridge.submitted(desk, [*VALUES[:9], 41, 2])
    assert bridge.newest_seed(desk) == 42
    desk.instant = False
    bridge.submitted(desk, [*VALUES[:9], 99, 1])
    assert bridge.newest_seed(desk) == 42


def test_the_list_of_models_is_as_new_as_the_page(desk: FakeDesk) -> None:
    start = bridge.first_model(desk)
    later = replace(MODEL, id="later", title="Later")
    desk.known = FewModels(MODEL, later)
    model, *led = models_now(desk, start)
    asked = model.constructor_args
    assert [ident for _, ident in asked["choices"]] == ["starter", "later"] and "value" not in asked
    assert all("value" not in update for update in led)
    desk.known = FewModels(replace(TALL, id="other"))
    model, steps, _, width, _ = models_now(desk, start)
    assert model.constructor_args["value"] == "other" and steps == 30 and width.value == 512
    desk.known = FewModels()
    assert models_now(desk, start)[0].choices == []


def test_a_model_that_is_gone_or_new_is_for_the_front_desk_to_judge(desk: FakeDesk) -> None:
    dropdown = parts.model_choice(desk.models(), "starter")
    assert dropdown.preprocess("gone") == "gone"
    assert bridge.submitted(desk, ["gone", *VALUES[1:]])["problem"]["field"] == "model"


def test_schedules_follow_the_sampler() -> None:
    assert bridge.schedules_of("Euler") == tuple(SAMPLERS["Euler"].schedules)
    assert bridge.schedules_of("nope") == ("Automatic",)


def test_a_model_brings_its_size() -> None:
    assert bridge.defaults_of(MODEL) == {"width": 256, "height": 256, "steps": 20, "cfg": 4.0}


def test_a_word_for_the_script_cannot_be_markup() -> None:
    word = parts.word("ticket", {"text": "<img src=x onerror=alert(1)> \ud800 *_`"})
    kind, digits = word.split("-")
    assert kind == "ticket" and set(digits) <= set("0123456789abcdef")
    assert json.loads(bytes.fromhex(digits))["text"].startswith("<img")


def test_the_settings_page_shows_everything_and_no_secret(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url="postgresql://u:hunter2@host/db", allowed_hosts=("<b>x</b>",))
    table = settings_table(settings)
    assert all(f"<code>{name}</code>" in table for name in Settings.model_fields)
    assert "hunter2" not in table and "<b>x" not in table and "&lt;b&gt;x" in table
    assert shown_value("api_key", "k") == "set, not shown" and shown_value("offline", False) == "no"
