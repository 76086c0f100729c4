"""How soon the studio answers, against a process that merely imports torch, diffusers and gradio.

Gate: the answer is a health report of the studio. (That torch is never imported there is held by a test.)
Run with: python3 launch.py bench start
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from backend.settings import ROOT
from benchmarks._pairs import compare


def main() -> None:
    print(compare(_studio, _imports, rounds=3).line("first HTTP answer / import torch+diffusers+gradio"))


def _imports() -> None:
    subprocess.run([sys.executable, "-c", "import torch, diffusers, gradio"], check=True, cwd=ROOT)


def _studio() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "webui.cli", "serve", "--no-browser", "--port", str(port), "--data", folder]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL)
        try:
            answer = _first_answer(f"http://127.0.0.1:{port}/api/v1/health")
            if answer["engine"] not in ("starting", "ready"):
                raise SystemExit(f"gate: the studio says {answer}")
        finally:
            process.terminate()
            process.wait(30)


def _first_answer(url: str, patience: float = 60.0) -> dict[str, object]:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                found: dict[str, object] = json.load(reply)
                return found
        except OSError:
            time.sleep(0.05)
    raise SystemExit("gate: the studio does not answer")


if __name__ == "__main__":
    main()
