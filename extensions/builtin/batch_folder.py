"""Many pictures through the same request: img2img or upscale for a whole folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.errors import InvalidParameter
from backend.types.plans import Argument, Draft, Fields, Plan, PlanContext, PlanKind
from backend.version import VERSION
from extensions.builtin import arguments as read
from extensions.context import Context, Extension
from extensions.hookspecs import hookimpl

EXTENSION = Extension(
    "batch-folder", "Batch", VERSION, "Many pictures through the same img2img or upscale request.",
    frozenset({"plans"}),
)  # fmt: skip
_PICTURES = Argument("pictures", "Pictures", "pictures", "Ids of pictures that were brought along.", ())
_OWN_SIZE = Argument("own_size", "Each at its own size", "flag", "Instead of the size in the form.", True)
_OTHER_SEEDS = Argument("other_seeds", "Another seed for each", "flag", "Picture number i takes seed + i.", False)
_FORM = (_PICTURES, _OWN_SIZE, _OTHER_SEEDS)
_MODES = ("img2img", "upscale")


def make(fields: Fields, arguments: Mapping[str, Any], context: PlanContext) -> Plan:
    """Raises InvalidParameter."""
    read.known(arguments, _FORM)
    if fields.get("mode") not in _MODES:
        raise InvalidParameter("mode", "A batch needs a way to change pictures.", "Choose img2img or upscale.")
    pictures = arguments.get("pictures")
    if not isinstance(pictures, list | tuple) or not all(isinstance(one, str) for one in pictures):
        raise InvalidParameter("pictures", "pictures must be a list of ids.", "Send pictures to /api/v1/inputs first.")
    if not pictures:
        raise InvalidParameter("pictures", "There are no pictures.", "Choose some.")
    read.check_number(len(pictures))
    base = dict(read.seeded(fields, context))
    if read.flag(arguments, _OWN_SIZE):
        base = {name: value for name, value in base.items() if name not in ("width", "height")}
    step = 1 if read.flag(arguments, _OTHER_SEEDS) else 0
    seed = base["seed"]
    drafts = tuple(
        Draft(
            {**base, "init_image": ident, "seed": seed + step * number if isinstance(seed, int | float) else seed},
            f"Picture {number + 1}",
        )
        for number, ident in enumerate(pictures)
    )
    return Plan(drafts, (), (len(drafts),))


@hookimpl
def signet_plans(context: Context) -> tuple[PlanKind, ...]:
    about = "Every picture goes through the request in the form; nothing else about it changes."
    return (PlanKind("batch", "Batch from pictures", about, _FORM, make),)
