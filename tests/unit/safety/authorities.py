"""Authorities and certificates to order, for good ones and for everything that is wrong with the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
KEYS: dict[str, Any] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
}


def name(common: str, organisation: str | None = "Example Press") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def usage(*, sign: bool, issue: bool) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, False, issue, issue, False, False)


class Authority:
    """A root, or one issued by `above`."""

    def __init__(self, common: str = "Example Root", above: Authority | None = None) -> None:
        self.key: CertificateIssuerPrivateKeyTypes = ec.generate_private_key(ec.SECP256R1())
        self.subject = name(common)
        issuer, key = (above.subject, above.key) if above else (self.subject, self.key)
        self.certificate = (
            _builder(self.subject, issuer, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage(sign=False, issue=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.chain: tuple[x509.Certificate, ...] = (self.certificate, *(above.chain if above else ()))

    @property
    def pem(self) -> str:
        return pem(self.certificate).decode()

    def issue(
        self,
        key: Any,
        *,
        uses: tuple[ObjectIdentifier, ...] = (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
        organisation: str | None = "Example Press",
        days: tuple[int, int] = (-1, 900),
        ca: bool = False,
        sign: bool = True,
        issues: bool = False,
        akid: bool = True,
        serial: int | None = None,
        critical_use: bool = False,
    ) -> bytes:
        """The certificate and its chain as PEM."""
        made = _builder(name("Example Desk", organisation), self.subject, key.public_key(), days, serial)
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        made = made.add_extension(usage(sign=sign, issue=issues), critical=True)
        if uses:
            made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=critical_use)
        if akid:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key())  # type: ignore[arg-type]
            made = made.add_extension(identifier, critical=False)
        leaf = made.sign(self.key, hashes.SHA256())
        return pem(leaf) + b"".join(pem(each) for each in self.chain)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, days: tuple[int, int] = (-2, 4000), serial: int | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Any, passphrase: str | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
