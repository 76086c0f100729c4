"""The rules of the house (docs/decisions and architecture §4), held by walking the imports of every module."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("backend", "webui", "safety", "db", "extensions", "training")
SHARED = ("backend.types", "backend.errors", "backend.version")


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module
    imports: tuple[str, ...]

    def within(self, *packages: str) -> bool:
        return _within(self.name, packages)


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything imported anywhere, lazy imports and those for type checkers included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules() -> Iterator[Module]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))] + [ROOT / "launch.py"]
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield Module(name, tree, tuple(_imports(tree)))


MODULES = tuple(_modules())


def _offenders(rule: Callable[[Module, str], bool], *rooms: str) -> list[str]:
    """ "module imports name" for every import in `rooms` (all if none) that breaks the rule."""
    return [
        f"{module.name} imports {name}"
        for module in MODULES
        if not rooms or module.within(*rooms)
        for name in module.imports
        if rule(module, name)
    ]


def _only_in(library: str, *places: str) -> list[str]:
    return _offenders(lambda module, name: _within(name, (library,)) and not module.within(*places))


def test_types_errors_and_version_import_nothing_of_ours() -> None:
    ours = (*ROOMS, "launch", "tests")
    assert not _offenders(lambda _, name: _within(name, ours) and not _within(name, ("backend.types",)), *SHARED)


def test_the_backend_knows_none_of_the_rooms_around_it() -> None:
    assert not _offenders(lambda _, name: _within(name, ("webui", "db", "extensions", "safety", "training")), "backend")


@pytest.mark.parametrize("room", ["safety", "db", "extensions"])
def test_a_side_room_knows_only_itself_and_the_shared_shapes(room: str) -> None:
    allowed = (room, *SHARED, *{"db": ("backend.queue",), "safety": _SAFETY_EXTRA}.get(room, ()))
    assert not _offenders(lambda _, name: _within(name, ROOMS) and not _within(name, allowed), room)


_SAFETY_EXTRA = ("backend.images",)
"""Sealing encodes and verifying decodes, and backend.images is the only module that may do either."""


def test_the_studio_never_reaches_behind_the_front_desk() -> None:
    forbidden = ("backend.engine", "backend.models.loader", "backend.models.memory", "torch", "diffusers")
    assert not _offenders(lambda _, name: _within(name, forbidden), "webui")


def test_only_the_composition_root_names_the_supervisor_and_the_rooms_behind_the_desk() -> None:
    behind = ("backend.supervisor", "backend.journal", "backend.storage", "db", "safety")
    roots = ("webui.compose", "webui.compose_trust", "webui.auditing", "webui.keys_cli")
    assert not _offenders(lambda module, name: _within(name, behind) and not module.within(*roots), "webui")


def test_launch_py_is_imported_by_nobody_and_imports_nothing_of_ours() -> None:
    assert not _only_in("launch")
    assert not _offenders(lambda _, name: _within(name, ROOMS), "launch")


def test_torch_lives_in_the_engine_and_in_training() -> None:
    places = ("backend.engine", "backend.models.loader", "backend.models.memory", "training")
    for library in ("torch", "diffusers", "transformers", "accelerate"):
        assert not _only_in(library, *places)


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("gradio", ("webui",)),
        ("fastapi", ("webui",)),
        ("uvicorn", ("webui",)),
        ("sqlalchemy", ("db",)),
        ("alembic", ("db",)),
        (
            "subprocess",
            ("launch", "backend.supervisor", "extensions.installer", "webui.cli", "webui.doctor", "training"),
        ),
    ],
)
def test_a_library_has_its_rooms(library: str, places: tuple[str, ...]) -> None:
    assert not _only_in(library, *places)


@pytest.mark.parametrize("library", ["pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "torchvision"])
def test_nobody_imports_what_could_run_a_strangers_code_or_break_torch(library: str) -> None:
    assert not _only_in(library)


@pytest.mark.parametrize("library", ["requests", "httpx", "urllib3", "urllib.request", "http.client", "aiohttp"])
def test_nobody_speaks_to_the_outside(library: str) -> None:
    assert not _only_in(library, "backend.netguard", "training")


def _calls(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def _callers(call: str) -> set[str]:
    return {module.name for module in MODULES if call in _calls(module)}


def test_torch_load_is_called_by_nobody() -> None:
    assert not _callers("torch.load") - {module.name for module in MODULES if module.within("training")}


def test_pictures_are_opened_in_one_place() -> None:
    assert not _callers("Image.open") - {"backend.images"} - {m.name for m in MODULES if m.within("training")}


def test_sealed_and_checked_images_are_made_behind_one_door_each() -> None:
    assert not _callers("SealedImage") - {"safety.seal"}
    assert not _callers("CheckedImage") - {"safety.inspect"}


def _module_level_names(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


_CHANGES = frozenset({"append", "extend", "insert", "pop", "clear", "update", "add", "remove", "discard", "setdefault"})


def _changed_names(tree: ast.Module) -> Iterator[str]:
    """Names whose value is changed in place somewhere: NAME[...] = , NAME.append( and the like, `global NAME`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
            yield ast.unparse(node.func.value)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            yield from (ast.unparse(target.value) for target in targets if isinstance(target, ast.Subscript))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_keeps_no_state_of_its_own(module: Module) -> None:
    displays = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
    names = {name for name, value in _module_level_names(module.tree) if isinstance(value, displays)}
    names -= {name for name in names if name.startswith("__") or module.within("db.migrations")}
    assert not [name for name in names if name != name.upper()], "a table at module level is a constant: UPPER_CASE"
    assert not names & set(_changed_names(module.tree))
    assert not [node for node in ast.walk(module.tree) if isinstance(node, ast.Global)]
