"""TLS: certificates and host names are verified unless the URL says otherwise, and what goes wrong is told in words."""

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


def tls_arguments(url: RedisURL) -> dict[str, Any]:
    """redis-py's TLS arguments."""
    files = {name: url.option(name) for name in _FILES}
    requirement = url.option("ssl_cert_reqs") or "required"
    return {
        **files,
        "ssl_cert_reqs": requirement,
        "ssl_check_hostname": requirement != "none" and url.option("ssl_check_hostname") not in _NO,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        # OpenSSL would ask the terminal for the password of a key that has one.
        "ssl_password": "",
    }


def check_tls(url: RedisURL) -> None:
    """Look at the certificates that a URL names, before they are needed.

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


def explained(error: Exception) -> Exception:
    """The failure of a TLS connection as an error that names the remedy; another failure as it is."""
    cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        told = _distrust(cause.verify_code, cause.verify_message.rstrip("."))
    elif isinstance(cause, ssl.SSLError):
        told = _refusal(cause.reason or "")
    elif isinstance(cause, ConnectionResetError | BrokenPipeError):
        told = f"it ended the TLS connection, as it does where {_WANTS_CERTIFICATE}"
    elif isinstance(error, TimeoutError | RedisTimeoutError):
        told = f"there is no TLS handshake in time, as where {_NO_TLS}"
    else:
        return error
    return RedisConnectionError(told)


_WANTS_CERTIFICATE = "it wants a client certificate that it trusts: give the URL ssl_certfile and ssl_keyfile"
_NO_TLS = "it does not speak TLS: give the URL its TLS port, or a scheme without TLS"


def _distrust(code: int, reason: str) -> str:
    if code in _UNTRUSTED:
        return f"nobody whom we trust has signed its certificate ({reason}): give the URL its CA, ssl_ca_certs"
    if code in _OTHER_NAME:
        return f"its certificate is for another name ({reason}): give the URL a name that it is for"
    if code in (_EXPIRED, _NOT_YET_VALID):
        return f"its {reason}: give it another, and look at the clocks"
    return f"its certificate is refused ({reason}): give it another"


def _refusal(reason: str) -> str:
    if "VERSION" in reason and "ALERT" in reason:
        return f"it speaks an old TLS only ({reason}): let it speak TLS 1.2 or later"
    if "ALERT" in reason:
        return f"it ended the TLS handshake ({reason}), as it does where {_WANTS_CERTIFICATE}"
    return f"there is no TLS handshake ({reason}), as where {_NO_TLS}"


def _reason(error: Exception) -> str:
    text = error.reason if isinstance(error, ssl.SSLError) else str(error)
    return (text or type(error).__name__).rstrip(".")
