"""The studio answers without torch, reads only three picture formats and says nothing to Gradio's makers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, tempfile
from pathlib import Path
from backend.settings import Settings
from starlette.testclient import TestClient
from tests.unit.webui.fakes import FakeDesk
from webui.app import create_app

folder = Path(tempfile.mkdtemp())
client = TestClient(create_app(FakeDesk(folder, Settings(data=folder))), base_url="http://127.0.0.1")
page = client.get("/")
assert page.status_code == 200 and page.url.path == "/ui/" and "Signet" in page.text
heavy = {"torch", "diffusers", "transformers", "onnxruntime", "sqlalchemy"} & set(sys.modules)
assert not heavy, heavy
from PIL import Image
from backend.images import INPUT_FORMATS
assert set(Image.OPEN) == set(INPUT_FORMATS), set(Image.OPEN)
config = client.get("/ui/config").json()
assert config["analytics_enabled"] is False and config["show_error"] is False, config
assert "huggingface" not in page.text and "google" not in page.text
print("fine")
"""


def test_the_first_page_needs_no_torch() -> None:
    root = Path(__file__).resolve().parents[3]
    found = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == "fine", found.stderr
