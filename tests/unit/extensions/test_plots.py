"""The plans of our own extensions: what they make of a request, in which order, with which words beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidParameter, SignetError
from backend.types.plans import NameList, Plan
from extensions.builtin import batch_folder, prompt_matrix, xyz_plot
from extensions.builtin.axes import AXES
from extensions.context import Context

LISTS: Mapping[NameList, tuple[str, ...]] = {
    "checkpoint": ("one", "two"), "vae": ("soft",), "sampler": ("Euler", "Euler a"), "style": ("ink", "oil, thick"),
    "upscaler": ("Lanczos",), "latent upscaler": ("Latent",), "schedule": ("Automatic", "Karras"),
}  # fmt: skip


class Fixed(Context):
    """Draws the same seed each time."""

    def draw_seed(self) -> int:
        return 99


CONTEXT = Fixed(
    "test", frozenset({"plans", "models:read"}), {axis.name: axis for axis in AXES}, lambda kind: LISTS.get(kind, ())
)
FIELDS = {"prompt": "a red cat", "negative": "red eyes", "seed": 5, "steps": 20, "count": 4}


def plot(fields: Mapping[str, Any] = FIELDS, **arguments: Any) -> Plan:
    sides = {letter: {"axis": side[0], "values": side[1]} for letter, side in arguments.items() if letter in "xyz"}
    rest = {name: value for name, value in arguments.items() if name not in "xyz"}
    return xyz_plot.make(fields, {**sides, **rest}, CONTEXT)


def drafted(plan: Plan, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(draft.fields.get(name) for name in names) for draft in plan.drafts]


def refused(make: Any, *given: Any, **more: Any) -> str:
    with pytest.raises(InvalidParameter) as caught:
        make(*given, **more)
    return caught.value.problem.sentence()


# ---- the x/y/z plot


def test_x_runs_across_and_y_down() -> None:
    plan = plot(x=("Steps", "4, 8, 12"), y=("CFG", "3, 7"))
    (sheet,) = plan.sheets
    by_cell = [(plan.drafts[cell].fields["steps"], plan.drafts[cell].fields["cfg"]) for cell in sheet.cells]
    assert by_cell == [(4, 3), (8, 3), (12, 3), (4, 7), (8, 7), (12, 7)]
    assert (sheet.columns, plan.shape) == (3, (3, 2))
    assert (sheet.column_labels, sheet.row_labels) == (("Steps: 4", "Steps: 8", "Steps: 12"), ("CFG: 3", "CFG: 7"))
    assert {draft.fields["count"] for draft in plan.drafts} == {1}


def test_every_z_has_a_sheet_with_its_value_as_title() -> None:
    plan = plot(x=("Steps", "4, 8"), z=("Seed", "1-3"), margin=6)
    assert [sheet.title for sheet in plan.sheets] == ["Seed: 1", "Seed: 2", "Seed: 3"]
    assert [sheet.margin for sheet in plan.sheets] == [6, 6, 6]
    for number, sheet in enumerate(plan.sheets, 1):
        assert [plan.drafts[cell].fields["seed"] for cell in sheet.cells] == [number, number]
        assert sheet.row_labels == ()


def test_a_checkpoint_changes_as_seldom_as_it_can_and_a_vae_next() -> None:
    plan = plot(x=("Checkpoint", "one, two"), y=("Steps", "4, 8"), z=("VAE", "Automatic, soft"))
    made = drafted(plan, "model", "vae", "steps")
    assert made == [
        ("one", "", 4), ("one", "", 8), ("one", "soft", 4), ("one", "soft", 8),
        ("two", "", 4), ("two", "", 8), ("two", "soft", 4), ("two", "soft", 8),
    ]  # fmt: skip
    first = [plan.drafts[cell].fields for cell in plan.sheets[0].cells]
    assert [(one["model"], one["vae"], one["steps"]) for one in first] == [
        ("one", "", 4), ("two", "", 4), ("one", "", 8), ("two", "", 8),
    ]  # fmt: skip


def test_one_seed_is_drawn_for_the_whole_plot_unless_each_shall_have_its_own() -> None:
    unseeded = {**FIELDS, "seed": -1, "variation": {"seed": -1, "strength": 0.2}}
    assert set(drafted(plot(unseeded, x=("Steps", "4, 8")), "seed")) == {(99,)}
    assert plot(unseeded, x=("Steps", "4")).drafts[0].fields["variation"] == {"seed": 99, "strength": 0.2}
    kept = plot(unseeded, x=("Steps", "4, 8"), keep_random=True)
    assert drafted(kept, "seed") == [(-1,), (-1,)]
    assert drafted(plot({"prompt": "a"}, x=("Seed", "1, 2")), "seed") == [(1,), (2,)]


def test_without_a_legend_nothing_is_written_on_the_sheet() -> None:
    (sheet,) = plot(x=("Steps", "4, 8"), y=("Seed", "1"), legend=False).sheets
    assert (sheet.column_labels, sheet.row_labels, sheet.title) == ((), (), "")


def test_search_and_replace_works_on_both_prompts_and_may_stand_on_two_sides() -> None:
    plan = plot(x=("Prompt S/R", "red, green"), y=("Prompt S/R", "cat, dog"))
    assert drafted(plan, "prompt", "negative") == [
        ("a red cat", "red eyes"), ("a green cat", "green eyes"), ("a red dog", "red eyes"),
        ("a green dog", "green eyes"),
    ]  # fmt: skip
    assert plan.sheets[0].column_labels == ("red", "green")


def test_the_order_of_words_is_changed_where_they_stand() -> None:
    plan = plot({"prompt": "tree, house and hill!"}, x=("Prompt order", "hill, tree"))
    assert drafted(plan, "prompt") == [("hill, house and tree!",), ("tree, house and hill!",)]
    assert "within another" in refused(plot, {"prompt": "a treehouse"}, x=("Prompt order", "treehouse, house"))
    assert "does not stand" in refused(plot, {"prompt": "a"}, x=("Prompt order", "tree"))


def test_loras_styles_sizes_and_guides_are_set_where_they_live() -> None:
    fields = {
        "prompt": "x <lora:ink:0.3:0.2> <lyco:b>", "loras": [{"id": "c"}], "styles": ["ink"],
        "control": [{"model": "m", "weight": 1}], "hires": {"scale": 2}, "mode": "txt2img",
    }  # fmt: skip
    (draft,) = plot(fields, x=("LoRA weight", "0.5")).drafts
    assert draft.fields["prompt"] == "x <lora:ink:0.5> <lyco:b:0.5>"
    assert draft.fields["loras"] == [{"id": "c", "text": 0.5, "unet": 0.5}]
    assert drafted(plot(fields, x=("Styles", 'None, "oil, thick"')), "styles") == [(["ink"],), (["ink", "oil, thick"],)]
    assert drafted(plot(fields, x=("Size", "64x128")), "width", "height") == [(64, 128)]
    assert drafted(plot(fields, x=("ControlNet end", "0.5")), "control") == [
        ([{"model": "m", "weight": 1, "end": 0.5}],)
    ]
    assert drafted(plot(fields, x=("Denoising", "0.4")), "hires") == [({"scale": 2, "denoise": 0.4},)]
    assert drafted(plot({"mode": "img2img"}, x=("Denoising", "0.4")), "denoise") == [(0.4,)]
    both = plot({}, x=("Refiner switch at", "0.5"), y=("Refiner model", "None, two"))
    assert drafted(both, "refiner") == [(None,), ({"model": "two", "switch": 0.5},)]
    assert drafted(plot({}, x=("Variation seed", "1"), y=("Variation strength", "0.1")), "variation") == [
        ({"strength": 0.1, "seed": 1},)
    ]
    assert fields["control"] == [{"model": "m", "weight": 1}]  # what was handed in stays as it was


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ControlNet weight", "1"), ("LoRA weight", "1"), ("Hires steps", "5"), ("Upscaler", "Lanczos"),
        ("Refiner switch at", "0.5"), ("Denoising", "0.5"), ("Variation seed", "1"), ("Prompt S/R", "blue, red"),
    ],
)  # fmt: skip
def test_an_axis_that_would_change_nothing_is_refused_by_name(name: str, value: str) -> None:
    said = refused(plot, x=(name, value))
    assert said.startswith(f"{name} (X), ")


def test_too_many_pictures_are_refused_with_their_number() -> None:
    assert "21 × 20 = 420 pictures" in refused(plot, x=("Steps", "1-21"), y=("Seed", "1-20"))
    assert len(plot(x=("Steps", "1-20"), y=("Seed", "1-20")).drafts) == 400


def test_arguments_that_make_no_plot_are_refused() -> None:
    assert "No axis is chosen" in refused(plot)
    assert 'Did you mean "Sampler"' in refused(plot, x=("samplr", "Euler"))
    assert '"Euler a"' in refused(plot, x=("Sampler", "Eulerr"))
    assert "chosen twice" in refused(plot, x=("Seed", "1"), y=("Seed", "2"))
    assert 'Did you mean "legend"' in refused(plot, x=("Seed", "1"), legnd=True)
    assert "cannot be varied" in refused(plot, {"mode": "grid"}, x=("Seed", "1"))
    for wrong in ({"x": 3}, {"x": {"axis": 3}}, {"x": {"axis": "Seed", "values": 3}}, {"x": {"a": "b"}}):
        refused(xyz_plot.make, FIELDS, wrong, CONTEXT)
    for wrong in ({"margin": 101}, {"margin": True}, {"legend": "yes"}, {"keep_random": 1}):
        refused(plot, x=("Seed", "1"), **wrong)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
PARTS = st.sampled_from(["prompt", "negative", "mode", "hires", "control", "loras", "styles", "refiner", "variation"])
SIDE = st.fixed_dictionaries(
    {
        "axis": st.sampled_from([axis.name for axis in AXES]),
        "values": st.sampled_from(["1", "one", "0.5", "true", "64x64"]),
    }
)


@given(st.dictionaries(PARTS, JSON | st.just("img2img")), st.lists(SIDE, min_size=1, max_size=3))
def test_no_request_breaks_a_plot(fields: dict[str, Any], sides: list[dict[str, str]]) -> None:
    with contextlib.suppress(SignetError):
        xyz_plot.make(fields, dict(zip("xyz", sides, strict=False)), CONTEXT)


@given(JSON, st.dictionaries(st.text(max_size=8) | st.sampled_from("xyz"), JSON, max_size=4), st.booleans())
def test_no_arguments_break_a_plan(prompt: Any, arguments: dict[str, Any], changes: bool) -> None:
    fields = {"prompt": prompt, "seed": prompt, "mode": "img2img" if changes else prompt}
    for make in (xyz_plot.make, prompt_matrix.make, batch_folder.make):
        for given_arguments in (arguments, {}, {"pictures": ["a"]}):
            with contextlib.suppress(SignetError):
                make(fields, given_arguments, CONTEXT)


# ---- the prompt matrix


def test_the_first_part_is_always_there_and_the_others_in_all_combinations() -> None:
    plan = prompt_matrix.make({"prompt": "a castle| at night |in snow", "seed": 3}, {}, CONTEXT)
    assert [draft.fields["prompt"] for draft in plan.drafts] == [
        "a castle", "a castle, at night", "a castle, in snow", "a castle, at night, in snow",
    ]  # fmt: skip
    (sheet,) = plan.sheets
    assert (sheet.cells, sheet.columns) == ((0, 1, 2, 3), 2)
    assert (sheet.column_labels, sheet.row_labels) == (("—", "at night"), ("—", "in snow"))
    assert {draft.fields["seed"] for draft in plan.drafts} == {3}


def test_variable_parts_may_stand_first_with_blanks_and_other_seeds_in_the_negative_prompt() -> None:
    arguments = {"at_start": True, "join": "space", "other_seeds": True, "prompt": "negative"}
    plan = prompt_matrix.make({"prompt": "a", "negative": "blurry|dark", "seed": 3}, arguments, CONTEXT)
    assert drafted(plan, "prompt", "negative", "seed") == [("a", "blurry", 3), ("a", "dark blurry", 4)]
    assert plan.sheets[0].row_labels == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a|b", ("a", "b")),
        ("[a|b] c|d", ("[a|b] c", "d")),
        ("{a|b}|(c|d:1.2)", ("{a|b}", "(c|d:1.2)")),
        (r"\[a|b", (r"\[a", "b")),
        ("a]|b", ("a]", "b")),
        ("|a|", ("", "a", "")),
    ],
)
def test_a_bar_inside_brackets_separates_nothing(text: str, parts: tuple[str, ...]) -> None:
    assert prompt_matrix.parts_of(text) == parts


def test_a_matrix_of_nothing_or_of_too_much_is_refused() -> None:
    assert "nothing to combine" in refused(prompt_matrix.make, {"prompt": "a cat"}, {}, CONTEXT)
    assert "512 pictures" in refused(prompt_matrix.make, {"prompt": "|a|b|c|d|e|f|g|h|i"}, {}, CONTEXT)
    assert len(prompt_matrix.make({"prompt": "|a|b|c|d|e|f|g|h"}, {}, CONTEXT).drafts) == 256


# ---- the batch


def test_every_picture_goes_through_the_same_request() -> None:
    fields = {"mode": "upscale", "width": 64, "height": 64, "seed": 3, "upscale": {"scale": 2}}
    plan = batch_folder.make(fields, {"pictures": ["a", "b"]}, CONTEXT)
    assert drafted(plan, "init_image", "seed", "width") == [("a", 3, None), ("b", 3, None)]
    assert plan.sheets == ()
    sized = batch_folder.make(fields, {"pictures": ["a", "b"], "own_size": False, "other_seeds": True}, CONTEXT)
    assert drafted(sized, "init_image", "seed", "width") == [("a", 3, 64), ("b", 4, 64)]


def test_a_batch_needs_pictures_and_a_mode_that_changes_them() -> None:
    assert "Choose img2img or upscale" in refused(batch_folder.make, FIELDS, {"pictures": ["a"]}, CONTEXT)
    for pictures in (None, [], "a", [1], ["a"] * 401):
        refused(batch_folder.make, {"mode": "img2img"}, {"pictures": pictures}, CONTEXT)
