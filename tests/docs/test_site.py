"""The site of the documentation is built; its links lead somewhere, its pages are in its navigation and fit a phone."""

from __future__ import annotations

import re
import shutil
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.dashboard.site import chromium, require_chromium
from tests.harness import run

ROOT = Path(__file__).parents[2]
PAGES = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}


def test_every_page_is_in_the_navigation_once() -> None:
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(PAGES)


def test_the_first_page_lists_every_other_page_once() -> None:
    listed = (ROOT / "docs" / "index.md").read_text().partition("## All pages")[2]
    assert sorted(re.findall(r"\]\((.+?)\)", listed)) == sorted(PAGES - {"index.md"})


def test_the_site_has_the_dashboards_mark() -> None:
    mark = ROOT / "src" / "oxherd" / "dashboard" / "assets" / "mark.svg"
    assert (ROOT / "docs" / "pictures" / "mark.svg").read_bytes() == mark.read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    built = run(folder, sys.executable, str(ROOT / ".ci" / "site.py"), str(folder), timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


@pytest.mark.slow
def test_it_is_built_without_a_warning_and_lists_its_pages_for_machines(site: Path) -> None:
    listed = re.findall(r"^- \[.+?\]\((.+?)\)(?:: .+)?$", (site / "llms.txt").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(PAGES)
    for page in PAGES:
        assert (site / page).read_text() == (ROOT / "docs" / page).read_text()
    assert "<h3" in (site / "api" / "index.html").read_text()
    assert "emit_timeout" in (site / "api" / "index.html").read_text()
    assert [page for page in site.rglob("*.html") if re.search(r">[\w./-]+\.md</a>", page.read_text())] == []
    away = re.compile(r'(?:src|href)="(https?://(?!docs\.python\.org|github\.com|www\.)[^"]+\.(?:js|css|woff2?))"')
    assert away.findall((site / "index.html").read_text()) == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the class above
        pass


@pytest.mark.slow
@pytest.mark.browser
def test_no_page_is_wider_than_a_phone(site: Path) -> None:
    require_chromium()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server, chromium() as browser:
        Thread(target=server.serve_forever).start()
        visitor = browser.new_page(viewport={"width": 390, "height": 844})
        wide: list[str] = []
        for html in site.rglob("index.html"):
            visitor.goto(f"http://127.0.0.1:{server.server_port}/{html.parent.relative_to(site).as_posix()}/")
            if visitor.evaluate("document.documentElement.scrollWidth") > 390:
                wide.append(html.parent.name)
        server.shutdown()
    assert wide == []
