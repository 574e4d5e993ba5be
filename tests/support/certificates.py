"""Certificates for listeners that speak TLS."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey as PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


def write_certificate(certificate: Path, key: Path, address: str = LOOPBACK) -> None:
    """A certificate for an address, signed by itself, with its key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    _write(_for_address(address, secret, "node").sign(secret, SHA256()), certificate)
    _write_key(secret, key)


def make_authority(directory: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate by it for the loopback address: authority, it, its key."""
    authority_secret, secret = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_secret.public_key())
    authority = (
        _builder("authority", "authority", authority_secret)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_certificates(), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_secret, SHA256())
    )
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    signed = (
        _for_address(LOOPBACK, secret, "authority")
        .add_extension(by, critical=False)
        .sign(authority_secret, SHA256())
    )
    files = directory / "ca.pem", directory / "node.pem", directory / "node.key"
    _write(authority, files[0])
    _write(signed, files[1])
    _write_key(secret, files[2])
    return files


def _builder(subject: str, issuer: str, secret: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _for_address(address: str, secret: PrivateKey, issuer: str) -> x509.CertificateBuilder:
    places = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    return _builder("node", issuer, secret).add_extension(places, critical=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _write(certificate: x509.Certificate, path: Path) -> None:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


def _write_key(secret: PrivateKey, path: Path) -> None:
    path.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
