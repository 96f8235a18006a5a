"""Builds the documentation of a checkout (this one unless given) into its `site/`, strictly, with `llms.txt`.

`llms.txt` (llmstxt.org) lists the pages in the order of the navigation, each with its first sentence; their Markdown
lies beside it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]


def main() -> int:
    """Build; the exit status."""
    built = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=False)
    if built.returncode:
        return built.returncode
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}"]
    for title, pages in _sections(config["nav"]):
        lines += [
            "",
            f"## {title}",
            "",
            *(f"- [{name}]({page}): {_first_sentence(page)}".rstrip(" :") for name, page in pages),
        ]
        for _, page in pages:
            copy = ROOT / "site" / page
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "docs" / page, copy)
    (ROOT / "site" / "llms.txt").write_text("\n".join(lines) + "\n")
    return 0


def _sections(nav: list[dict[str, Any]]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for entry in nav:
        for title, pages in entry.items():
            yield (
                title,
                [(title, pages)] if isinstance(pages, str) else [item for each in pages for item in each.items()],
            )


def _first_sentence(page: str) -> str:
    text = re.sub(r"^```.*?^```$", "", (ROOT / "docs" / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    paragraphs = (" ".join(each.split()) for each in text.split("\n\n"))
    first = next((each for each in paragraphs if each[:1] not in tuple("#`|-!*[")), "")
    return re.split(r"(?<=[.:?]) ", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", first))[0]


if __name__ == "__main__":
    sys.exit(main())
