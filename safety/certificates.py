"""A certificate chain for one installation: an authority of its own and the one certificate that it signs.

C2PA refuses a bare self-signed certificate, and asks of a signing certificate: an organisation, version 3, key usage
digitalSignature alone, an accepted extended use (emailProtection), both key identifiers, and no authority of its own.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANISATION = "Signet installation"
# Without a time stamp from the network a file counts as invalid once its certificate has run out, hence ten years.
_LEAF = timedelta(days=3652)
_AUTHORITY = timedelta(days=7305)
# A clock that is set back by hours must not make the certificate "not yet valid".
_BACKDATED = timedelta(days=1)


def issue_chain(now: datetime | None = None) -> tuple[str, str]:
    """(signing certificate and its authority as PEM, private key as PKCS8 PEM), P-256 with SHA-256.

    The common name ends in the first eight hex digits of the key's fingerprint, so that people can tell two
    installations apart. The authority's private key is not returned: nobody can issue a second certificate.
    """
    start = (now or datetime.now(UTC)) - _BACKDATED
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = f"{ORGANISATION} {_fingerprint(key)}"
    issuer, subject = _name(f"{name} authority"), _name(name)
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), start, _AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(issues=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        _builder(subject, issuer, key.public_key(), start, _LEAF)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(issues=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (leaf, authority))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain.decode(), private.decode()


def _fingerprint(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()[:8]


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, issues: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )
