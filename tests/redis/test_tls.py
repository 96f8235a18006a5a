"""What a refused TLS handshake tells: each defect of a certificate by its name, with the remedy."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from oxherd.redis.error_mapping import unreachable
from oxherd.redis.tls import with_remedy
from tests.security.certificates import Authority, Certificate

STRICT = "breaks RFC 5280, which Python enforces from 3.13 on"
Issue = Callable[[Path], tuple[Certificate, Path]]


def by(authority: Authority, certificate: Certificate) -> tuple[Certificate, Path]:
    return certificate, authority.certificate


def of_a_ca_without(extension: type[x509.ExtensionType]) -> Issue:
    def issue(folder: Path) -> tuple[Certificate, Path]:
        authority = Authority(folder, without=extension)
        return by(authority, authority.issue("server"))

    return issue


def without_an_issuer(folder: Path) -> tuple[Certificate, Path]:
    authority = Authority(folder)
    return by(authority, authority.issue("server", without=x509.AuthorityKeyIdentifier))


def without_a_name(folder: Path) -> tuple[Certificate, Path]:
    authority = Authority(folder)
    return by(authority, authority.issue("server", without=x509.SubjectAlternativeName))


def for_clients(folder: Path) -> tuple[Certificate, Path]:
    authority = Authority(folder)
    return by(authority, authority.issue("server", usage=ExtendedKeyUsageOID.CODE_SIGNING))


def expired(folder: Path) -> tuple[Certificate, Path]:
    authority = Authority(folder)
    return by(authority, authority.issue("server", ends=-dt.timedelta(hours=1)))


def of_another_ca(folder: Path) -> tuple[Certificate, Path]:
    return Authority(folder).issue("server"), Authority(folder, "other-ca").certificate


@pytest.mark.parametrize(
    ("issue", "told", "remedy"),
    [
        (without_an_issuer, f"{STRICT} (Missing Authority Key Identifier)", "issue that one anew"),
        (
            of_a_ca_without(x509.SubjectKeyIdentifier),
            f"{STRICT} (Missing Subject Key Identifier)",
            "issue that one anew",
        ),
        (of_a_ca_without(x509.KeyUsage), f"{STRICT} (CA cert does not include key usage", "issue that one anew"),
        (
            of_a_ca_without(x509.BasicConstraints),
            "a CA's that has signed it, is rejected (invalid CA",
            "issue that one",
        ),
        (for_clients, "is rejected (unsuitable certificate purpose)", "issue that one anew"),
        (without_a_name, "its certificate is for another name", "use a name in the URL that it is for"),
        (expired, "its certificate has expired", "check the clocks"),
        (of_another_ca, "no trusted CA has signed its certificate", "ssl_ca_certs"),
    ],
)
def test_a_defect_of_a_certificate_is_named_with_its_remedy(
    issue: Issue, told: str, remedy: str, tmp_path: Path
) -> None:
    error = with_remedy(refusal(*issue(tmp_path)))
    message = str(unreachable("127.0.0.1:6379", error, maybe_applied=False))
    assert told in message
    assert remedy in message
    assert "check the server" not in message


def refusal(certificate: Certificate, trusted: Path) -> ssl.SSLCertVerificationError:
    """Why a client that verifies strictly, as Python 3.13's does, refuses a server's certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.certificate, certificate.key)
    client = ssl.create_default_context(cafile=trusted)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname="127.0.0.1")
    theirs = server.wrap_bio(there, back, server_side=True)
    for end in (ours, theirs):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        ours.do_handshake()
    return caught.value
