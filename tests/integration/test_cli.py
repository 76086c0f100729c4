"""The command line from the outside: processes, streams and exit statuses; `generate` and `verify` end to end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import images
from backend.storage import lock_folder

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path = ROOT, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-m", "webui.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


def problem(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The error of a --json call, which must be all of stdout."""
    told: dict[str, Any] = json.loads(done.stdout)
    assert set(told) == {"error"}
    return dict(told["error"])


def test_help_names_every_verb_at_once() -> None:
    started = time.monotonic()
    done = run("--help")
    assert done.returncode == 0
    assert time.monotonic() - started < 5
    for verb in ("serve", "generate", "verify", "models", "doctor", "bench", "judge", "test"):
        assert f"\n    {verb} " in done.stdout


def test_version_is_one_line() -> None:
    assert run("--version").stdout == "Signet 0.1.0\n"


def test_the_verb_test_points_to_the_launcher() -> None:
    done = run("test", "-x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "python3 launch.py test" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bogus"], "invalid choice"),
        (["generate"], "PROMPT"),
        (["generate", "x", "--steps", "many"], "invalid int value"),
        (["bench", "no-such"], "There is no benchmark"),
        (["judge", "--model", "no-such"], "no model_index.json"),
        (["generate", "x", "--bogus"], "See: python3 launch.py --help"),
        (["serve", "--host", "0.0.0.0"], "can be reached by others"),
        (["serve", "--port", "70000"], 'The setting "port" cannot be used'),
    ],
)
def test_input_that_cannot_be_used_is_status_2_and_a_sentence(
    arguments: list[str], says: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNET_DATA", str(data))
    done = run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "field", "says"),
    [
        ([""], "prompt", "The prompt is empty."),
        (["x" * 10_000], "prompt", "10,000 characters"),
        (["x", "--width", "100"], "width", "multiple of"),
        (["x", "--steps", "0"], "steps", "from 1 to"),
        (["x", "--steps", "10000"], "steps", "from 1 to"),
        (["x", "--sampler", "Eular"], "sampler", "Eular"),
        (["x", "--model", "startr"], "model", "startr"),
    ],
)
def test_a_bad_request_is_told_to_people_and_to_programs(
    data: Path, arguments: list[str], field: str, says: str
) -> None:
    done = run("generate", *arguments, "--json", "--data", str(data))
    told = problem(done)
    assert done.returncode == 2
    assert told["field"] == field
    assert says in told["detail"]
    assert done.stderr.startswith(f"error: {told['detail']}")
    assert not list((data / "outputs").rglob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "x", "--steps", "many", "--json"], "Argument --steps: invalid int value: 'many'."),
        (["generate", "--json"], "PROMPT"),
        (["verify", "--json"], "FILE"),
        (["models", "--json", "--bogus"], "--bogus"),
    ],
)
def test_a_command_that_cannot_be_understood_is_told_to_programs_too(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    told = problem(done)
    assert done.returncode == 2
    assert told["code"] == "usage"
    assert says in told["detail"]
    assert "--help" in told["hint"]


def test_a_file_given_as_the_folder_for_copies_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    done = run("generate", "x", "--out", str(tmp_path / "mine.png"), "--json", "--data", str(data))
    assert (done.returncode, problem(done)["field"]) == (2, "out")
    assert not (data / "signet.db").exists(), "nothing was started"


def test_a_wrong_line_in_config_toml_is_named(data: Path) -> None:
    (data / "config.toml").write_text("max_stepz = 3\n")
    done = run("models", "--data", str(data))
    assert done.returncode == 2
    assert 'The setting "max_stepz" cannot be used' in done.stderr


def test_a_data_folder_in_use_is_refused_with_what_to_do(data: Path) -> None:
    with lock_folder(data):
        done = run("generate", "a red apple", "--json", "--data", str(data))
    told = problem(done)
    assert done.returncode == 1
    assert f"(process {os.getpid()}) is using the folder" in told["detail"]
    assert "--data" in told["hint"] and "API" in told["hint"]


def test_a_taken_port_is_noticed_at_once_with_another_one_proposed(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), "--no-browser", "--data", str(data))
    assert done.returncode == 1
    assert f"Port {port} is taken by another program" in done.stderr
    assert "--port" in done.stderr
    assert not (data / "signet.db").exists(), "nothing was started"


def test_the_doctor_judges_every_part_as_json(data: Path) -> None:
    done = run("doctor", "--json", "--data", str(data))
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    failed = [check for check in checks.values() if check["state"] == "fail"]
    assert done.returncode == (1 if failed else 0)
    assert {"Python", "torch", "packages", "Pillow", "NSFW detector", "keys"} <= set(checks)
    assert checks["packages"]["state"] == checks["Pillow"]["state"] == checks["beside torch"]["state"] == "ok"


def test_models_lists_the_starter(data: Path) -> None:
    listed = json.loads(run("models", "--json", "--data", str(data)).stdout)
    assert [model["id"] for model in listed] == ["starter"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """One sealed picture: (data folder, --out folder, what --json printed)."""
    top = tmp_path_factory.mktemp("made")
    data, out = top / "data", top / "out"
    words = ("a red apple", "--seed", "7", "--steps", "4", "--json", "--data", str(data), "--out", str(out))
    done = run("generate", *words, cwd=top)
    assert done.returncode == 0, done.stderr
    yield data, out, json.loads(done.stdout)


def test_generate_prints_exactly_the_promised_object(made: tuple[Path, Path, dict[str, Any]]) -> None:
    _, out, told = made
    assert set(told) == {"job_id", "images"}
    (image,) = told["images"]
    assert set(image) == {"path", "covered", "sha256", "seed", "record_id", "passport"}
    assert image["seed"] == 7
    assert Path(image["path"]).parent == out
    assert (
        hashlib.sha256(Path(image["path"]).read_bytes()).hexdigest() == image["sha256"] == image["passport"]["sha256"]
    )


def test_the_copy_in_out_is_the_stored_file_byte_for_byte(made: tuple[Path, Path, dict[str, Any]]) -> None:
    data, _, told = made
    (stored,) = (data / "outputs").rglob("*.png")
    assert Path(told["images"][0]["path"]).read_bytes() == stored.read_bytes()


def test_verify_knows_the_picture_its_stripped_copy_and_a_file_that_is_none(
    made: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    data, _, told = made
    original = Path(told["images"][0]["path"])
    pixels = images.decode(original.read_bytes(), max_pixels=10**6).pixels
    stripped = tmp_path / "stripped.png"
    stripped.write_bytes(images.encode_png(pixels))
    text = tmp_path / "text.png"
    text.write_text("no picture")
    done = run("verify", str(original), str(stripped), str(text), str(tmp_path / "gone"), "--json", "--data", str(data))
    assert done.returncode == 2, "two of the files cannot be read"
    whole, copy, none, gone = json.loads(done.stdout)
    record = told["images"][0]["record_id"]
    assert set(whole) == {
        "path",
        "c2pa",
        "watermark",
        "infotext",
        "history",
        "summary",
        "recovered",
        "labels",
        "more_marks",
    }
    assert whole["c2pa"]["state"] == "valid" and whole["c2pa"]["trusted"] is False
    assert whole["c2pa"]["digital_source_type"].endswith("trainedAlgorithmicMedia")
    assert whole["watermark"]["found"] and whole["watermark"]["record_id"] == record
    assert whole["history"] == {"match": "exact", "record_id": record}
    assert whole["infotext"].startswith("a red apple")
    assert copy["c2pa"]["state"] == "absent"
    assert copy["history"] == {"match": "watermark", "record_id": record}
    assert none["error"]["code"] == gone["error"]["code"] == "unreadable-image"
    assert done.stderr.count("error: ") == 2


def test_verify_works_beside_a_program_that_uses_the_folder(made: tuple[Path, Path, dict[str, Any]]) -> None:
    data, _, told = made
    with lock_folder(data):
        done = run("verify", told["images"][0]["path"], "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert "exact " + told["images"][0]["record_id"] in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C reaches process groups in another way there")
def test_ctrl_c_cancels_the_job_and_leaves_no_picture(data: Path) -> None:
    command = [sys.executable, "-m", "webui.cli", "generate", "a red apple", "--count", "8", "--steps", "150"]
    process = subprocess.Popen(
        [*command, "--data", str(data)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell lets its background jobs ignore Ctrl+C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (data / "signet.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Cancelling ..." in said
    assert "error: The job was cancelled" in said
    assert not list((data / "outputs").rglob("*.png"))
    assert not (data / "signet.pid").exists(), "the folder was let go"
