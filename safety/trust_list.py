"""The owner's trust list: certificates of authorities in a folder, one or more to a .pem file.

Whoever signs under one of them counts as trusted here. That is the owner's judgement and nobody else's: the public C2PA
trust list can be put there, or the authority of one's own company.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_LARGEST = 4 << 20
_MOST_FILES = 200

log = logging.getLogger(__name__)


def trust_list(folder: Path) -> tuple[str, ...]:
    """The authorities in `folder` as PEM, each once; empty without a folder.

    A file that is no list of authorities is left out and named in the log: a damaged list must make nothing trusted.
    """
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.pem"))[:_MOST_FILES] if folder.is_dir() else ():
        try:
            found |= dict.fromkeys(_authorities(path))
        except (OSError, ValueError) as error:
            log.warning("%s is not taken into the trust list: %s", path, error)
    return tuple(found)


def _authorities(path: Path) -> Iterator[str]:
    if path.stat().st_size > _LARGEST:
        raise ValueError("the file is too large")
    for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
        if _is_authority(certificate):
            yield certificate.public_bytes(Encoding.PEM).decode()
        else:
            log.warning("%s: %s is no authority and is left out", path, certificate.subject.rfc4514_string()[:120])


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
