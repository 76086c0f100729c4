"""The hooks: what an extension may add to the studio, and when it is asked.

An extension is a module or an object with an `EXTENSION` (see extensions.context) and any of the functions below, each
marked with `hookimpl`. Arguments that it does not need may be left out (pluggy's rule). A hook that raises is named in
the log and the job goes on without it; after three failures the extension is switched off until the next start.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from backend.types import Job, Principal, Record
from backend.types.plans import Axis, Fields, PlanKind
from extensions.context import Context

PROJECT = "signet"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """Every hook there is."""

    @hookspec
    def signet_plans(self, context: Context) -> Sequence[PlanKind]:
        """Ways to turn one request into many. Asked once, when the extension is registered."""
        raise NotImplementedError

    @hookspec
    def signet_axes(self, context: Context) -> Sequence[Axis]:
        """Things the X/Y/Z plot can vary. Asked once; an axis whose name is taken is left out."""
        raise NotImplementedError

    @hookspec
    def signet_changed_fields(self, fields: Fields, principal: Principal, context: Context) -> Fields | None:
        """A request with changes, or None to leave it. Needs the door "prompt".

        Asked before the request is checked and admitted, so that nothing an extension writes passes unseen; one after
        the other, each with what the one before made of it. To say no, raise a SignetError: it is told to the user and
        is no failure.
        """
        raise NotImplementedError

    @hookspec
    def signet_picture_kept(self, record: Record, context: Context) -> None:
        """A sealed picture has entered the history. Needs the door "events". Told in a thread of its own, in order."""
        raise NotImplementedError

    @hookspec
    def signet_job_ended(self, job: Job, context: Context) -> None:
        """A job is through, whatever became of it. Needs the door "events". Told in a thread of its own, in order."""
        raise NotImplementedError
