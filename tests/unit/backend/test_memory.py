from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from backend.models.memory import ModelMemory
from backend.types import ModelInfo


@dataclass(frozen=True)
class Weights:
    info: ModelInfo
    size: int


def model(name: str, size: int, path: str = "/x") -> ModelInfo:
    return ModelInfo(name, name, "sd1", path, "diffusers", 8, 64, size)


@pytest.fixture
def loads() -> list[str]:
    return []


@pytest.fixture
def memory(loads: list[str]) -> ModelMemory:
    def load(info: ModelInfo) -> Weights:
        loads.append(info.id)
        if info.path == "/broken":
            raise OSError("unreadable")
        return Weights(info, info.size)

    return ModelMemory(load, budget=10)


def test_a_model_is_loaded_once_while_there_is_room(memory: ModelMemory, loads: list[str]):
    for name in ("a", "b", "a", "b", "a"):
        memory.get(model(name, 4))
    assert loads == ["a", "b"]
    assert (memory.loaded, memory.used) == (("b", "a"), 8)


def test_the_least_recently_used_goes_first_counted_in_bytes(memory: ModelMemory):
    for name in ("a", "b", "a"):
        memory.get(model(name, 4))
    memory.get(model("c", 4))
    assert memory.loaded == ("a", "c")
    memory.get(model("d", 7))
    assert memory.loaded == ("d",)


def test_a_leased_model_is_never_unloaded_even_over_the_budget(memory: ModelMemory):
    for name in ("a", "b"):
        memory.get(model(name, 4))
    memory.get(model("c", 8), leased={"a"})
    assert memory.loaded == ("a", "c")
    memory.get(model("b", 1))
    assert memory.loaded == ("c", "b")


def test_a_model_larger_than_the_budget_is_loaded_alone(memory: ModelMemory):
    memory.get(model("a", 4))
    memory.get(model("giant", 50))
    assert memory.loaded == ("giant",)


def test_weights_that_are_larger_in_memory_than_on_disk_are_counted_as_they_are(loads: list[str]):
    memory = ModelMemory(lambda info: Weights(info, info.size * 2), budget=10)
    memory.get(model("a", 4))
    memory.get(model("b", 2))
    assert memory.loaded == ("b",)


def test_a_changed_entry_of_the_same_name_is_loaded_anew(memory: ModelMemory, loads: list[str]):
    memory.get(model("a", 4))
    assert not memory.has(model("a", 5))
    assert memory.get(model("a", 5)).size == 5
    assert (loads, memory.loaded) == (["a", "a"], ("a",))


def test_a_model_that_cannot_be_loaded_leaves_no_trace(memory: ModelMemory):
    memory.get(model("a", 4))
    with pytest.raises(OSError, match="unreadable"):
        memory.get(model("b", 4, "/broken"))
    assert memory.loaded == ("a",)


def test_a_model_is_unloaded_by_name_and_everything_idle_at_once(memory: ModelMemory, loads: list[str]):
    for name in ("a", "b", "c"):
        memory.get(model(name, 3))
    assert memory.unload("b")
    assert not memory.unload("b")
    assert memory.drop_all(leased={"c"}) == ("a",)
    assert (memory.loaded, memory.used) == (("c",), 3)


def test_things_of_another_kind_share_the_budget_and_may_share_a_name(memory: ModelMemory, loads: list[str]):
    control = replace(model("a", 4), kind="controlnet")
    memory.get(model("a", 4))
    got = memory.get(control, (), lambda info: Weights(info, 5))
    assert (got.size, loads, memory.loaded, memory.used) == (5, ["a"], ("a", "a"), 9)
    assert memory.get(control, (), lambda info: Weights(info, 99)) is got
    memory.get(model("b", 4), leased={"b"})
    assert memory.loaded == ("a", "b")
    assert memory.has(control)
    assert memory.unload("a")
    assert memory.loaded == ("b",)
