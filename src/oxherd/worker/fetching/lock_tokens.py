"""The lock tokens of one queue's worker."""

from __future__ import annotations

from oxherd.worker.identity import Identity


class LockTokens:
    """Hands out lock tokens, and reuses them: script arguments are packed once for each token."""

    def __init__(self, identity: Identity) -> None:
        self.worker_id = identity.id
        self._numbers = identity.token_numbers
        self._spare: list[str] = []

    def acquire(self) -> str:
        """A token that locks nothing."""
        return self._spare.pop() if self._spare else f"{self.worker_id}:{next(self._numbers)}"

    def release(self, token: str) -> None:
        """Reuse a token that certainly locks nothing any more."""
        self._spare.append(token)
