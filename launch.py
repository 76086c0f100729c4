"""Set up Signet in .venv at the first start, then hand over to its command line.

    python3 launch.py                    the studio in the browser
    python3 launch.py test               the tests
    python3 launch.py generate PROMPT    a picture without a server
    python3 launch.py verify FILE        what can be said about any picture
    python3 launch.py VERB --help        more about a verb: serve generate verify models doctor audit keys
                                         bench judge test

Needs nothing but Python 3.11. Each step leaves a stamp in .venv with the hash of what it installed: a second start
installs nothing, an interrupted one goes on where it stopped. Every message goes to stderr; stdout is the studio's.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - this file parses down to 3.6 so that it can say this.
    _newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    sys.exit(
        f"Signet needs Python 3.11 or newer, and this is {sys.version_info[0]}.{sys.version_info[1]}. "
        + (f"Try: {_newer[0]} launch.py" if _newer else "Get one from python.org or your package manager.")
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOG = VENV / "install.log"
LOCK = ROOT / "requirements/lock.txt"
TEST = ROOT / "requirements/test.txt"
TORCH = "2.13.0"
SPACE_GB = {"torch": 3.0, "torch-cuda": 8.0, "packages": 2.0, "test": 0.5}
NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Read timed out|Connection(Reset|Refused)?Error"
    r"|Network is unreachable|name resolution|Max retries|connection broken|ProxyError|SSLError|IncompleteRead"
)
NOT_OFFERED = re.compile(r"No matching distribution found|Could not find a version")
QUIET = {
    **dict.fromkeys(("ORT_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"), "1"),
    **{"GRADIO_ANALYTICS_ENABLED": "False", "TRANSFORMERS_VERBOSITY": "error"},
    **{"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"},  # waiting threads that spin starve everybody else
}
GO_ON = "What is already there is kept."


class Trouble(Exception):
    """One clear sentence for the user; ends the program with status 1."""


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def machine() -> str:
    """Which torch this machine wants: cuda, mac or cpu."""
    if sys.platform == "darwin":
        return "mac"
    return "cuda" if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists() else "cpu"


class Progress:
    """pip's many lines as one (on a terminal) or a few (in a log): the packages by name."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.count = self.column = 0

    def take(self, line: str) -> None:
        found = re.match(r"\s*(?:Collecting|Processing|Requirement already satisfied:) (\S+)", line)
        unpacking = re.match(r"Installing collected packages: (.*)", line)
        if found:
            self.count += 1
            name = re.split(r"[=<>!~;\[]|-\d", Path(found.group(1)).name)[0]
            self.show(name, f"  {self.count} {name}")
        elif unpacking:
            text = f"unpacking {len(unpacking.group(1).split(','))} packages ..."
            self.show(text, f"  {text}")

    def show(self, word: str, line: str) -> None:
        if self.live:
            say("\r\033[K" + line, end="")
        else:
            wrap = self.column + len(word) > 110
            say(("\n  " if wrap else "  " if not self.column else "") + word, end=" ")
            self.column = len(word) + 3 + (0 if wrap else self.column)

    def close(self) -> None:
        say("\r\033[K" if self.live else "\n" if self.column else "", end="")


def pip(*arguments: str) -> "tuple[int, str]":
    """Run pip in .venv; its status and everything it said, which is also appended to the log."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    progress, said = Progress(), []
    with LOG.open("a", encoding="utf-8", errors="replace") as log:
        log.write("$ pip " + " ".join(arguments) + "\n")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            for line in process.stdout or ():
                log.write(line)
                said.append(line)
                progress.take(line)
    progress.close()
    return process.returncode, "".join(said)


def need_space(gigabytes: float) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < gigabytes:
        raise Trouble(
            f"The disk is too full: this step of the set-up needs about {gigabytes:g} GB and {free:.1f} GB are free "
            f"in {ROOT}. Free some space and run the same command again. {GO_ON}"
        )


def explain(said: str, offline: bool) -> str:
    """Why pip failed, as one sentence."""
    if offline or (os.environ.get("PIP_NO_INDEX") and NOT_OFFERED.search(said)):
        return (
            f"Some packages are not installed yet and {'--offline' if offline else 'PIP_NO_INDEX'} forbids fetching "
            "them. Start once with a network, or let PIP_FIND_LINKS name a folder of wheels."
        )
    if "No space left on device" in said:
        return f"The disk became full during the set-up. Free some space and run the same command again. {GO_ON}"
    if NETWORK.search(said):
        return f"The network does not answer. Run the same command again when it is back. {GO_ON}"
    errors = [line[6:].strip() for line in said.splitlines() if line.startswith("ERROR:")] or ["no reason given"]
    return f"pip could not install a package: {errors[0][:300]} (The whole story: {LOG})"


def stamp(name: str, identity: str) -> "tuple[Path, str]":
    """The file that says a step is done, and what it must hold for that."""
    return VENV / f"signet-{name}.stamp", hashlib.sha256(identity.encode()).hexdigest()


def is_done(name: str, identity: str) -> bool:
    file, held = stamp(name, identity)
    return file.is_file() and file.read_text() == held


def mark_done(name: str, identity: str) -> None:
    file, held = stamp(name, identity)
    file.write_text(held)


def wait_for_other_setups() -> None:
    """Two pips in one .venv would spoil it. The lock lasts until this process ends or becomes another."""
    with contextlib.suppress(ImportError):  # Windows has no fcntl
        import fcntl

        folder = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is setting up .venv; waiting for it ...")
            fcntl.flock(folder, fcntl.LOCK_EX)


def has_python() -> bool:
    """Whether .venv has the Python it was made with."""
    written = (VENV / "pyvenv.cfg").read_text() if PYTHON.exists() else ""
    return f"executable = {os.path.realpath(PYTHON)}\n" in written or (os.name == "nt" and bool(written))


def make_venv() -> None:
    """A .venv with a working pip; one that was left half-made, or whose Python has gone, is made again."""
    if has_python() and (is_done("venv", "venv") or pip("--version")[0] == 0):
        mark_done("venv", "venv")
        return
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise Trouble(
            "This Python cannot make virtual environments: its venv module is missing. "
            "On Debian or Ubuntu: sudo apt install python3-venv. Then run the same command again."
        )
    need_space(SPACE_GB["torch"])
    say("Making .venv ...")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if made.returncode:
        reason = (made.stdout + made.stderr).strip().splitlines() or ["no reason given"]
        raise Trouble(f"The folder {VENV} could not be made: {reason[-1]}")
    mark_done("venv", "venv")


def install_torch(kind: str, offline: bool) -> None:
    if is_done("torch", f"{TORCH} {kind}"):
        return
    status, source = 1, os.environ.get("SIGNET_TORCH_INDEX")
    if kind == "cpu":
        say(f"Installing torch {TORCH} for the CPU ...")
        need_space(SPACE_GB["torch"])
        more = ["--extra-index-url", source] if source else []
        status, said = install([f"torch=={TORCH}+cpu", "--constraint", str(LOCK), *more], offline)
        if status and (not NOT_OFFERED.search(said) or NETWORK.search(said) or offline):
            raise Trouble(explain(said, offline))
        if status and sys.platform == "linux":
            say(
                "Your package sources offer no CPU-only build of torch, so the general one is taken. It works, but "
                "brings CUDA libraries of several gigabytes along that nothing here uses. (To avoid them, let "
                "SIGNET_TORCH_INDEX name an index with CPU builds.)"
            )
    if status:
        say(f"Installing torch {TORCH} ...")
        need_space(SPACE_GB["torch" if kind == "mac" else "torch-cuda"])
        status, said = install([f"torch=={TORCH}", "--constraint", str(LOCK)], offline)
        if status:
            raise Trouble(explain(said, offline))
    mark_done("torch", f"{TORCH} {kind}")


def install_locked(name: str, listing: Path, offline: bool) -> None:
    identity = listing.read_text(encoding="utf-8")
    if is_done(name, identity):
        return
    need_space(SPACE_GB[name])
    say(f"Installing what {listing.relative_to(ROOT).as_posix()} lists ...")
    status, said = install(["--no-deps", "-r", str(listing)], offline)
    if status:
        raise Trouble(explain(said, offline))
    mark_done(name, identity)


def install(arguments: "list[str]", offline: bool) -> "tuple[int, str]":
    # Isolated and without an index pip can only find that everything is there already.
    first = ["--isolated", "install", "--no-index"] if offline else ["install"]
    return pip(*first, "--progress-bar=off", *arguments)


def hand_over(arguments: "list[str]") -> int:
    """Become `python -m ...` of .venv; only Windows needs a child for that."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    environment = {**os.environ, **QUIET, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    environment.pop("GRADIO_SHARE", None)
    command = [str(PYTHON), "-m", *arguments]
    if os.name == "nt":
        return subprocess.call(command, env=environment)
    os.execve(command[0], command, environment)  # noqa: S606


def is_complete(testing: bool) -> bool:
    """Whether a start would install nothing."""
    listings = {"packages": LOCK, "test": TEST} if testing else {"packages": LOCK}
    steps = {name: listing.read_text(encoding="utf-8") for name, listing in listings.items()}
    steps.update(venv="venv", torch=f"{TORCH} {machine()}")
    return has_python() and all(is_done(name, identity) for name, identity in steps.items())


def main(arguments: "list[str]") -> int:
    testing = arguments[:1] == ["test"]
    offline = "--offline" in arguments
    try:
        if {"-h", "--help", "--version"}.intersection(arguments) and not is_complete(testing):
            print(__doc__, end="")  # who asks for help has not asked for gigabytes
            return 0
        wait_for_other_setups()
        make_venv()
        install_torch(machine(), offline)
        install_locked("packages", LOCK, offline)
        if testing:
            install_locked("test", TEST, offline)
            os.chdir(ROOT)
        return hand_over(["pytest", *arguments[1:]] if testing else ["webui.cli", *arguments])
    except Trouble as trouble:
        say(f"error: {trouble}")
    except OSError as error:
        say(f"error: The set-up cannot go on: {error.strerror or error} ({error.filename or ROOT}).")
    except KeyboardInterrupt:
        say(f"\nInterrupted. Run the same command again to go on. {GO_ON}")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
