"""How long operations end when they are no longer wanted."""

from __future__ import annotations


class Stopped(Exception):
    """Somebody cancelled. An outcome rather than an error: the loop ends the job and goes on."""
