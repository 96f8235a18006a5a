"""Builds the documentation of a checkout (this one unless given) into its `site/`, strictly, with `llms.txt`.

`llms.txt` (llmstxt.org) lists the pages in the order of the navigation, each with its first sentence; their Markdown
lies beside it. A link whose text is a file's name, as it reads well beside the files, has the page's name on the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from typing import Any

import yaml

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
SITE = ROOT / "site"


def main() -> int:
    """Build; the exit status."""
    built = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT, check=False)
    if built.returncode:
        return built.returncode
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}"]
    sections = list(_sections(config["nav"]))
    names = {page: name for _, pages in sections for name, page in pages}
    for title, pages in sections:
        lines += [
            "",
            f"## {title}",
            "",
            *(f"- [{name}]({page}): {_first_sentence(page)}".rstrip(" :") for name, page in pages),
        ]
        for _, page in pages:
            copy = SITE / page
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "docs" / page, copy)
            _name_links(page, names)
    (SITE / "llms.txt").write_text("\n".join(lines) + "\n")
    return 0


def _name_links(page: str, names: dict[str, str]) -> None:
    """Give the links of a built page that are named by a file the name of its page."""
    folder, _, file = page.rpartition("/")
    html = SITE / folder / ("index.html" if file in ("index.md", "README.md") else f"{file[:-3]}/index.html")

    def named(link: re.Match[str]) -> str:
        text = link[1]
        near = normpath(f"{folder}/{text}").lstrip("/")
        name = names.get(near) or next((names[each] for each in names if f"/{each}".endswith(f"/{text}")), text)
        return f">{name}</a>"

    html.write_text(re.sub(r">([\w./-]+\.md)</a>", named, html.read_text()))


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
    first = next((each for each in paragraphs if len(each.split()) > 2 and each[0] not in "#|-!*["), "")
    return re.split(r"(?<=[.:?]) ", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", first))[0]


if __name__ == "__main__":
    sys.exit(main())
