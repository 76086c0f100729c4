"""What the documents promise about commands and settings is what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from webui import auditing, cli
from webui.reference import settings_page

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_of_the_readme_start_the_studio_and_the_tests() -> None:
    block = re.search(r"## Two commands\n\n```\n(.*?)```", README, re.DOTALL)
    assert block and block.group(1).splitlines() == ["python3 launch.py", "python3 launch.py test"]
    assert (ROOT / "launch.py").is_file()
    assert "python3 launch.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"^python3 launch\.py (.+?)(?:   .*)?$", README, re.MULTILINE))
def test_every_command_line_of_the_readme_is_understood(line: str) -> None:
    import shlex

    words = shlex.split(line)
    if words[0] == "audit":
        assert auditing.parse(words[1:])[0].action == words[1]
    elif words[0] == "keys":
        assert cli.keys_parser().parse_args(words[1:]).keys_verb == words[1]
    elif words[0] != "test":
        assert cli.parser().parse_args(words).verb == words[0]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "LICENSES.md"])
def test_links_within_the_repository_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if not (ROOT / link).exists() and not link.startswith("docs/screenshots/")]
    assert not missing


def test_the_page_of_settings_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == settings_page(), "run: python3 launch.py doctor --settings > docs/settings.md"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("webui.cli", {"gradio", "torch", "fastapi", "onnxruntime", "sqlalchemy", "numpy", "pydantic"}),
        ("webui.serving", {"gradio", "torch", "fastapi", "onnxruntime", "sqlalchemy"}),
        ("webui.app", {"torch", "diffusers", "transformers"}),
        ("webui.compose", {"torch", "diffusers", "transformers", "gradio"}),
        ("webui.terminal", {"torch", "gradio", "sqlalchemy", "onnxruntime"}),
    ],
)
def test_importing_a_face_stays_light(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
