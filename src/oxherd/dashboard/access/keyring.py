"""Tokens, and the sessions that they sign (RFC 6265 cookies)."""

from __future__ import annotations

import hmac
import secrets
import stat
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from oxherd.dashboard.access.user import Role, User
from oxherd.errors import ConfigError

LEAST_CHARACTERS = 20
SESSION_SECONDS = 12 * 3600
_LONGEST = 500


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A token, and who has it."""

    token: str
    user: User


class Keyring:
    """The tokens that are known. Every one is compared, so that the time of an answer tells none of them."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    @classmethod
    def of_token(cls, token: str) -> Keyring:
        """One token, of an operator; raises ConfigError."""
        return cls([Key(_checked(token), User("operator", Role.OPERATOR, signed_in=True))])

    @classmethod
    def of_file(cls, path: Path) -> Keyring:
        """The tokens of a file that nobody else may read, as `of_lines` takes them; raises ConfigError."""
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"--token-file cannot be read ({type(error).__name__}): name a text file.") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError("--token-file can be read by others: chmod 600 it.")
        return cls.of_lines(text, "--token-file")

    @classmethod
    def of_lines(cls, text: str, source: str) -> Keyring:
        """The tokens of a text: a line has `TOKEN`, or `NAME ROLE TOKEN` with viewer or operator as the role.

        Raises:
            ConfigError: a line is neither, a token is there twice, or there is none; it names the source.
        """
        lines = enumerate(text.splitlines(), 1)
        keys = [_key(line.split(), f" (line {number} of {source})") for number, line in lines if _holds_token(line)]
        if not keys:
            raise ConfigError(f"{source} holds no token: write one, of 20 characters or more, on a line.")
        if len({key.token for key in keys}) < len(keys):
            raise ConfigError(f"{source} has a token twice: each user needs one of their own.")
        return cls(keys)

    def user(self, token: str) -> User | None:
        """Who has a token."""
        given, found = token.encode("utf-8", "replace"), None
        for key in self._keys:
            if hmac.compare_digest(key.token.encode(), given):
                found = key.user
        return found

    def session(self, token: str) -> str:
        """What a cookie holds for whoever has signed in with a token; the token is not in it."""
        claim = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return f"{claim}.{_signature(token, claim)}"

    def session_user(self, session: str) -> User | None:
        """Whose session it is; None if it is nobody's, or is over."""
        claim, _, signature = session.rpartition(".")
        found = None
        for key in self._keys:
            if hmac.compare_digest(_signature(key.token, claim).encode(), signature.encode("utf-8", "replace")):
                found = key.user
        if found is None:
            return None
        return found if time.time() < int(claim.split(".")[0]) else None


def _signature(token: str, claim: str) -> str:
    return hmac.new(token.encode(), f"oxherd dashboard session {claim}".encode("utf-8", "replace"), sha256).hexdigest()


def _holds_token(line: str) -> bool:
    return bool(line.strip()) and line[0] != "#"


def _key(words: list[str], where: str) -> Key:
    if len(words) == 1:
        return Key(_checked(words[0], where), User("operator", Role.OPERATOR, signed_in=True))
    if len(words) != 3 or words[1] not in tuple(Role):
        raise ConfigError(f"A line is TOKEN, or NAME ROLE TOKEN with the role viewer or operator{where}.")
    return Key(_checked(words[2], where), User(words[0][:100], Role(words[1]), signed_in=True))


def _checked(token: str, where: str = "") -> str:
    if not isinstance(token, str) or not LEAST_CHARACTERS <= len(token) <= _LONGEST or not token.isascii():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"A token has {LEAST_CHARACTERS} to {_LONGEST} ASCII characters{where}: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one.'
        )
    return token
