"""The site of the documentation is built, every link leads somewhere, and every page is in its navigation."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.harness import run

ROOT = Path(__file__).parents[2]
PAGES = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}


def test_every_page_is_in_the_navigation_once() -> None:
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(PAGES)


def test_the_site_has_the_dashboards_mark() -> None:
    mark = ROOT / "src" / "oxherd" / "dashboard" / "assets" / "mark.svg"
    assert (ROOT / "docs" / "pictures" / "mark.svg").read_bytes() == mark.read_bytes()


@pytest.mark.slow
def test_it_is_built_without_a_warning_and_lists_its_pages_for_machines(tmp_path: Path) -> None:
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for folder in ("docs", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    built = run(tmp_path, sys.executable, str(ROOT / ".ci" / "site.py"), str(tmp_path), timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    site = tmp_path / "site"
    listed = re.findall(r"^- \[.+?\]\((.+?)\)(?:: .+)?$", (site / "llms.txt").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(PAGES)
    for page in PAGES:
        assert (site / page).read_text() == (ROOT / "docs" / page).read_text()
    assert "<h3" in (site / "api" / "index.html").read_text()
    assert "emit_timeout" in (site / "api" / "index.html").read_text()
    assert [page for page in site.rglob("*.html") if re.search(r">[\w./-]+\.md</a>", page.read_text())] == []
    away = re.compile(r'(?:src|href)="(https?://(?!docs\.python\.org|github\.com|www\.)[^"]+\.(?:js|css|woff2?))"')
    assert away.findall((site / "index.html").read_text()) == []
