from __future__ import annotations

import socket
import threading

import pytest

from backend.netguard import Guard, OutgoingForbidden, is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.9.1", "::1", "::1%lo", "::ffff:127.0.0.1", b"localhost", "", None],
)
def test_this_machine_is_loopback(host: str | bytes | None):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["example.org", "localhost.example.org", "192.0.2.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "::", "2001:db8::1",
     "::ffff:192.0.2.1", "127.1", b"example.org", "2130706433"],
)  # fmt: skip
def test_everything_else_is_not(host: str | bytes):
    assert not is_loopback(host)


def test_the_guard_counts_and_names_what_it_refused():
    guard = Guard()
    with pytest.raises(OutgoingForbidden, match=r"192\.0\.2\.1:443"):
        guard("socket.connect", (None, ("192.0.2.1", 443)))
    with pytest.raises(OutgoingForbidden):
        guard("socket.getaddrinfo", ("example.org", 443, 0, 0, 0))
    assert (guard.refused, guard.last) == (2, "example.org")


def test_loopback_unix_sockets_and_listening_pass():
    guard = Guard()
    guard("socket.connect", (None, ("127.0.0.1", 1)))
    guard("socket.connect", (None, "/run/some.sock"))
    guard("socket.getaddrinfo", ("0.0.0.0", 7860, 0, 0, 0))
    guard("open", ("192.0.2.1",))
    assert guard.refused == 0


def test_in_these_tests_the_network_is_off_and_this_machine_is_not():
    with pytest.raises(OutgoingForbidden):
        socket.create_connection(("192.0.2.1", 443), timeout=1)
    with pytest.raises(OSError, match="offline"):
        socket.getaddrinfo("example.org", 443)
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = threading.Thread(target=lambda: server.accept()[0].close())
        accepted.start()
        socket.create_connection(server.getsockname(), timeout=5).close()
        accepted.join()
