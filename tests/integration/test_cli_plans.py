"""A folder of pictures through one request, from the command line, sealed one by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from backend import images

ROOT = Path(__file__).resolve().parents[2]


def test_every_picture_of_a_folder_is_made_larger(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, shade in (("a", 40), ("b", 200)):
        pixels = np.full((96, 128, 3), shade, np.uint8)
        pixels[20:60, 30:90] = 120
        (folder / f"{name}.png").write_bytes(images.encode_png(pixels))
    words = ("--batch", str(folder), "--upscale", "2", "--json", "--data", str(data), "--out", str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-m", "webui.cli", "generate", *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["job_ids"]) == len(told["images"]) == 2
    for image, shade in zip(told["images"], (40, 200), strict=True):
        found = images.decode(Path(image["path"]).read_bytes(), max_pixels=1 << 20).pixels
        assert found.shape == (192, 256, 3)
        assert abs(float(found[:20].mean()) - shade) < 6
        assert image["passport"]["credential"]["state"] == "valid"
