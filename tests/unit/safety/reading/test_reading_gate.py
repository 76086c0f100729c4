"""The gate reads every field that shapes a picture, says where it found what, and keeps to the policy in force."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from backend.types import (
    ControlUnit,
    GenerationRequest,
    Grid,
    Hires,
    Inpaint,
    LoraUse,
    Principal,
    SourceLook,
    Upscale,
    Words,
)
from safety.admit import Gate, RefusedByPolicy
from safety.policy import CLASSROOM, PERSONAL, SHARED, Policy
from safety.prompt_filter.reading import Reader
from tests.unit.safety.reading.quiet import Told, quiet
from tests.unit.safety.samples import request

OWNER = Principal()
LORA = LoraUse(id="loras/nude_v2.safetensors")
HIRES = Hires(width=128, height=128)


@dataclass(frozen=True)
class Looks:
    people: int = 0
    nsfw: float = 0.0

    def look(self, sha256: str) -> SourceLook:
        return SourceLook(people=self.people, nsfw=self.nsfw)


def asked(prompt: str = "a lighthouse", **changes: object) -> GenerationRequest:
    return request(prompt).model_copy(update={"negative": "", **changes})


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("prompt", {"prompt": "a nude woman"}),
        ("prompt", {"words": (Words(prompt="a nude woman"),)}),
        ("styles", {"styles": ("beach",), "words": (Words(prompt="a lighthouse, nude woman"),)}),
        ("loras", {"words": (Words(prompt="a lighthouse", loras=(LORA,)),)}),
        ("hires.prompt", {"hires": HIRES.model_copy(update={"prompt": "a nude woman"})}),
        ("negative", {"prompt": "a woman", "negative": "clothes"}),
        ("grid.title", {"grid": Grid(cells=("",), columns=1, title="a nude woman")}),
        ("grid.labels", {"grid": Grid(cells=("",), columns=1, row_labels=("a nude woman",))}),
        ("client_extras", {"client_extras": {"ADetailer prompt": "a nude woman"}}),
    ],
)
def test_every_field_is_read_and_named(field: str, changes: dict[str, object]) -> None:
    with pytest.raises(RefusedByPolicy) as caught:
        Gate(SHARED, quiet()).admit(asked(**changes), OWNER)  # type: ignore[arg-type]
    assert [reason.field for reason in caught.value.reasons if reason.category == "sexual"] == [field]
    assert caught.value.problem.field == field.partition(".")[0]


@pytest.mark.parametrize(
    "extras",
    [
        {"Negative prompt 2": "nude, child"},
        {"hash": "9f2c41d7aa03", "seed": 5, "nested": {"on": True, "list": [1, None]}},
        {"note": "made for the harbour festival"},
    ],
)
def test_other_things_that_were_sent_along_are_harmless(extras: dict[str, object]) -> None:
    assert Gate(SHARED, quiet()).admit(asked(client_extras=extras), OWNER).action == "allow"


def test_a_refusal_carries_what_the_log_needs() -> None:
    with pytest.raises(RefusedByPolicy) as caught:
        Gate(SHARED, quiet()).admit(asked("Joe Biden in handcuffs"), OWNER)
    error = caught.value
    assert error.policy is SHARED
    assert [(reason.category, reason.field) for reason in error.reasons] == [
        ("deception", "prompt"),
        ("public-figure", "prompt"),
    ]
    assert error.problem.detail.startswith("This policy does not allow forgeries, fraud and made-up events")
    assert "shared-1" in (error.problem.hint or "")


def test_the_offer_to_describe_a_technique_comes_with_the_refusal() -> None:
    strict = replace(SHARED, actions={**SHARED.actions, "living-artist": "refuse"})
    with pytest.raises(RefusedByPolicy, match="describe the technique: epic fantasy"):
        Gate(strict, quiet()).admit(asked("a castle by Greg Rutkowski"), OWNER)


def test_the_policy_is_asked_for_each_time() -> None:
    owners = [PERSONAL]
    gate = Gate(lambda: owners[0], quiet())
    assert gate.admit(asked("a nude woman"), OWNER).policy == "personal-2"
    owners[0] = SHARED
    with pytest.raises(RefusedByPolicy):
        gate.admit(asked("a nude woman"), OWNER)


def test_a_request_tightens_the_policy_and_never_loosens_it() -> None:
    gate = Gate(PERSONAL, quiet())
    with pytest.raises(RefusedByPolicy):
        gate.admit(asked("a nude woman", policy="shared"), OWNER)
    verdict = gate.admit(asked(policy="classroom"), OWNER)
    assert (verdict.policy, verdict.flagged, verdict.flag_from, verdict.previews) == (
        "personal+classroom-2", "withhold", 0.3, "none",
    )  # fmt: skip
    strict = Gate(CLASSROOM, quiet())
    with pytest.raises(RefusedByPolicy):
        strict.admit(asked("a nude woman", policy="shared"), OWNER)


def test_the_strictest_action_of_all_reasons_counts() -> None:
    policy = replace(SHARED, actions={**SHARED.actions, "sexual": "blur"})
    verdict = Gate(policy, quiet()).admit(asked("a nude woman by Greg Rutkowski"), OWNER)
    assert verdict.action == "blur"
    assert [reason.category for reason in verdict.reasons] == ["sexual", "living-artist"]
    assert verdict.score == max(reason.score for reason in verdict.reasons)
    assert (verdict.flagged, verdict.flag_from, verdict.previews) == ("blur", 0.5, "blur")


def test_a_role_may_be_stricter_than_the_rest() -> None:
    policy = Policy("mine", 1, PERSONAL.actions, roles={"guest": {"sexual": "refuse"}})
    gate = Gate(policy, quiet())
    assert gate.admit(asked("a nude woman"), OWNER).action == "note"
    with pytest.raises(RefusedByPolicy):
        gate.admit(asked("a nude woman"), Principal(roles=frozenset({"guest"})))


def test_words_of_the_first_and_the_second_pass_count_together_for_the_classifier_too() -> None:
    reader = Reader(Told({"sexual": 0.9}, word="velvet"))
    second = HIRES.model_copy(update={"prompt": "velvet"})
    with pytest.raises(RefusedByPolicy) as caught:
        Gate(PERSONAL, reader).admit(asked("children at play", hires=second), OWNER)
    assert caught.value.reasons[0].category == "sexual-minors"


def with_picture(prompt: str = "oil painting", **changes: object) -> GenerationRequest:
    return asked(prompt, mode="img2img", init_image="a" * 64, **changes)


def test_a_picture_of_a_person_is_likeness_and_consent_softens_it() -> None:
    policy = replace(SHARED, actions={**SHARED.actions, "likeness": "refuse"})
    gate = Gate(policy, quiet(), Looks(people=1))
    with pytest.raises(RefusedByPolicy, match="declare their consent") as caught:
        gate.admit(with_picture(), OWNER)
    assert caught.value.problem.field == "init_image"
    assert gate.admit(with_picture(consent=True), OWNER).action == "note"
    assert Gate(policy, quiet(), Looks()).admit(with_picture(), OWNER).action == "allow"


def test_consent_does_not_count_in_a_classroom_or_at_a_kiosk() -> None:
    policy = replace(SHARED, actions={**SHARED.actions, "likeness": "refuse"})
    with pytest.raises(RefusedByPolicy):
        Gate(CLASSROOM, quiet(), Looks(people=1)).admit(with_picture(consent=True), OWNER)
    with pytest.raises(RefusedByPolicy):
        Gate(policy, quiet(), Looks(people=1)).admit(with_picture(consent=True, policy="classroom"), OWNER)
    with pytest.raises(RefusedByPolicy):
        kiosk = Principal(roles=frozenset({"kiosk"}))
        Gate(policy, quiet(), Looks(people=1)).admit(with_picture(consent=True), kiosk)


def test_a_guiding_picture_of_a_person_counts_like_one_to_start_from() -> None:
    unit = ControlUnit(image="c" * 64, model="reference")
    gate = Gate(PERSONAL, quiet(), Looks(people=1))
    assert gate.admit(asked("a portrait", control=(unit,)), OWNER).reasons[0].field == "control"
    with pytest.raises(RefusedByPolicy, match="Undressing real people"):
        gate.admit(asked("in lingerie", control=(unit,)), OWNER)


def test_upscaling_without_painting_says_nothing_about_likeness() -> None:
    plain = with_picture().model_copy(update={"mode": "upscale", "upscale": Upscale()})
    assert Gate(CLASSROOM, quiet(), Looks(people=1)).admit(plain, OWNER).action == "allow"


def test_what_grows_beside_a_face_may_be_a_body() -> None:
    grown = with_picture("bare skin", consent=True).model_copy(update={"mode": "inpaint", "inpaint": Inpaint()})
    with pytest.raises(RefusedByPolicy):
        Gate(PERSONAL, quiet(), Looks(people=1)).admit(grown, OWNER)


def test_a_mask_that_nobody_can_place_lies_on_the_body() -> None:
    masked = with_picture("skin", consent=True).model_copy(
        update={"mode": "inpaint", "inpaint": Inpaint(mask="b" * 64)}
    )
    with pytest.raises(RefusedByPolicy):
        Gate(PERSONAL, quiet(), Looks(people=1)).admit(masked, OWNER)
