"""Changing the keys of an installation: a new identity, a certificate of one's own, another passphrase.

Every change reads the file, makes the new one, proves that it works, and puts it in place in one step; whatever fails
before that leaves the old one untouched. A running studio goes on with what it has read until it is started again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.errors import InvalidParameter
from safety import keyfile
from safety.certificates import issue_chain
from safety.keys import Keys, keys_of
from safety.own_certificate import prepared
from safety.provenance import try_out

_SHORTEST_PASSPHRASE = 12
_OWN = ("chain_pem", "key_pem", "algorithm")

Change = Callable[[dict[str, Any]], dict[str, Any]]


def rotate(folder: Path, passphrase: str | None, *, mark: bool = False) -> Keys:
    """A new certificate with a new key; with `mark` a new key for the marks too.

    The old certificate stays known and its private key is destroyed; an old key of marks is kept, for reading. Each
    one makes the search for a mark longer and its p-value larger, so change it only if it may have leaked.
    """

    def change(content: dict[str, Any]) -> dict[str, Any]:
        chain_pem, key_pem = issue_chain()
        new = _with_identity(content, {"chain_pem": chain_pem, "key_pem": key_pem})
        if mark:
            new["earlier_watermark_keys"] = [content["watermark_key"], *content.get("earlier_watermark_keys", ())]
            new["watermark_key"] = secrets.token_hex(32)
        return new

    return _changed(folder, passphrase, change)


def install(
    folder: Path, passphrase: str | None, chain_pem: bytes, key_pem: bytes, key_passphrase: str | None = None
) -> Keys:
    """Sign with a certificate of one's own from now on. Raises InvalidParameter for what C2PA would refuse."""
    chain, key, algorithm = prepared(chain_pem, key_pem, key_passphrase)

    def change(content: dict[str, Any]) -> dict[str, Any]:
        if content["chain_pem"] == chain:
            raise InvalidParameter("certificate", "This certificate is in force already.", "Nothing was changed.")
        return _with_identity(content, {"chain_pem": chain, "key_pem": key, "algorithm": algorithm})

    return _changed(folder, passphrase, change)


def encrypt(folder: Path, passphrase: str | None, new: str) -> Keys:
    """Put the file under the passphrase `new`, whether it lay open or under another. Raises InvalidParameter for a
    passphrase that could be guessed in no time."""
    if len(new) < _SHORTEST_PASSPHRASE or len(set(new)) < 5:
        detail = f"The passphrase is too weak: at least {_SHORTEST_PASSPHRASE} characters, not all alike."
        raise InvalidParameter("passphrase", detail, "Five or six words drawn at random are a good one.")
    return _changed(folder, passphrase, dict, new)


def _with_identity(content: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in content.items() if name not in _OWN}
    return {**kept, **own, "earlier": [content["chain_pem"], *content.get("earlier", ())]}


def _changed(folder: Path, passphrase: str | None, change: Change, new_passphrase: str | None = None) -> Keys:
    with keyfile.private_folder(folder) as path:
        content, encrypted = keyfile.read(path, passphrase)
        new = change(content)
        secret = new_passphrase or (passphrase if encrypted else None)
        keys = keys_of(new, path, encrypted=secret is not None)
        try_out(keys.identities[0], keys.key_pem, keys.algorithm)
        keyfile.write(path, new, secret)
        return keys
