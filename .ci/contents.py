"""Checks that a wheel and an sdist have what they must have, and nothing that only this folder has."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "oxherd"
# Made by running, not written.
_MADE = {"__pycache__"}
SDIST = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")


def main(wheel: Path, sdist: Path) -> int:
    """Print what is wrong; the exit status."""
    written = {
        file.relative_to(ROOT / "src").as_posix()
        for file in [*PACKAGE.rglob("*"), ROOT / "src" / "pytest_oxherd.py"]
        if file.is_file() and not _MADE & set(file.parts)
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    faults = [f"the wheel lacks {name}" for name in sorted(written - packed)]
    faults += [f"the wheel has {name}, which is not in src" for name in sorted(packed - written)]
    faults += [] if licences else ["the wheel lacks its licence"]
    faults += [f"the sdist lacks {name}" for name in SDIST if name not in sources]
    faults += [f"the sdist lacks src/{name}" for name in sorted(written) if f"src/{name}" not in sources]
    for fault in faults:
        print(fault)
    size = sum(file.stat().st_size for file in (wheel, sdist))
    print(f"{len(packed)} files in the wheel; {size / 1024:,.0f} KiB in both")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
