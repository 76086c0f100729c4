"""The one file with the secrets of an installation: written whole or not at all, in clear or under a passphrase.

In clear it is JSON with a checksum, for the owner alone (0600): who can read the owner's files can sign in the name of
the installation. Under a passphrase it is the same JSON, encrypted by AES-256-GCM with a key that scrypt (RFC 7914)
makes of the passphrase; 64 MiB and about a fifth of a second for each guess.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from filelock import FileLock, Timeout

from backend.errors import Unavailable
from safety.durable import force_folder

FILE = "installation.json"
PASSPHRASE = "SIGNET_KEY_PASSPHRASE"  # noqa: S105 - the name of the environment variable
_LOCK = "installation.lock"
_LOCK_SECONDS = 30
_UNFINISHED = ".new-"
_COST: Mapping[str, int] = {"n": 1 << 16, "r": 8, "p": 1}
_HIGHEST_COST = 1 << 18  # a damaged or planted file must not take all memory
_BACKUP = "Restore it from a backup. Moving it away starts a new identity that no longer knows earlier pictures."

Content = Mapping[str, Any]

log = logging.getLogger(__name__)


@contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """The path of the key file in `folder`, which is made if need be, closed to others, and ours while this lasts.

    Raises Unavailable if it cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=_LOCK_SECONDS, mode=0o600):
            _keep_private(folder, 0o700)
            for left in folder.glob(f"{_UNFINISHED}*"):  # of a process that was killed while it wrote
                left.unlink()
            path = folder / FILE
            if path.exists():
                _keep_private(path, 0o600)
            yield path
    except Timeout as error:
        raise Unavailable(f"Another process holds the keys in {folder}.", "Stop it, or wait, and try again.") from error
    except OSError as error:
        hint = "Signet must be able to write there; see `data` in the settings."
        raise Unavailable(f"The key folder {folder} cannot be used: {error.strerror}.", hint) from error


def _keep_private(path: Path, mode: int) -> None:
    """Take away what others may do. Raises PermissionError if the file belongs to somebody else."""
    if os.name != "posix":
        return
    if found := path.stat().st_mode & 0o777 & ~mode:
        log.warning("%s was open to others (%#o too much); closed now", path, found)
        path.chmod(mode)


def read(path: Path, passphrase: str | None) -> tuple[dict[str, Any], bool]:
    """(content, whether it was encrypted). Raises Unavailable for a missing or wrong passphrase or a damaged file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        encrypted = isinstance(found, dict) and "encrypted" in found
        if encrypted:
            if not passphrase:
                detail = "The keys of this installation are encrypted, and no passphrase was given."
                raise Unavailable(detail, f"Set {PASSPHRASE} in the environment, or start at a terminal to be asked.")
            found = json.loads(_decrypted(found["encrypted"], passphrase))
        if found.pop("sha256") != digest(found):
            raise ValueError("its checksum is wrong")
        return found, encrypted
    except InvalidTag as error:
        detail = f"The key file {path} does not open: the passphrase is wrong, or the file is damaged."
        raise Unavailable(detail, "Check the passphrase. Nothing was changed.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> Unavailable:
    detail = f"The key file {path} is damaged ({str(error)[:80] or type(error).__name__}). Nothing was changed."
    return Unavailable(detail, _BACKUP)


def digest(content: Content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write(path: Path, content: Content, passphrase: str | None) -> None:
    """Atomic: temp file, fsync, rename, fsync of the folder. mkstemp makes the file 0600 from the first byte."""
    whole = {**content, "sha256": digest(content)}
    stored = {"encrypted": _encrypted(json.dumps(whole).encode(), passphrase)} if passphrase else whole
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(stored, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    force_folder(path.parent)


def _encrypted(data: bytes, passphrase: str) -> dict[str, Any]:
    head = {"kdf": "scrypt", **_COST, "salt": secrets.token_hex(16), "cipher": "AES-256-GCM"}
    nonce = secrets.token_bytes(12)
    sealed = AESGCM(_key(head, passphrase)).encrypt(nonce, data, _bound(head))
    return {**head, "nonce": nonce.hex(), "data": base64.b64encode(sealed).decode()}


def _decrypted(stored: Content, passphrase: str) -> bytes:
    """Raises InvalidTag for another passphrase or a changed byte, ValueError and KeyError for what is no such box."""
    head = {name: stored[name] for name in ("kdf", *_COST, "salt", "cipher")}
    if (head["kdf"], head["cipher"]) != ("scrypt", "AES-256-GCM"):
        raise ValueError("it is encrypted in an unknown way")
    data = base64.b64decode(stored["data"], validate=True)
    return AESGCM(_key(head, passphrase)).decrypt(bytes.fromhex(stored["nonce"]), data, _bound(head))


def _key(head: Content, passphrase: str) -> bytes:
    n, r, p = (int(head[name]) for name in _COST)
    if n > _HIGHEST_COST or (r, p) != (_COST["r"], _COST["p"]):
        raise ValueError("its encryption asks for too much memory")
    return Scrypt(salt=bytes.fromhex(head["salt"]), length=32, n=n, r=r, p=p).derive(passphrase.encode())


def _bound(head: Content) -> bytes:
    """The header is not secret, but it must not be changed either."""
    return json.dumps(head, sort_keys=True).encode()
