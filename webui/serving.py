"""The verb serve: first the port, then the rooms, then the browser."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser

from backend.errors import InvalidParameter, Problem, SignetError
from backend.netguard import is_loopback
from backend.settings import Settings


def serve(settings: Settings, *, browser: bool) -> int:
    """Listen on the port before anything heavy is imported, then run until somebody stops it."""
    with _listen(settings.host, settings.port) as listener:
        print("Signet is starting ...", file=sys.stderr, flush=True)
        from webui.compose import open_services

        with open_services(settings, principal_source="ui") as services:
            import uvicorn

            from webui.app import create_app

            class Studio(uvicorn.Server):  # type: ignore[misc]
                """Says where it is as soon as it answers."""

                async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                    await super().startup(sockets)
                    if self.started:
                        _announce(settings, browser)

            config = uvicorn.Config(
                create_app(services),
                log_level="warning" if settings.log_level == "info" else settings.log_level,
                access_log=settings.log_level == "debug",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
            Studio(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that nobody can take the port while the studio starts."""
    if not is_loopback(host):
        raise InvalidParameter(
            "host",
            f"{host} can be reached by others, and this version has no accounts to keep them out.",
            "Leave --host away; to use the studio from another machine, forward the port through SSH.",
        )
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        detail = f"Port {port} {why}" + (" (perhaps another Signet)." if taken and port == 7860 else ".")
        hint = f"Choose another one: --port {port + 1 if 1024 <= port < 65535 else 7861}."
        raise SignetError(Problem("port-taken", "The port is taken", detail, 409, "port", hint)) from error
    return listener


def _announce(settings: Settings, browser: bool) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    print(f"Signet is ready: {address}   (stop it with Ctrl+C)", file=sys.stderr, flush=True)
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _has_screen() -> bool:
    """On Linux without a display, webbrowser would open a text browser in this very terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
