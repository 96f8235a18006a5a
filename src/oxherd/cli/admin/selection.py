"""Which events a command is about, as its arguments and options say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from oxherd.admin.selection import SelectionOptions
from oxherd.errors import UsageError
from oxherd.wording import parse_moment


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The options that narrow a selection; None for those that are not given."""

    error: str | None = None
    error_type: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def given(self) -> bool:
        """Whether any is given."""
        return self != Narrowing()

    def options(self) -> SelectionOptions:
        """As `herd.admin` takes them. Raises UsageError for a time that is none."""
        found = SelectionOptions()
        if self.error is not None:
            found["error"] = self.error
        if self.error_type is not None:
            found["error_type"] = self.error_type
        if self.since is not None:
            found["since"] = parse_moment(self.since, "--since")
        if self.until is not None:
            found["until"] = parse_moment(self.until, "--until")
        return found

    def words(self) -> list[str]:
        """As the command's arguments, for another command that goes on; without `--until`."""
        given = (("--error", self.error), ("--error-type", self.error_type), ("--since", self.since))
        return [word for option, value in given if value is not None for word in (option, value)]

    def in_words(self, state: str) -> str:
        """For the audit log, which keeps no text that errors were searched for."""
        words = [state.replace("_", " ")]
        words += [f"error type {self.error_type}"] if self.error_type else []
        words += ["an error text"] if self.error else []
        words += [f"{name} {text}" for name in ("since", "until") if (text := getattr(self, name))]
        return ", ".join(words)


def ids_in_words(count: int) -> str:
    """So many UUIDs, for the audit log."""
    return f"{count:,} UUID{'s' if count != 1 else ''}"


def split_words(words: Sequence[str]) -> tuple[str | None, list[UUID]]:
    """An event's name, if there is one, and UUIDs.

    Raises:
        UsageError: there is more than one name.
    """
    ids: list[UUID] = []
    names: list[str] = []
    for word in words:
        try:
            ids.append(UUID(word))
        except ValueError:
            names.append(word)
    if len(names) > 1:
        raise UsageError("One event at a time, and UUIDs as they are in the log: one of the arguments is neither.")
    return (names[0] if names else None), ids
