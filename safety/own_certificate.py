"""A certificate that the owner brings: everything that C2PA would refuse is found here first, and said in plain words.

After C2PA 2.4, section 14.5 (X.509 certificates): version 3, a signing key of an allowed kind and size, modern
signatures, key usage digitalSignature, an accepted extended use, an organisation's name, an authority key identifier,
not an authority itself and not signed by itself. What the rules leave open is settled by trying: safety.provenance
signs a trifle with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from backend.errors import InvalidParameter

EXTENDED_USES: Mapping[str, str] = {
    "1.3.6.1.4.1.62558.2.1": "C2PA claim signing",
    "1.3.6.1.5.5.7.3.4": "e-mail protection",
    "1.3.6.1.5.5.7.3.36": "document signing",
    "1.3.6.1.4.1.311.76.59.1.9": "C2PA signing, Microsoft's number",
}
"""Extended key usages with which a certificate may sign Content Credentials."""
_ANY_USE = "2.5.29.37.0"
_CURVES: Mapping[str, str] = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_SMALLEST_RSA, _LARGEST_RSA = 2048, 16384
_HASHES = ("sha256", "sha384", "sha512")
_LONGEST_CHAIN = 8
_FIELD = "certificate"

Kind = TypeVar("Kind", bound=x509.ExtensionType)


def prepared(
    chain_pem: bytes, key_pem: bytes, passphrase: str | None = None, now: datetime | None = None
) -> tuple[str, str, str]:
    """(chain as PEM, key as PKCS8 PEM, C2PA's name of the algorithm), proven to fit together and the rules.

    `passphrase` opens the key file where it is encrypted. Raises InvalidParameter that says what is wrong.
    """
    chain, key = _chain(chain_pem), _key(key_pem, passphrase)
    algorithm = _algorithm(key)
    if key.public_key() != chain[0].public_key():
        raise _refused("The private key does not belong to the first certificate of the file.", _ORDER)
    _check_order(chain)
    for index, certificate in enumerate(chain):
        _check_dates(certificate, now or datetime.now(UTC), "certificate" if not index else "authority")
        _check_signature(certificate)
    for check in _LEAF_CHECKS:
        check(chain[0])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
    return pem.decode(), private.decode(), algorithm


_ORDER = "Put the signing certificate first, then the authority that issued it, and so on up to the root."


def _refused(detail: str, hint: str) -> InvalidParameter:
    return InvalidParameter(_FIELD, detail, hint)


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise _refused("The file holds no certificate in PEM format.", "PEM is text: BEGIN CERTIFICATE.") from error
    if not 2 <= len(found) <= _LONGEST_CHAIN:
        detail = f"The file holds {len(found)} certificate{'s' if len(found) > 1 else ''}."
        raise _refused(detail, f"2 to {_LONGEST_CHAIN} are needed. {_ORDER}")
    return found


def _key(pem: bytes, passphrase: str | None) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    except TypeError as error:  # encrypted and no passphrase, or the other way round
        if passphrase:
            return _key(pem, None)
        raise InvalidParameter("key", "The private key is encrypted.", "Give its passphrase.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        detail = "The private key cannot be read: no PEM, an unknown kind, or a wrong passphrase."
        raise InvalidParameter("key", detail, "Give a PKCS8 key in PEM format.") from error


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        if _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
            return "ps256"
        detail = f"The RSA key has {key.key_size} bits; C2PA wants {_SMALLEST_RSA} to {_LARGEST_RSA}."
        raise InvalidParameter("key", detail, "Ask for a certificate with a larger key, or one on the curve P-256.")
    hint = "C2PA allows the curves P-256, P-384 and P-521, RSA from 2048 bits, and Ed25519."
    raise InvalidParameter("key", "C2PA does not allow keys of this kind.", hint)


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    if chain[0].subject == chain[0].issuer:
        hint = "Use one that an authority issued; `keys rotate` makes an authority of its own."
        raise _refused("The certificate is signed by itself, which C2PA refuses.", hint)
    for each, issuer in pairwise(chain):
        try:
            each.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            detail = f'"{_name(each)}" was not issued by the one after it, "{_name(issuer)}".'
            raise _refused(detail, _ORDER) from error


def _check_dates(certificate: x509.Certificate, now: datetime, what: str) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > last:
        raise _refused(f'The {what} "{_name(certificate)}" ran out on {last:%Y-%m-%d}.', "Use one that is valid now.")
    if now < first:
        detail = f'The {what} "{_name(certificate)}" is valid from {first:%Y-%m-%d} on, which is still to come.'
        raise _refused(detail, "Check the clock of this machine, or wait.")


def _check_signature(certificate: x509.Certificate) -> None:
    used = certificate.signature_hash_algorithm
    if used is not None and used.name not in _HASHES:
        detail = f'"{_name(certificate)}" is signed with {used.name.upper()}, which C2PA refuses.'
        raise _refused(detail, "Use a chain that is signed with SHA-256, SHA-384 or SHA-512.")


def _check_version(leaf: x509.Certificate) -> None:
    if leaf.version is not x509.Version.v3:
        raise _refused("The certificate is of version 1.", "C2PA wants version 3.")


def _check_authority(leaf: x509.Certificate) -> None:
    found = _extension(leaf, x509.BasicConstraints)
    if found and found.ca:
        raise _refused("The first certificate is that of an authority.", f"It cannot sign pictures. {_ORDER}")


def _check_usage(leaf: x509.Certificate) -> None:
    found = _extension(leaf, x509.KeyUsage)
    if found is None or not found.digital_signature:
        detail = "The certificate is not for digital signatures (its key usage does not say so)."
        raise _refused(detail, "Ask for one with the key usage digitalSignature.")
    if found.key_cert_sign:
        detail = "The certificate may issue others (keyCertSign), which C2PA refuses for a signing certificate."
        raise _refused(detail, "Ask for one with the key usage digitalSignature alone.")


def _check_extended_usage(leaf: x509.Certificate) -> None:
    found = _extension(leaf, x509.ExtendedKeyUsage)
    names = [use.dotted_string for use in found] if found else []
    if _ANY_USE in names:
        detail = "The certificate is for any use (anyExtendedKeyUsage), which C2PA refuses."
        raise _refused(detail, f"Ask for one for: {', '.join(EXTENDED_USES.values())}.")
    if not set(names) & EXTENDED_USES.keys():
        found_uses = ", ".join(names) or "none"
        detail = f"The certificate is not for signing Content Credentials (extended key usage: {found_uses})."
        raise _refused(detail, f"It must be for one of: {', '.join(EXTENDED_USES.values())}.")


def _check_names(leaf: x509.Certificate) -> None:
    if not leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME):
        raise _refused("The certificate names no organisation (O=).", "C2PA shows it as the signer; it must be there.")
    if _extension(leaf, x509.AuthorityKeyIdentifier) is None:
        raise _refused("The certificate has no authority key identifier.", "C2PA wants one; ask the authority for it.")


_LEAF_CHECKS: tuple[Callable[[x509.Certificate], None], ...] = (
    _check_version,
    _check_authority,
    _check_usage,
    _check_extended_usage,
    _check_names,
)


def _extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        detail = f"The certificate is malformed ({str(error)[:80]})."
        raise _refused(detail, "Ask the authority for another.") from error


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:120] or "a certificate without a name"
