"""TLS: certificates and host names are verified unless the URL says otherwise; failures name their remedy."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, cast

from redis.asyncio.connection import RedisSSLContext
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from oxherd.errors import ConfigError
from oxherd.redis.url import RedisURL

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_NO = frozenset({"false", "no", "0"})
# OpenSSL's codes of verification (X509_V_ERR_...).
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = (18, 19, 20, 21)
_OTHER_NAME = (62, 64)
# What only X509_V_FLAG_X509_STRICT asks for, which Python's default context sets from 3.13 on.
_STRICT = range(80, 95)


class TLSFailure(RedisConnectionError):
    """A TLS connection could not be made; the message says what to do."""


def tls_arguments(url: RedisURL) -> dict[str, Any]:
    """redis-py's TLS arguments."""
    files = {name: url.option(name) for name in _FILES}
    requirement = url.option("ssl_cert_reqs") or "required"
    return {
        **files,
        "ssl_cert_reqs": requirement,
        "ssl_check_hostname": requirement != "none" and url.option("ssl_check_hostname") not in _NO,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        # Else OpenSSL would ask the terminal for the password of an encrypted key.
        "ssl_password": "",
    }


def check_tls(url: RedisURL) -> None:
    """Load the certificates that a URL names, before they are needed.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    if not url.tls:
        return
    for name in _FILES:
        path = url.option(name)
        try:
            if path is not None:
                Path(path).open("rb").close()
        except OSError as error:
            raise ConfigError(
                f"{name} in the Redis URL names {path}, which cannot be read ({error.strerror}); name a PEM file."
            ) from None
    arguments = {name.removeprefix("ssl_"): value for name, value in tls_arguments(url).items()}
    try:
        cast("Any", RedisSSLContext(**arguments)).get()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The certificates in the Redis URL cannot be used ({_reason(error)}); give PEM files: ssl_ca_certs, and "
            "ssl_certfile with its ssl_keyfile, which has no password."
        ) from None


def with_remedy(error: Exception) -> Exception:
    """The failure of a TLS connection as an error that names the remedy; other errors unchanged."""
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = _distrust(cause.verify_code, cause.verify_message.rstrip("."))
    elif isinstance(cause, ssl.SSLError):
        reason = _refusal(cause.reason or "")
    elif isinstance(cause, ConnectionResetError | BrokenPipeError):
        reason = f"it ended the TLS connection, as it does when {_WANTS_CERTIFICATE}"
    elif isinstance(error, TimeoutError | RedisTimeoutError):
        reason = f"the TLS handshake timed out, as it does when {_NO_TLS}"
    else:
        return error
    return TLSFailure(reason)


_WANTS_CERTIFICATE = "it wants a client certificate that it trusts: add ssl_certfile and ssl_keyfile to the URL"
_NO_TLS = "it does not speak TLS: use its TLS port in the URL, or a scheme without TLS"


def _distrust(code: int, reason: str) -> str:
    if code in _UNTRUSTED:
        return f"no trusted CA has signed its certificate ({reason}): add its CA to the URL, as ssl_ca_certs"
    if code in _OTHER_NAME:
        return f"its certificate is for another name ({reason}): use a name in the URL that it is for"
    if code in (_EXPIRED, _NOT_YET_VALID):
        return f"its {reason}: replace it, and check the clocks"
    rule = "breaks RFC 5280, which Python enforces from 3.13 on" if code in _STRICT else "is rejected"
    return f"its certificate, or a CA's that has signed it, {rule} ({reason}): issue that one anew"


def _refusal(reason: str) -> str:
    if "VERSION" in reason and "ALERT" in reason:
        return f"it speaks only an old TLS ({reason}): enable TLS 1.2 or later"
    if "ALERT" in reason:
        return f"it ended the TLS handshake ({reason}), as it does when {_WANTS_CERTIFICATE}"
    return f"the TLS handshake failed ({reason}), as it does when {_NO_TLS}"


def _reason(error: Exception) -> str:
    text = error.reason if isinstance(error, ssl.SSLError) else str(error)
    return (text or type(error).__name__).rstrip(".")
