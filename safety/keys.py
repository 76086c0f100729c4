"""The secrets of one installation: the key that signs pictures and the key that marks them.

Both live in one file (safety.keyfile), so that they come to be together or not at all. The certificate authority's own
key is thrown away as soon as it has signed the one certificate.

When keys are changed the new ones take over and the old ones stay known: of a retired signing key the certificate, so
that its pictures still count as ours, but not the key itself; of a retired mark the key, without which it cannot be
read.

All pictures of an installation carry the same certificate, so a stranger can tell that they belong together; in one
that was made here there is no name of a person.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509 import Certificate, load_pem_x509_certificates
from cryptography.x509.oid import NameOID

from safety import keyfile
from safety.certificates import issue_chain
from safety.keyfile import FILE, PASSPHRASE

__all__ = ["FILE", "PASSPHRASE", "Identity", "Keys", "identity", "keys_of", "new_secrets", "open_keys"]

DEFAULT_ALGORITHM = "es256"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate of ours: `chain_pem` is the signing certificate followed by its authorities, `ca_pem` the last of
    them; `signer` and `serial` are the name and the number in the signing certificate."""

    chain_pem: str
    ca_pem: str
    signer: str
    serial: int


@dataclass(frozen=True, slots=True)
class Keys:
    """What an installation signs and marks with.

    The first four fields are those of the Identity in force. `key_pem` is the key that belongs to it (PKCS8),
    `algorithm` how it signs (C2PA's names, such as "es256"), `watermark_key` 32 random bytes. `earlier` and
    `earlier_marks` are what was in force before, the newest first; `encrypted` tells how the file lies on the disk.
    """

    chain_pem: str
    ca_pem: str
    signer: str
    serial: int
    key_pem: str = field(repr=False)
    watermark_key: bytes = field(repr=False)
    algorithm: str = DEFAULT_ALGORITHM
    earlier: tuple[Identity, ...] = ()
    earlier_marks: tuple[bytes, ...] = field(default=(), repr=False)
    encrypted: bool = False

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Every certificate whose pictures are ours, the one in force first."""
        return (Identity(self.chain_pem, self.ca_pem, self.signer, self.serial), *self.earlier)

    @property
    def watermark_keys(self) -> tuple[bytes, ...]:
        """Every key under which a mark may be ours, the one in force first."""
        return (self.watermark_key, *self.earlier_marks)


def open_keys(folder: Path, passphrase: str | None = None) -> Keys:
    """The keys in `folder`, made on first use; every later call, in any process, gives the same ones.

    Without `passphrase` that of the environment counts (SIGNET_KEY_PASSPHRASE); with one, new keys are encrypted from
    their first byte on.

    Raises Unavailable if the file is damaged, does not open or cannot be kept private. A damaged file is never
    replaced: a new key would silently disown every earlier picture.
    """
    passphrase = passphrase or os.environ.get(PASSPHRASE)
    with keyfile.private_folder(folder) as path:
        if not path.exists():
            keyfile.write(path, new_secrets(), passphrase)
        content, encrypted = keyfile.read(path, passphrase)
        return keys_of(content, path, encrypted=encrypted)


def new_secrets() -> dict[str, Any]:
    """A fresh identity and a fresh mark, as the content of a key file."""
    chain_pem, key_pem = issue_chain()
    return {"chain_pem": chain_pem, "key_pem": key_pem, "watermark_key": secrets.token_hex(32)}


def keys_of(content: keyfile.Content, path: Path, *, encrypted: bool) -> Keys:
    """The content of a key file as Keys. Raises Unavailable unless its parts fit together."""
    try:
        chain_pem, key_pem = content["chain_pem"], content["key_pem"]
        now = identity(chain_pem)
        leaf = load_pem_x509_certificates(chain_pem.encode())[0]
        if private_key(key_pem).public_key() != leaf.public_key():
            raise ValueError("the key does not belong to the certificate")
        return Keys(
            chain_pem=now.chain_pem,
            ca_pem=now.ca_pem,
            signer=now.signer,
            serial=now.serial,
            key_pem=key_pem,
            watermark_key=bytes.fromhex(content["watermark_key"]),
            algorithm=content.get("algorithm", DEFAULT_ALGORITHM),
            earlier=tuple(identity(each) for each in content.get("earlier", ())),
            earlier_marks=tuple(bytes.fromhex(each) for each in content.get("earlier_watermark_keys", ())),
            encrypted=encrypted,
        )
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
        raise keyfile.damaged(path, error) from error


def identity(chain_pem: str) -> Identity:
    """Raises ValueError or InvalidSignature unless each certificate was issued by the one after it."""
    chain = load_pem_x509_certificates(chain_pem.encode())
    if len(chain) < 2:
        raise ValueError("the certificate stands without its authority")
    for each, issuer in pairwise(chain):
        each.verify_directly_issued_by(issuer)
    ca_pem = chain[-1].public_bytes(serialization.Encoding.PEM).decode()
    return Identity(chain_pem, ca_pem, common_name(chain[0]), chain[0].serial_number)


def private_key(key_pem: str) -> PrivateKeyTypes:
    return serialization.load_pem_private_key(key_pem.encode(), password=None)


def common_name(certificate: Certificate) -> str:
    """The name of its holder; of the organisation where there is none of its own."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := certificate.subject.get_attributes_for_oid(kind):
            return str(found[0].value)
    return "unnamed"
