from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from backend.errors import InvalidParameter, SignetError, Unavailable
from backend.images import encode_png
from backend.settings import Settings
from safety import key_care, keyfile
from safety.key_care import encrypt, install, rotate
from safety.keys import FILE, PASSPHRASE, open_keys
from safety.provenance import Credentials
from safety.verify import every_mark
from safety.watermark import mark_id_of
from tests.unit.safety.authorities import CLAIM_SIGNING, KEYS, Authority, key_pem
from tests.unit.safety.samples import WORDING, picture
from tests.unit.safety.test_safety_provenance import PNG, statement
from webui import keys_cli

SECRET = "correct horse battery staple"


@pytest.fixture(autouse=True)
def no_passphrase_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.setattr(keyfile, "_COST", {"n": 1 << 12, "r": 8, "p": 1})  # sixteen times faster to guess


def signed(folder: Path, passphrase: str | None = None) -> bytes:
    data, _ = Credentials(open_keys(folder, passphrase), WORDING).sign(encode_png(picture()), PNG, statement())
    return data


# ---- encryption


def test_under_a_passphrase_nothing_secret_is_in_the_file(folder: Path) -> None:
    keys = open_keys(folder, SECRET)
    text = (folder / FILE).read_text()
    assert "PRIVATE" not in text
    assert "CERTIFICATE" not in text
    assert keys.watermark_key.hex() not in text
    assert keys.encrypted
    assert open_keys(folder, SECRET).serial == keys.serial


def test_the_passphrase_can_stand_in_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, SECRET)
    assert open_keys(folder).encrypted
    assert open_keys(folder).serial == open_keys(folder, SECRET).serial


@pytest.mark.parametrize(("passphrase", "words"), [(None, "no passphrase was given"), ("wrong", "does not open")])
def test_without_the_right_passphrase_nothing_opens_and_nothing_changes(
    folder: Path, passphrase: str | None, words: str
) -> None:
    open_keys(folder, SECRET)
    before = (folder / FILE).read_bytes()
    with pytest.raises(Unavailable, match=words):
        open_keys(folder, passphrase)
    assert (folder / FILE).read_bytes() == before


@pytest.mark.parametrize("name", ["data", "nonce", "salt", "n", "cipher"])
def test_every_part_of_an_encrypted_file_is_bound(folder: Path, name: str) -> None:
    open_keys(folder, SECRET)
    content = json.loads((folder / FILE).read_text())
    old = content["encrypted"][name]
    changed = {"n": 1 << 15, "cipher": "none"}.get(name, ("0" if str(old)[0] != "0" else "1") + str(old)[1:])
    content["encrypted"][name] = changed
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(Unavailable):
        open_keys(folder, SECRET)


def test_a_planted_file_cannot_ask_for_all_memory(folder: Path) -> None:
    open_keys(folder, SECRET)
    content = json.loads((folder / FILE).read_text())
    content["encrypted"]["n"] = 1 << 40
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(Unavailable, match="too much memory"):
        open_keys(folder, SECRET)


def test_open_keys_can_be_encrypted_and_the_passphrase_be_changed(folder: Path) -> None:
    first = open_keys(folder)
    assert encrypt(folder, None, SECRET).encrypted
    assert encrypt(folder, SECRET, "another good passphrase").serial == first.serial
    with pytest.raises(Unavailable, match="does not open"):
        open_keys(folder, SECRET)
    assert open_keys(folder, "another good passphrase").watermark_key == first.watermark_key


@pytest.mark.parametrize("weak", ["", "short", "aaaaaaaaaaaaaaaa"])
def test_a_passphrase_that_is_guessed_at_once_is_refused(folder: Path, weak: str) -> None:
    open_keys(folder)
    with pytest.raises(InvalidParameter, match="too weak"):
        encrypt(folder, None, weak)
    assert not open_keys(folder).encrypted


# ---- rotation


def test_after_rotation_old_pictures_are_still_ours_and_new_ones_too(folder: Path) -> None:
    old, before = open_keys(folder), signed(folder)
    new = rotate(folder, None)
    assert (new.signer, new.serial) != (old.signer, old.serial)
    assert [each.serial for each in new.earlier] == [old.serial]
    assert new.watermark_key == old.watermark_key
    credentials = Credentials(open_keys(folder), WORDING)
    assert credentials.read(before, PNG).ours
    assert credentials.read(signed(folder), PNG).ours
    assert Credentials(old, WORDING).read(signed(folder), PNG).ours is False


def test_the_old_private_key_is_kept_nowhere(folder: Path) -> None:
    old = open_keys(folder)
    rotate(folder, None)
    body = "".join(old.key_pem.splitlines()[1:-1])
    assert body not in (folder / FILE).read_text().replace("\\n", "")
    assert sorted(path.name for path in folder.iterdir()) == [FILE, "installation.lock"]


def test_marks_under_an_earlier_key_stay_readable(folder: Path) -> None:
    old = open_keys(folder)
    rotate(folder, None, mark=True)
    new = rotate(folder, None, mark=True)
    assert len(new.watermark_keys) == 3
    assert new.watermark_keys[2] == old.watermark_key
    marks = every_mark(["signet-dct", "signet-dct"], new)
    assert len(marks) == 3
    marked = every_mark(["signet-dct"], old)[0].embed(picture(128), mark_id_of("a-0"))
    assert [mark.detect(marked, [("a-0", mark_id_of("a-0"))]).found for mark in marks] == [False, False, True]


def test_rotation_under_a_passphrase_stays_under_it(folder: Path) -> None:
    before = signed(folder, SECRET)
    assert rotate(folder, SECRET).encrypted
    assert "PRIVATE" not in (folder / FILE).read_text()
    assert Credentials(open_keys(folder, SECRET), WORDING).read(before, PNG).ours


@pytest.mark.parametrize("step", ["try_out", "keyfile.write"])
def test_a_change_that_fails_half_way_changes_nothing(folder: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_keys(folder)
    before = (folder / FILE).read_bytes()

    def fail(*_: Any) -> None:
        raise Unavailable("no space left")

    monkeypatch.setattr(*((key_care, "try_out") if step == "try_out" else (keyfile, "write")), fail)
    with pytest.raises(Unavailable, match="no space"):
        rotate(folder, None)
    assert (folder / FILE).read_bytes() == before


def test_what_a_killed_process_left_behind_is_cleared_away(folder: Path) -> None:
    open_keys(folder)
    (folder / ".new-abc").write_text("half a secret")
    open_keys(folder)
    assert not list(folder.glob(".new-*"))


def test_a_key_file_from_before_there_was_rotation_still_opens(folder: Path) -> None:
    open_keys(folder)
    content = json.loads((folder / FILE).read_text())
    assert set(content) == {"chain_pem", "key_pem", "watermark_key", "sha256"}, "the form of the first version"
    assert open_keys(folder).algorithm == "es256"


# ---- one's own certificate


@pytest.mark.parametrize("algorithm", ["es256", "es384", "es512", "ps256", "ed25519"])
def test_every_kind_of_key_that_c2pa_allows_can_be_installed(folder: Path, algorithm: str) -> None:
    before = signed(folder)
    root = Authority()
    key = KEYS[algorithm]()
    keys = install(folder, None, Authority("Example Issuer", root).issue(key), key_pem(key))
    assert (keys.algorithm, keys.signer, keys.ca_pem) == (algorithm, "Example Desk", root.pem)
    report = Credentials(open_keys(folder), WORDING).read(signed(folder), PNG)
    assert (report.state, report.ours, report.trusted, report.signer) == ("valid", True, False, "Example Desk")
    assert Credentials(open_keys(folder), WORDING).read(before, PNG).ours


def test_a_certificate_made_for_c2pa_claims_is_taken(folder: Path) -> None:
    open_keys(folder)
    key = KEYS["es256"]()
    install(folder, None, Authority().issue(key, uses=(CLAIM_SIGNING,)), key_pem(key))
    assert Credentials(open_keys(folder), WORDING).read(signed(folder), PNG).ours


def test_another_certificate_of_the_same_authority_is_not_ours(folder: Path, tmp_path: Path) -> None:
    open_keys(folder)
    open_keys(tmp_path / "other")
    root = Authority()
    for place in (folder, tmp_path / "other"):
        key = KEYS["es256"]()
        install(place, None, root.issue(key), key_pem(key))
    report = Credentials(open_keys(folder), WORDING).read(signed(tmp_path / "other"), PNG)
    assert (report.state, report.ours) == ("valid", False)


def test_the_number_of_our_certificate_alone_makes_nothing_ours(folder: Path, tmp_path: Path) -> None:
    """Numbers are public and anybody can issue a certificate with one of his choice."""
    ours = open_keys(folder)
    open_keys(tmp_path / "other")
    key = KEYS["es256"]()
    install(tmp_path / "other", None, Authority().issue(key, serial=ours.serial), key_pem(key))
    report = Credentials(ours, WORDING).read(signed(tmp_path / "other"), PNG)
    assert (report.state, report.ours) == ("valid", False)


def test_an_encrypted_private_key_is_opened_with_its_passphrase(folder: Path) -> None:
    open_keys(folder)
    key = KEYS["es256"]()
    chain, locked = Authority().issue(key), key_pem(key, "of the key")
    for wrong in (None, "wrong"):
        with pytest.raises(InvalidParameter):
            install(folder, None, chain, locked, wrong)
    assert install(folder, None, chain, locked, "of the key").signer == "Example Desk"


def parts(chain: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----\n"
    return [part + end for part in chain.split(end)[:-1]]


ISSUED: dict[str, tuple[str, dict[str, Any]]] = {
    "expired": ("ran out on", {"days": (-30, -1)}),
    "future": ("still to come", {"days": (5, 50)}),
    "server": ("not for signing Content Credentials", {"uses": (ExtendedKeyUsageOID.SERVER_AUTH,)}),
    "no use": ("extended key usage: none", {"uses": ()}),
    "any use": ("anyExtendedKeyUsage", {"uses": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}),
    "no signing": ("not for digital signatures", {"sign": False}),
    "issues": ("may issue others", {"issues": True}),
    "authority": ("that of an authority", {"ca": True}),
    "nameless": ("names no organisation", {"organisation": None}),
    "no akid": ("no authority key identifier", {"akid": False}),
}
FILES: dict[str, tuple[str, Callable[[list[bytes], bytes, Authority], tuple[bytes, bytes]]]] = {
    "no pem": ("no certificate in PEM", lambda chain, key, root: (b"hello", key)),
    "no key": ("cannot be read", lambda chain, key, root: (b"".join(chain), b"hello")),
    "alone": ("holds 1 certificate", lambda chain, key, root: (chain[0], key)),
    "order": ("does not belong to the first", lambda chain, key, root: (b"".join(reversed(chain)), key)),
    "key": ("does not belong", lambda chain, key, root: (b"".join(chain), key_pem(KEYS["es256"]()))),
    "gap": ("was not issued by", lambda chain, key, root: (chain[0] + Authority().pem.encode(), key)),
    "self": ("signed by itself", lambda chain, key, root: (chain[1] * 2, key_pem(root.key))),
}


@pytest.mark.parametrize("what", [*ISSUED, *FILES])
def test_what_c2pa_would_refuse_is_refused_in_plain_words(folder: Path, what: str) -> None:
    open_keys(folder)
    before = (folder / FILE).read_bytes()
    key, root = KEYS["es256"](), Authority()
    if what in ISSUED:
        words, how = ISSUED[what]
        given = root.issue(key, **how), key_pem(key)
    else:
        words, change = FILES[what]
        given = change(parts(root.issue(key)), key_pem(key), root)
    with pytest.raises(InvalidParameter, match=words) as caught:
        install(folder, None, *given)
    assert caught.value.problem.hint
    assert (folder / FILE).read_bytes() == before


@pytest.mark.parametrize(("kind", "words"), [("k256", "does not allow keys"), ("rsa1024", "1024 bits")])
def test_keys_that_c2pa_does_not_allow_are_refused(folder: Path, kind: str, words: str) -> None:
    open_keys(folder)
    key = KEYS[kind]()
    with pytest.raises(InvalidParameter, match=words):
        install(folder, None, Authority().issue(key), key_pem(key))


def test_the_same_certificate_twice_is_refused(folder: Path) -> None:
    open_keys(folder)
    key = KEYS["es256"]()
    chain = Authority().issue(key)
    install(folder, None, chain, key_pem(key))
    with pytest.raises(InvalidParameter, match="in force already"):
        install(folder, None, chain, key_pem(key))


# ---- the command line


@pytest.fixture
def keys_command(tmp_path: Path) -> Callable[..., int]:
    settings = Settings(data=tmp_path / "data")

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        keys_cli.arguments(parser)
        return keys_cli.run(parser.parse_args(list(words)), settings)

    return run


def test_the_command_shows_what_is_signed_with_and_no_secret(
    keys_command: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = open_keys(folder)
    assert keys_command("show") == 0
    said = capsys.readouterr().out
    assert keys.signer in said
    assert "whoever can read your files can sign in your name" in said
    assert keys_command("show", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["encrypted"], facts["earlier mark keys"]) == (False, 0)
    assert "PRIVATE" not in said + json.dumps(facts)
    assert keys.watermark_key.hex() not in said + json.dumps(facts)


def test_the_command_rotates_installs_and_exports(
    keys_command: Callable[..., int], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_keys(folder)
    assert keys_command("rotate", "--mark") == 0
    key, root = KEYS["es256"](), Authority()
    (tmp_path / "own.pem").write_bytes(root.issue(key))
    (tmp_path / "own.key").write_bytes(key_pem(key))
    assert keys_command("install", str(tmp_path / "own.pem"), str(tmp_path / "own.key")) == 0
    assert "until it is started again" in capsys.readouterr().err
    keys = open_keys(folder)
    assert (len(keys.earlier), len(keys.earlier_marks), keys.signer) == (2, 1, "Example Desk")
    assert keys_command("export-ca", str(tmp_path / "ca.pem")) == 0
    assert (tmp_path / "ca.pem").read_text() == root.pem
    with pytest.raises(InvalidParameter, match="cannot be written"):
        keys_command("export-ca", str(tmp_path / "ca.pem"))
    with pytest.raises(InvalidParameter, match="cannot be read"):
        keys_command("install", str(tmp_path / "gone"), str(tmp_path / "own.key"))


def test_the_command_encrypts_with_the_passphrase_of_the_environment(
    keys_command: Callable[..., int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_keys(folder)
    monkeypatch.setenv(PASSPHRASE, SECRET)
    assert keys_command("encrypt") == 0
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(Unavailable, match="no passphrase was given"):
        keys_command("show")
    assert replace(open_keys(folder, SECRET), encrypted=False) == first


def test_without_a_terminal_nobody_is_asked(keys_command: Callable[..., int], folder: Path) -> None:
    open_keys(folder)
    with pytest.raises(SignetError, match="Nobody can be asked"):
        keys_command("encrypt")
