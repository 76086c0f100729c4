from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import BasicConstraints, load_pem_x509_certificates

from backend.errors import SignetError, Unavailable
from safety.keys import FILE, open_keys


def _open_and_tell(folder: Path, answers: multiprocessing.Queue[tuple[int, bytes]]) -> None:
    keys = open_keys(folder)
    answers.put((keys.serial, keys.watermark_key))


def test_keys_are_made_once_and_stay_the_same(folder: Path) -> None:
    first, second = open_keys(folder), open_keys(folder)
    assert (first.chain_pem, first.watermark_key, first.signer) == (
        second.chain_pem,
        second.watermark_key,
        second.signer,
    )
    assert len(first.watermark_key) == 32


def test_two_installations_have_nothing_in_common(tmp_path: Path) -> None:
    one, two = open_keys(tmp_path / "one"), open_keys(tmp_path / "two")
    assert one.serial != two.serial
    assert one.signer != two.signer
    assert one.watermark_key != two.watermark_key


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_folder_and_files_are_for_the_owner_alone(folder: Path) -> None:
    open_keys(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_permissions_that_were_loosened_are_closed_again_and_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_keys(folder)
    folder.chmod(0o755)
    (folder / FILE).chmod(0o644)
    with caplog.at_level(logging.WARNING):
        open_keys(folder)
    assert (folder.stat().st_mode & 0o777, (folder / FILE).stat().st_mode & 0o777) == (0o700, 0o600)
    assert "was open to others" in caplog.text


@pytest.mark.parametrize("damage", ["empty", "half", "flipped digit", "no json", "foreign certificate"])
def test_a_damaged_key_file_is_an_error_and_never_a_new_key(folder: Path, tmp_path: Path, damage: str) -> None:
    open_keys(folder)
    path = folder / FILE
    text = path.read_text()
    content = json.loads(text)
    digit = content["watermark_key"][0]
    open_keys(tmp_path / "other")
    foreign = {**content, "chain_pem": json.loads((tmp_path / "other" / FILE).read_text())["chain_pem"]}
    foreign.pop("sha256")
    foreign["sha256"] = hashlib.sha256(json.dumps(foreign, sort_keys=True).encode()).hexdigest()
    broken = {
        "empty": "",
        "half": text[: len(text) // 2],
        "flipped digit": text.replace(content["watermark_key"], ("1" if digit == "0" else "0") + "f" * 63),
        "no json": "[]",
        "foreign certificate": json.dumps(foreign),
    }[damage]
    path.write_text(broken)
    with pytest.raises(Unavailable, match="damaged") as caught:
        open_keys(folder)
    assert "Restore it from a backup" in caught.value.problem.sentence()
    assert path.read_text() == broken


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SignetError, match="cannot be used"):
        open_keys(tmp_path / "file" / "keys")


def test_processes_that_start_together_agree_on_one_key(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=_open_and_tell, args=(folder, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    told = {answers.get(timeout=30) for _ in workers}
    for worker in workers:
        worker.join()
    keys = open_keys(folder)
    assert told == {(keys.serial, keys.watermark_key)}


def test_nothing_secret_is_shown_when_keys_are_printed(folder: Path) -> None:
    keys = open_keys(folder)
    assert "key_pem" not in repr(keys)
    assert "watermark_key" not in repr(keys)
    assert "PRIVATE" not in repr(keys)


def test_the_certificate_is_for_the_key_and_lasts_ten_years(folder: Path) -> None:
    keys = open_keys(folder)
    leaf, authority = load_pem_x509_certificates(keys.chain_pem.encode())
    key = load_pem_private_key(keys.key_pem.encode(), password=None)
    leaf.verify_directly_issued_by(authority)
    assert key.public_key() == leaf.public_key()
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days >= 3650
    assert leaf.extensions.get_extension_for_class(BasicConstraints).value.ca is False


def test_the_key_of_the_authority_is_kept_nowhere(folder: Path) -> None:
    open_keys(folder)
    assert (folder / FILE).read_text().count("PRIVATE KEY") == 2, "one key: its first and its last line"
