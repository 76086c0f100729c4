"""launch.py without installing anything: pip is replaced, the rest is real."""

from __future__ import annotations

import argparse
import ast
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from backend.netguard import QUIET
from webui import cli

SOURCE = Path(launch.__file__)
OK, NOT_OFFERED = (0, "fine"), (1, "ERROR: No matching distribution found for torch==2.13.0+cpu")
NO_NETWORK = (
    1,
    "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found",
)


class Pip:
    """Stands in for launch.pip: remembers what it was asked and answers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.answers: dict[str, tuple[int, str]] = {}

    def __call__(self, *arguments: str) -> tuple[int, str]:
        self.calls.append(arguments)
        return next((answer for word, answer in self.answers.items() if word in arguments), OK)


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """A checkout in a temporary folder whose .venv is there, with nothing installed."""
    venv = tmp_path / ".venv"
    venv.mkdir()
    (tmp_path / "requirements").mkdir()
    for name, path in {
        "ROOT": tmp_path,
        "VENV": venv,
        "LOG": venv / "install.log",
        "LOCK": tmp_path / "requirements/lock.txt",
        "TEST": tmp_path / "requirements/test.txt",
    }.items():
        monkeypatch.setattr(launch, name, path)
    launch.LOCK.write_text("a==1\n")
    launch.TEST.write_text("b==2\n")
    stand_in = Pip()
    monkeypatch.setattr(launch, "pip", stand_in)
    monkeypatch.setattr(launch, "make_venv", lambda: launch.mark_done("venv", "venv"))
    monkeypatch.setattr(launch, "has_python", lambda: True)
    monkeypatch.setattr(launch, "machine", lambda: "cpu")
    monkeypatch.setattr(launch, "wait_for_other_setups", lambda: None)
    monkeypatch.setattr(launch, "hand_over", lambda arguments: 0)
    monkeypatch.setattr(launch.os, "chdir", lambda folder: None)
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.delenv("SIGNET_TORCH_INDEX", raising=False)
    return stand_in


def test_the_file_parses_down_to_python_3_6() -> None:
    ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_is_told_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SOURCE), run_name="__main__")
    assert str(stopped.value.code).startswith("Signet needs Python 3.11 or newer, and this is 3.9.")


def test_the_first_start_installs_torch_then_the_lock_and_the_second_nothing(pip: Pip) -> None:
    assert launch.main([]) == 0
    assert [call[2] for call in pip.calls] == ["torch==2.13.0+cpu", "--no-deps"]
    pip.calls.clear()
    assert launch.main([]) == 0
    assert pip.calls == []


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["generate", "--help"], ["test", "-h"]])
def test_who_asks_for_help_first_gets_it_without_an_installation(
    pip: Pip, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert launch.main(arguments) == 0
    assert pip.calls == []
    assert list(launch.VENV.iterdir()) == []
    shown = capsys.readouterr().out
    assert "python3 launch.py " in shown and "python3 launch.py test " in shown
    assert _verbs() <= set(shown.split())


def _verbs() -> set[str]:
    (found,) = [action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return set(found.choices)


def test_once_set_up_the_command_line_itself_helps(pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.main([])
    handed: list[list[str]] = []
    monkeypatch.setattr(launch, "hand_over", lambda arguments: handed.append(arguments) or 0)
    launch.main(["generate", "--help"])
    launch.main(["test", "--help"])
    assert handed == [["webui.cli", "generate", "--help"]], "what the tests need is not there yet"
    launch.LOCK.write_text("a==2\n")
    launch.main(["--help"])
    assert len(handed) == 1


def test_only_test_installs_what_the_tests_need(pip: Pip) -> None:
    launch.main(["test"])
    assert str(launch.TEST) in pip.calls[-1]


def test_a_changed_lock_is_installed_anew_and_torch_is_not(pip: Pip) -> None:
    launch.main([])
    launch.LOCK.write_text("a==2\n")
    pip.calls.clear()
    launch.main([])
    assert [call[2] for call in pip.calls] == ["--no-deps"]


def test_an_interrupted_installation_goes_on_where_it_stopped(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    pip.answers["-r"] = NO_NETWORK
    assert launch.main([]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: The network does not answer. Run the same command again when it is back.")
    pip.calls.clear()
    pip.answers.clear()
    assert launch.main([]) == 0
    assert [call[2] for call in pip.calls] == ["--no-deps"], "torch was done already"


def test_without_a_cpu_build_the_general_torch_is_taken_and_said_so(
    pip: Pip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "disk_usage", _disk(100e9))
    pip.answers["torch==2.13.0+cpu"] = NOT_OFFERED
    assert launch.main([]) == 0
    assert "torch==2.13.0" in pip.calls[1]
    assert "CUDA libraries" in capsys.readouterr().err


def test_a_missing_network_is_not_mistaken_for_a_missing_cpu_build(pip: Pip) -> None:
    pip.answers["torch==2.13.0+cpu"] = NO_NETWORK
    assert launch.main([]) == 1
    assert len(pip.calls) == 1


@pytest.mark.parametrize("kind", ["cuda", "mac"])
def test_a_graphics_card_gets_the_general_torch(pip: Pip, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(launch, "machine", lambda: kind)
    monkeypatch.setattr(shutil, "disk_usage", _disk(100e9))
    launch.main([])
    assert "torch==2.13.0" in pip.calls[0]


def test_the_index_of_cpu_builds_can_be_named(pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNET_TORCH_INDEX", "file:///wheels")
    launch.main([])
    assert pip.calls[0][-2:] == ("--extra-index-url", "file:///wheels")


def _disk(free: float) -> Callable[[object], SimpleNamespace]:
    return lambda _: SimpleNamespace(free=free)


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    pip: Pip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", _disk(1e9))
    assert launch.main([]) == 1
    assert not pip.calls
    assert "error: The disk is too full: this step of the set-up needs about 3 GB and 1.0 GB are free" in _err(capsys)


def test_a_disk_that_fills_up_on_the_way_is_named(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    pip.answers["-r"] = (1, "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
    assert launch.main([]) == 1
    assert "error: The disk became full during the set-up." in _err(capsys)


def test_offline_uses_pip_only_to_see_that_all_is_there(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["--offline"]) == 0
    assert all(call[:3] == ("--isolated", "install", "--no-index") for call in pip.calls)
    launch.LOCK.write_text("a==2\n")
    pip.answers["-r"] = NOT_OFFERED
    assert launch.main(["--offline"]) == 1
    assert "Some packages are not installed yet and --offline forbids fetching them." in _err(capsys)


def test_pip_without_an_index_gets_its_own_sentence(
    pip: Pip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    pip.answers["-r"] = NOT_OFFERED
    assert launch.main([]) == 1
    assert "PIP_NO_INDEX forbids fetching them" in _err(capsys)


def test_any_other_failure_of_pip_is_told_with_the_place_of_the_log(
    pip: Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.answers["-r"] = (1, "noise\nERROR: a-1.whl is not a supported wheel on this platform.\n")
    assert launch.main([]) == 1
    assert "error: pip could not install a package: a-1.whl is not a supported wheel on this platform." in _err(capsys)


def test_a_python_without_venv_is_told_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(launch, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(launch, "PYTHON", tmp_path / ".venv/bin/python")
    monkeypatch.setattr(launch, "wait_for_other_setups", lambda: None)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    assert launch.main([]) == 1
    assert "sudo apt install python3-venv" in _err(capsys)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    pip: Pip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise PermissionError(13, "Permission denied", "/there/.venv")

    monkeypatch.setattr(launch, "make_venv", fail)
    assert launch.main([]) == 1
    assert _err(capsys) == "error: The set-up cannot go on: Permission denied (/there/.venv).\n"


def test_ctrl_c_says_that_nothing_is_lost(
    pip: Pip, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "make_venv", interrupt)
    assert launch.main([]) == 130
    assert "Run the same command again to go on." in _err(capsys)


@pytest.mark.skipif(os.name == "nt", reason="Windows starts a child instead")
def test_the_command_line_starts_with_everything_that_could_call_home_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    became: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda path, command, environment: became.append((command, environment)))
    monkeypatch.setenv("GRADIO_SHARE", "True")
    launch.hand_over(["webui.cli", "verify", "a b.png"])
    command, environment = became[0]
    assert command == [str(launch.PYTHON), "-m", "webui.cli", "verify", "a b.png"]
    assert "GRADIO_SHARE" not in environment
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert {name: environment[name] for name in QUIET} == dict(QUIET)


def test_progress_names_each_package_once_and_in_short(capsys: pytest.CaptureFixture[str]) -> None:
    progress = launch.Progress()
    for line in (
        "Collecting numpy==2.4.6 (from -r lock.txt (line 3))\n",
        "  Downloading numpy-2.4.6-cp311-cp311-manylinux.whl (16 MB)\n",
        "Processing /wheels/Jinja2-3.1.6-py3-none-any.whl (from -r lock.txt (line 4))\n",
        "Installing collected packages: numpy, Jinja2\n",
    ):
        progress.take(line)
    progress.close()
    assert _err(capsys).split() == ["numpy", "Jinja2", "unpacking", "2", "packages", "..."]


def _err(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err
