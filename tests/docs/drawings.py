"""What the drawings of the documentation say, by the classes of their texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

DOCS = Path(__file__).parents[2] / "docs"
DRAWINGS = sorted((DOCS / "diagrams").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def drawing(name: str) -> Path:
    return DOCS / "diagrams" / f"{name}.svg"


def texts(path: Path, kind: str) -> list[str]:
    """The texts of a class, such as `record` or `outcome`, in their order."""
    return [
        "".join(each.itertext())
        for each in ET.parse(path).iter()
        if each.tag in (f"{SVG}text", f"{SVG}tspan") and kind in each.get("class", "").split()
    ]


def uses() -> Iterator[tuple[str, Path, str]]:
    """Each page that shows a drawing, the drawing, and what the page says in its place."""
    for page in sorted(DOCS.rglob("*.md")):
        for alternative, source in re.findall(r"!\[([^]]*)\]\(([^)]+\.svg)\)", page.read_text()):
            yield page.relative_to(DOCS).as_posix(), (page.parent / source).resolve(), " ".join(alternative.split())
