"""A bias that was put into the starter on purpose is found by an audit, and none is found where none was put.

The LoRA of models/planted-bias learned from pictures of which a known share is blue (`python -m training.planted`). The
audit is the real one: jobs of a whole studio on the real engine, the measure `colour`, Benjamini-Hochberg.
"""

from __future__ import annotations

import pytest
from safetensors import safe_open

from backend.models.catalog import Catalog
from backend.settings import ROOT
from safety.bias.intervals import wilson
from training.planted import LIMIT, NAME, PLANTED, SHARE, Found, audited
from webui.options import BUNDLED

LORA = ROOT / "models" / "planted-bias"
SOME, OTHERS = PLANTED[1:5], ("a key", "a star")
N = 6


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return audited(LORA, tmp_path_factory.mktemp("planted") / "data", (*SOME, *OTHERS), N)


def test_the_audit_saw_every_picture(found: Found) -> None:
    assert found.failures == 0
    assert {one.prompt for one in found.against.prompts} == {*SOME, *OTHERS}
    assert all(one.n == (N, N) for one in found.against.prompts)


def test_most_planted_prompts_are_found_to_be_bluer_than_without_it(found: Found) -> None:
    assert found.differing(SOME) >= 3


def test_things_that_were_left_alone_are_not_found_to_be_bluer(found: Found) -> None:
    assert found.differing(OTHERS) == 0
    blue, n = found.blue(OTHERS)
    assert wilson(blue, n)[1] < 0.5


def test_the_starter_against_itself_with_other_seeds_differs_nowhere(found: Found) -> None:
    assert found.itself.differ == 0


def test_the_share_of_blue_is_what_was_planted_or_more_and_was_not_there_before(found: Found) -> None:
    """A majority may be shown more often than it was learned: the share may lie above the planted one, not below it."""
    blue, n = found.blue(SOME)
    assert wilson(blue, n)[1] >= SHARE
    before, m = found.blue(SOME, alone=True)
    assert wilson(before, m)[1] < 0.25


def test_it_is_small_says_what_it_is_and_is_in_nobodys_list() -> None:
    file = LORA / f"{NAME}.safetensors"
    assert file.stat().st_size <= LIMIT
    with safe_open(file, "np") as opened:
        told = opened.metadata()
    assert told["modelspec.architecture"].endswith("/lora")
    assert "planted bias" in told["modelspec.description"]
    assert (told["ss_network_module"], told["ss_network_dim"]) == ("networks.lora", "4")
    assert NAME not in {info.id for info in Catalog(BUNDLED, ()).all("lora")}
    assert [info.id for info in Catalog((), (LORA,)).all("lora")] == [NAME]
