"""The road has two doors, and the sources of the whole program show that there is no third."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOORS = {"CheckedImage": {"safety/inspect.py"}, "SealedImage": {"safety/seal.py"}}


def sources(*packages: str) -> Iterator[tuple[str, ast.AST]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_only_inspect_makes_checked_images_and_only_seal_makes_sealed_ones() -> None:
    made: dict[str, set[str]] = {name: set() for name in DOORS}
    for path, tree in sources("backend", "webui", "safety", "db", "extensions"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in DOORS:
                made[called(node)].add(path)
    assert made == DOORS


def test_safety_decodes_no_pictures() -> None:
    for path, tree in sources("safety"):
        assert "Image.open" not in ast.unparse(tree), path
