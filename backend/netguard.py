"""The one place that decides about outgoing connections. Nothing in this version makes any; `--offline` makes it sure.

The guard is an audit hook of the interpreter, so it also sees libraries that keep their own reference to
`socket.connect`. It cannot see native code that talks to the kernel by itself: `keep_quiet` switches off what is known
to do so, and a test under strace watches for what is not.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

QUIET: Mapping[str, str] = MappingProxyType(
    {
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime reports to its maker from its first import on, from native code
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "DO_NOT_TRACK": "1",
    }
)
"""Environment variables that keep libraries from calling home. They must be set before the libraries are imported."""

_ADDRESS_SECOND = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_HOST_FIRST = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})


class OutgoingForbidden(PermissionError):
    """An OSError, so that libraries treat it as the missing network it stands for."""


def is_loopback(host: str | bytes | None) -> bool:
    """Whether `host` can only mean this machine. Names other than localhost are never looked up to find out."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or "localhost"
    if name.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@dataclass(slots=True)
class Guard:
    """Counts what it refused; there is one per call of `forbid_outgoing`."""

    refused: int = 0
    last: str = ""

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _ADDRESS_SECOND:
            address = args[1]
            if not isinstance(address, tuple):  # a Unix socket, or a datagram on a connected one
                return
            host, wanted = address[0], f"{address[0]}:{address[1]}"
        elif event in _HOST_FIRST:
            host = args[0]
            wanted = str(host)
        else:
            return
        if host in ("0.0.0.0", "::") and event in _HOST_FIRST:  # noqa: S104 - looked up to listen there
            return
        if not is_loopback(host):
            self.refused += 1
            self.last = wanted
            raise OutgoingForbidden(f"Outgoing connections are switched off (offline): {wanted} was not contacted.")


def keep_quiet() -> None:
    """Set QUIET for this process and its children, and take away what would switch sharing on by itself."""
    os.environ.update(QUIET)
    os.environ.pop("GRADIO_SHARE", None)


def forbid_outgoing() -> Guard:
    """From now on, in this whole process and for good, refuse every connection and look-up beyond this machine."""
    guard = Guard()
    sys.addaudithook(guard)
    return guard
