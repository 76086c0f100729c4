"""The secrets of one installation: the key that signs pictures and the key that marks them.

Both live in one file, `installation.json`, so that they come to be together or not at all. The folder is for the owner
alone (0700), and so is the file (0600). The file is not encrypted: who can read the owner's files can sign in the name
of the installation. The certificate authority's own key is thrown away as soon as it has signed the one certificate.

All pictures of an installation carry the same certificate, so a stranger can tell that they belong together; there is
no name of a person in it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate, load_pem_x509_certificates
from cryptography.x509.oid import NameOID
from filelock import FileLock, Timeout

from backend.errors import Unavailable
from safety.certificates import issue_chain

FILE = "installation.json"
_LOCK = "installation.lock"
_LOCK_SECONDS = 30

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keys:
    """What an installation signs and marks with.

    `chain_pem` is the signing certificate followed by its authority, `ca_pem` the authority alone; `signer` and
    `serial` are the name and the number in the signing certificate. `key_pem` is the ES256 key that belongs to it
    (PKCS8), `watermark_key` 32 random bytes.
    """

    chain_pem: str
    ca_pem: str
    signer: str
    serial: int
    key_pem: str = field(repr=False)
    watermark_key: bytes = field(repr=False)


def open_keys(folder: Path) -> Keys:
    """The keys in `folder`, made on first use; every later call, in any process, gives the same ones.

    Raises Unavailable if the file is damaged or cannot be kept private. A damaged file is never replaced: a new key
    would silently disown every earlier picture.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=_LOCK_SECONDS, mode=0o600):
            _keep_private(folder, 0o700)
            path = folder / FILE
            if not path.exists():
                _write(path, _new_secrets())
            _keep_private(path, 0o600)
            return _read(path)
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


def _new_secrets() -> dict[str, str]:
    chain_pem, key_pem = issue_chain()
    return {"chain_pem": chain_pem, "key_pem": key_pem, "watermark_key": secrets.token_hex(32)}


def _digest(content: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: dict[str, str]) -> None:
    """Atomic: temp file, fsync, rename, fsync of the folder. mkstemp makes the file 0600 from the first byte."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({**content, "sha256": _digest(content)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    if os.name == "posix":
        opened = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _read(path: Path) -> Keys:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("sha256") != _digest(content):
            raise ValueError("its checksum is wrong")
        return _keys(content["chain_pem"], content["key_pem"], bytes.fromhex(content["watermark_key"]))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
        detail = f"The key file {path} is damaged ({str(error)[:80] or type(error).__name__}). Nothing was changed."
        hint = "Restore it from a backup. Moving it away starts a new identity that no longer knows earlier pictures."
        raise Unavailable(detail, hint) from error


def _keys(chain_pem: str, key_pem: str, watermark_key: bytes) -> Keys:
    """Raises ValueError or InvalidSignature unless the three parts fit together."""
    leaf, authority = load_pem_x509_certificates(chain_pem.encode())
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != leaf.public_key():
        raise ValueError("the key does not belong to the certificate")
    leaf.verify_directly_issued_by(authority)
    ca_pem = authority.public_bytes(serialization.Encoding.PEM).decode()
    return Keys(chain_pem, ca_pem, _common_name(leaf), leaf.serial_number, key_pem, watermark_key)


def _common_name(certificate: Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
