"""Keyrings: one key seals, all open, and none appears in a repr, an error or a traceback's variables."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oxherd
from oxherd import ConfigError, DeclarationError, Keyring
from oxherd.payload.keyring import CannotOpen, key_name
from tests.tracebacks import text_of

CANARY = "kanarie7391"
NEW = CANARY.encode().ljust(32, b"n")
OLD = CANARY.encode().ljust(32, b"o")
RING = Keyring({"2026-11": NEW, "2026-10": OLD})
SEALED = RING.seal(b"data of some length", b"")


@given(st.binary(), st.binary())
def test_sealed_data_opens_only_in_its_context(data: bytes, context: bytes) -> None:
    sealed = RING.seal(data, context)
    assert sealed.startswith("v1.2026-11.")
    assert RING.open(sealed, context) == data
    with pytest.raises(CannotOpen):
        RING.open(sealed, context + b"x")


def test_equal_data_is_never_sealed_to_equal_text() -> None:
    sealed = {RING.seal(b"the same", b"") for _ in range(1000)}
    assert len(sealed) == 1000
    assert len({text.rpartition(".")[2][16:32] for text in sealed}) == 1000


def test_every_key_opens_and_the_first_or_the_current_one_seals() -> None:
    before, after = Keyring({"old": OLD}), Keyring({"new": NEW, "old": OLD})
    staged = Keyring({"new": NEW, "old": OLD}, current="old")
    for made, name in ((before, "old"), (after, "new"), (staged, "old")):
        sealed = made.seal(b"data", b"")
        assert key_name(sealed) == name
        assert after.open(sealed, b"") == staged.open(sealed, b"") == b"data"
    assert (after.names, staged.names) == (["new", "old"], ["old", "new"])
    with pytest.raises(CannotOpen) as caught:
        before.open(after.seal(b"data", b""), b"")
    assert (caught.value.key, caught.value.known) == ("new", False)


def test_unnamed_keys_are_named_by_a_stable_digest() -> None:
    ring, other = Keyring(NEW, OLD), Keyring(OLD, lambda: NEW)
    assert ring.names == other.names[::-1]
    assert ring.names[0] != ring.names[1]
    assert other.open(ring.seal(b"data", b""), b"") == b"data"


@pytest.mark.parametrize(
    "key",
    [
        NEW,
        b64encode(NEW),
        b64encode(NEW).decode(),
        urlsafe_b64encode(NEW).decode(),
        b64encode(NEW).decode().rstrip("="),
        f" {b64encode(NEW).decode()}\n",
        lambda: NEW,
        lambda: b64encode(NEW).decode(),
    ],
)
def test_a_key_is_bytes_or_base64_text_or_a_function_that_returns_one(key: Any) -> None:
    assert Keyring({"2026-11": key}).open(RING.seal(b"data", b""), b"") == b"data"


def test_generated_keys_are_valid_and_differ() -> None:
    keys = {Keyring.generate() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert Keyring(key).open(Keyring(key).seal(b"data", b""), b"") == b"data"


async def later() -> bytes:
    return NEW


WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "it has no key"),
    (({},), {}, "it has no key"),
    ((CANARY,), {}, "the key 1 must be 32 bytes"),
    ((NEW, NEW[:-1]), {}, "the key 2 must be 32 bytes"),
    (({"2026-11": CANARY.encode()},), {}, "the key '2026-11' must be 32 bytes"),
    (({"a": b64encode(NEW + b"x").decode()},), {}, "the key 'a' must be 32 bytes"),
    (({"a": NEW.hex()},), {}, "the key 'a' must be 32 bytes"),
    (({"a": 7},), {}, "the key 'a' must be 32 bytes"),
    (({"a": "é" * 32},), {}, "the key 'a' must be 32 bytes"),
    (({"a": later},), {}, "the key 'a' is an async function"),
    (({"": NEW},), {}, "a key's name is"),
    (({"a/b": NEW},), {}, "a key's name is"),
    (({"a" * 65: NEW},), {}, "a key's name is"),
    (({7: NEW},), {}, "a key's name is"),
    (({NEW: "2026-11"},), {}, "a key's name is"),
    (({"a": NEW},), {"current": "b"}, "current='b' is the name of none"),
    ((NEW,), {"current": "b"}, "current='b' is the name of none"),
]


@pytest.mark.parametrize(("keys", "options", "why"), WRONG)
def test_an_invalid_keyring_is_refused_without_a_key_in_the_error(
    keys: tuple[Any, ...], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(DeclarationError, match=f"^Keyring: {why}") as caught:
        Keyring(*keys, **options)
    assert CANARY not in text_of(caught.value)
    assert NEW.hex() not in text_of(caught.value)


def fails() -> bytes:
    raise KeyError(CANARY)


@pytest.mark.parametrize(
    ("source", "why"),
    [(fails, r"could not be read \(KeyError\)"), (lambda: CANARY, "is malformed"), (lambda: 7, "is malformed")],
)
def test_a_key_is_read_at_the_first_use_and_again_after_a_failure(source: Any, why: str) -> None:
    good = False

    def key() -> Any:
        return NEW if good else source()

    ring = Keyring({"2026-11": key, "2026-10": OLD})
    for use in (ring.load, lambda: ring.names, lambda: ring.seal(b"", b""), lambda: ring.open("v1.2026-10.AAAA", b"")):
        with pytest.raises(
            ConfigError, match=rf"^The key '2026-11' of the Keyring {why}: it must be 32 bytes"
        ) as caught:
            use()
        assert CANARY not in text_of(caught.value)
    good = True
    assert ring.names == ["2026-11", "2026-10"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", None),
        ("v1", None),
        ("v1.", None),
        ("v1.2026-11", None),
        ("v2.2026-11.AAAA", None),
        (f"v1.{CANARY} {CANARY}.AAAA", None),
        ("v1..AAAA", None),
        ("v1.2026-11.", "2026-11"),
        ("v1.2026-11.AAAA", "2026-11"),
        ("v1.2026-11.é", "2026-11"),
        ("v1.2026-11.A", "2026-11"),
        ("v1.2026-10.ABCDABCDABCDABCDABCDABCDABCDABCDABCDABCD", "2026-10"),
        ("v1.2025.AAAA", "2025"),
        ("v1.a.b.c.AAAA", "a.b.c"),
    ],
)
def test_a_malformed_seal_does_not_open(text: str, key: str | None) -> None:
    with pytest.raises(CannotOpen) as caught:
        RING.open(text, b"")
    assert caught.value.key == key
    assert caught.value.__context__ is None


@given(st.data())
def test_a_changed_seal_does_not_open(data: st.DataObject) -> None:
    sealed = SEALED
    start = len("v1.2026-11.")
    # The last character's lowest bits may be padding.
    at = data.draw(st.integers(start, len(sealed) - 2))
    other = data.draw(st.sampled_from([c for c in "Aa0-_Zz" if c != sealed[at]]))
    with pytest.raises(CannotOpen):
        RING.open(sealed[:at] + other + sealed[at + 1 :], b"")
    with pytest.raises(CannotOpen):
        RING.open(sealed[:at], b"")


def test_a_keyring_prints_names_only_and_cannot_be_copied() -> None:
    for ring in (RING, Keyring(NEW, OLD), Keyring({"a": lambda: NEW})):
        ring.load()
        for shown in (repr(ring), str(ring), f"{ring}", repr(ring.fields("card"))):
            assert CANARY not in shown
            assert NEW.hex() not in shown
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copy.copy(ring)
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copy.deepcopy({"ring": ring})
    assert repr(RING) == "Keyring('2026-11', '2026-10')"
    assert repr(Keyring(NEW, OLD)) == "Keyring(2 keys)"


def run(code: str, **modules: None) -> str:
    """What code prints in a process of its own."""
    hide = "import sys\nfor name in (" + "".join(f"{name!r}, " for name in modules) + "): sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", hide + code],
        env={**os.environ, "PYTHONPATH": str(next(iter(oxherd.__path__)))[: -len("/oxherd")]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_cryptography_making_a_keyring_says_what_to_install() -> None:
    code = f"""
from oxherd import DeclarationError, Keyring, Oxherd
import traceback
try:
    Keyring({{"2026-11": {NEW!r}}})
except DeclarationError as error:
    print(error, [repr(frame.f_locals) for frame, _ in traceback.walk_tb(error.__traceback__)][1:])
"""
    said = run(code, cryptography=None)
    assert said.startswith("Keyring: it needs the package cryptography; install oxherd[seal].")
    assert CANARY not in said


def test_importing_oxherd_or_a_worker_does_not_import_cryptography() -> None:
    code = """
import oxherd, oxherd.cli, oxherd.worker.executors.child, oxherd.worker.main, sys
from oxherd import Allow, Mask, Oxherd
herd = Oxherd()
@herd.event("order.placed", sanitize=Allow("a"))
async def placed(order: dict[str, int]) -> None: ...
payload = placed.declaration.payload
payload.decode(payload.open(payload.encode({"a": 1})))
# redis-py looks whether the package is there.
cipher = "cryptography.hazmat.primitives.ciphers.aead"
print(cipher in sys.modules)
"""
    assert run(code + "Keyring = oxherd.Keyring(oxherd.Keyring.generate()); print(cipher in sys.modules)").split() == [
        "False",
        "True",
    ]
    assert run(code, cryptography=None) == "False"


def test_any_mapping_names_the_keys() -> None:
    class Frozen(Mapping[str, Any]):
        def __getitem__(self, name: str) -> bytes:
            return {"a": NEW, "b": OLD}[name]

        def __iter__(self) -> Any:
            return iter("ab")

        def __len__(self) -> int:
            return 2

    assert Keyring(Frozen()).names == ["a", "b"]
    assert json.dumps(Keyring(Frozen()).names) == '["a", "b"]'
