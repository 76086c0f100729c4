"""Time stamps (RFC 3161): who may be asked for one.

The request leaves from inside the native C2PA library, where the guard of outgoing connections cannot see it. So it is
decided here, before the library knows of any address: only one that the owner named, never when offline, and only over
https, so that nobody on the way can put in a time of his own. The authority learns a hash and our network address, and
nothing of the picture.

A picture whose time stamp fails is withheld, unless the owner prefers it without one; its Passport then says so.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from backend.errors import InvalidParameter

_FIELD = "timestamp_url"
_MALFORMED = "The address of the time-stamp authority is malformed."
_HINT = "Use https://HOST/PATH."


@dataclass(frozen=True, slots=True)
class Stamping:
    """`optional`: where the authority fails, a picture leaves without a time stamp instead of not at all."""

    url: str
    optional: bool = False


def stamping(url: str, *, offline: bool, optional: bool = False) -> Stamping | None:
    """None if no authority is to be asked. Raises InvalidParameter for an address that is not safe to ask."""
    if not url or offline:
        return None
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidParameter(
            _FIELD, "The address of the time-stamp authority is malformed.", "Use https://"
        ) from error
    if not host or parts.username or parts.password or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidParameter(
            _FIELD, "The address of the time-stamp authority is malformed.", "Use https://HOST/PATH."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        detail = f'A time-stamp authority is asked over https, not "{parts.scheme[:20]}".'
        raise InvalidParameter(_FIELD, detail, "http is taken for an authority on this very machine alone.")
    return Stamping(url, optional)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
