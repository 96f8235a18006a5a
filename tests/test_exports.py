"""The package's own names, each loaded when it is first asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import oxherd


def run(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_listed_names_are_those_that_exist() -> None:
    script = "from oxherd import *\nprint(*sorted(name for name in vars() if not name.startswith('_')))"
    assert run(script) == sorted(oxherd.__all__)
    assert {*oxherd.__all__, "__version__"} <= set(dir(oxherd))
    for name in oxherd.__all__:
        assert getattr(oxherd, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'oxherd' has no attribute 'Oxhead'"):
        getattr(oxherd, "Oxhead")  # noqa: B009 - to a checker it is none either
    assert run("try:\n    from oxherd import Oxhead\nexcept ImportError as error:\n    print(error.name)") == ["oxherd"]


@pytest.mark.parametrize(
    ("of", "loaded"),
    [
        ("import oxherd, oxherd.errors", ""),
        ("import oxherd.cli.main", ""),
        ("from oxherd import Mask, Allow", "pydantic"),
        ("from oxherd import Oxherd", "pydantic redis"),
    ],
)
def test_an_import_loads_only_what_it_needs(of: str, loaded: str) -> None:
    looked_for = {"oxherd.admin", "pydantic", "redis"}
    assert run(f"import sys\n{of}\nprint(*sorted({looked_for} & set(sys.modules)))") == loaded.split()
