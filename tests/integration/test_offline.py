"""Nothing calls home: what the guard refuses, that a start tries nothing, and what the kernel saw of a start."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.netguard import QUIET, OutgoingForbidden, is_loopback

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0
"""Seconds for a start with the engine, on a busy machine and under strace."""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        (b"localhost", True),
        (None, True),
        ("0.0.0.0", False),
        ("192.168.1.1", False),
        ("::ffff:192.0.2.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_only_this_machine_counts_as_loopback(host: str | bytes | None, expected: bool) -> None:
    assert is_loopback(host) is expected


def _datagram(act: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        act(sender)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.create_connection(("example.org", 80), timeout=1),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: socket.gethostbyname("example.org"),
        lambda: urllib.request.urlopen("http://example.org", timeout=1),
        lambda: asyncio.run(asyncio.wait_for(asyncio.open_connection("192.0.2.1", 80), 1)),
        lambda: _datagram(lambda sender: sender.sendto(b"x", ("192.0.2.1", 53))),
        lambda: _datagram(lambda sender: sender.sendmsg([b"x"], [], 0, ("192.0.2.1", 53))),
        lambda: _datagram(lambda sender: sender.connect_ex(("192.0.2.1", 53))),
    ],
    ids=["connect", "connect-name", "look-up", "old-look-up", "urllib", "asyncio", "sendto", "sendmsg", "connect_ex"],
)
def test_the_guard_refuses_every_way_out(attempt: Callable[[], object]) -> None:
    """tests/conftest.py has put the guard up for all tests; here it is seen at work."""
    with pytest.raises(OSError) as refused:
        attempt()
    reason = getattr(refused.value, "reason", refused.value)  # urllib wraps it
    assert isinstance(reason, OutgoingForbidden)
    assert "was not contacted" in str(reason)


def test_the_guard_lets_this_machine_speak_to_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _ask(port: int, path: str, body: dict[str, object] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _use_until_ready(port: int, process: subprocess.Popen[str]) -> None:
    """Look at the page and wait for the engine, as a visitor would."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            _, body = _ask(port, "/api/v1/health")
        except OSError:
            time.sleep(0.3)
            continue
        if json.loads(body)["engine"] in ("ready", "failed"):
            assert _ask(port, "/ui/")[0] == 200
            assert json.loads(body)["engine"] == "ready"
            return
        time.sleep(0.3)
    pytest.fail(f"the studio did not get ready within {PATIENCE:g} s")


def _make_a_picture(port: int) -> None:
    status, body = _ask(port, "/api/v1/jobs", {"prompt": "a red apple", "steps": 2})
    assert status == 202, body
    job = json.loads(body)
    deadline = time.monotonic() + PATIENCE
    while job["state"] in ("queued", "running", "sealing") and time.monotonic() < deadline:
        time.sleep(0.3)
        job = json.loads(_ask(port, f"/api/v1/jobs/{job['id']}")[1])
    assert job["state"] == "done", job


def _start(command: list[str]) -> subprocess.Popen[str]:
    """Without the variables that conftest set, so that it is the program itself that keeps quiet."""
    environment = {name: value for name, value in os.environ.items() if name not in QUIET}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _stop(process: subprocess.Popen[str]) -> str:
    """A polite kill of the whole group, a rude one if that takes too long; what it printed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


_COUNTING = """
import sys
from backend.netguard import forbid_outgoing
guard = forbid_outgoing()
from webui.cli import main
try:
    main(sys.argv[1:])
finally:
    print("REFUSED", guard.refused, guard.last)
"""


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_the_studio_does_not_even_try_to_call_anybody_when_it_starts(data: Path) -> None:
    """Without --offline: the guard only counts what would have gone out."""
    port = _free_port()
    words = ["serve", "--no-browser", "--port", str(port), "--data", str(data)]
    process = _start([sys.executable, "-c", _COUNTING, *words])
    try:
        _use_until_ready(port, process)
    finally:
        said = _stop(process)
    assert "REFUSED 0" in said


_ADDRESS = re.compile(r"sa_family=AF_INET6?,.*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")")


def _why_no_strace() -> str | None:
    if sys.platform != "linux" or not shutil.which("strace"):
        return "no strace on this machine"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True)
    return f"strace may not look here: {tried.stderr.strip()[:100]}" if tried.returncode else None


def test_the_kernel_saw_no_packet_leave_from_the_start_to_a_sealed_picture(data: Path, tmp_path: Path) -> None:
    """All threads and processes, native code included: every address spoken to is this machine.

    It once caught onnxruntime asking for the address of its maker's telemetry, which no guard in Python can see.
    """
    if why := _why_no_strace():
        pytest.fail(why) if os.environ.get("SIGNET_REQUIRE_BROWSER") else pytest.skip(why)
    trace, port = tmp_path / "trace", _free_port()
    watch = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)]
    words = ["serve", "--offline", "--no-browser", "--port", str(port), "--data", str(data)]
    process = _start([*watch, sys.executable, "-m", "webui.cli", *words])
    try:
        _use_until_ready(port, process)
        _make_a_picture(port)
    finally:
        _stop(process)
    seen = [next(filter(None, found)) for found in _ADDRESS.findall(trace.read_text(errors="replace"))]
    assert not [address for address in seen if not is_loopback(address)]


def test_the_reading_of_the_trace_would_notice_a_stranger() -> None:
    lines = (
        'connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.7")}, 16) = 0\n'
        "connect(3, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0\n'
    )
    assert [next(filter(None, found)) for found in _ADDRESS.findall(lines)] == ["192.0.2.7", "2001:db8::1"]
