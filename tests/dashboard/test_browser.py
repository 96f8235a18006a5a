"""The pages in a real browser: what they look like to axe, by keyboard alone, live, and through an outage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.dashboard.site import Site, axe_source, served, violations

pytestmark = [pytest.mark.slow, pytest.mark.browser]

TOKEN = "a-token-of-more-than-twenty-characters"
PATHS = [
    "/",
    "/?range=24h",
    "/events/order.placed",
    "/events/order.placed?state=delayed",
    "/events/order.placed?state=failed&error=none+has+this",
    "/events/parcel.track?state=running",
    "/failed",
    "/schedules",
    "/workers",
    "/limits",
    "/audit",
    "/search?q=send",
    "/actions/retry?event=order.placed&state=failed",
    "/actions/cancel?event=stock.sync&state=waiting",
    "/actions/pause?event=order.placed",
    "/actions/limits?event=invoice.send",
    "/actions/run?event=report.nightly&schedule=berlin",
    "/actions/move?queue=%7Bcart.abandoned%7D",
]
EITHER = [("light", 1440), ("light", 390), ("dark", 1440), ("dark", 390)]
EACH_ONCE = [("light", 1440), ("dark", 390)]


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_source()


@pytest.fixture(scope="module")
def full(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that is only looked at, with everything in it."""
    with served(tmp_path_factory.mktemp("full")) as site:
        site.fill()
        yield site


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    """A site with nothing in it, and no worker."""
    with served(tmp_path) as served_here:
        yield served_here


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages; whatever their consoles say, other than that an answer was an error's, fails the test."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def opened(scheme: str = "light", width: int = 1440) -> Page:
        viewport = {"width": width, "height": 900}
        contexts.append(browser.new_context(color_scheme=scheme, viewport=viewport))  # pyright: ignore[reportArgumentType]
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in said if not text.startswith("Failed to load resource")] == []


def faults(page: Page, axe: str, width: int) -> list[str]:
    """What axe finds, and whether the page is wider than the screen."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    return [*violations(page, axe), *([f"{wide} pixels wide"] if wide > width else [])]


@pytest.mark.parametrize(("scheme", "width"), EITHER)
def test_no_page_has_a_fault_that_axe_finds_or_is_wider_than_the_screen(
    full: Site, visit: Callable[..., Page], axe: str, scheme: str, width: int
) -> None:
    page = visit(scheme, width)
    page.goto(f"{full.address}/events/order.placed?state=failed")
    story = page.locator("td a.id, th a.id").first.get_attribute("href")
    found: dict[str, list[str]] = {}
    for path in [*PATHS, story]:
        page.goto(f"{full.address}{path}")
        found[str(path)] = faults(page, axe, width)
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.parametrize(("scheme", "width"), EACH_ONCE)
def test_nor_has_one_with_nothing_to_show(
    site: Site, visit: Callable[..., Page], axe: str, scheme: str, width: int
) -> None:
    page = visit(scheme, width)
    found: dict[str, list[str]] = {}
    for path in [*PATHS, "/events/none", "/stories/00000000-0000-7000-8000-000000000000"]:
        page.goto(f"{site.address}{path}")
        found[path] = faults(page, axe, width)
    assert {path: each for path, each in found.items() if each} == {}


def test_who_signs_in_finds_no_fault_either(
    browser: Browser, visit: Callable[..., Page], axe: str, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"olga operator {TOKEN}\n")
    tokens.chmod(0o600)
    with served(tmp_path, "--token-file", str(tokens)) as closed:
        for scheme, width in EITHER:
            page = visit(scheme, width)
            page.goto(f"{closed.address}/limits")
            assert faults(page, axe, width) == []
            page.keyboard.type("a wrong one")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_be_visible()
            assert faults(page, axe, width) == []
            page.keyboard.type(TOKEN)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="Limits")).to_be_visible()
            assert faults(page, axe, width) == []
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_label("Token")).to_be_visible()


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.innerText.trim() || document.activeElement.id")


def tab_to(page: Page, text: str) -> None:
    """Press Tab until something with that text has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if focused(page) == text:
            return
    raise AssertionError(f"the focus does not come to {text}")


def test_the_keyboard_alone_is_enough(site: Site, visit: Callable[..., Page]) -> None:
    worker = site.work()
    site.emit("mail.send", number=3)
    worker.wait("event.end", outcome="failed")
    page = visit()
    page.goto(f"{site.address}/")
    order: list[str] = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(focused(page))
    names = ["Overview", "Failed", "Schedules", "Workers", "Limits", "Audit"]
    assert order == ["Skip to the content", "oxherd", "search", *names]

    page.goto(f"{site.address}/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    page.keyboard.press("/")
    page.keyboard.type("mail.send")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="mail.send")).to_be_visible()

    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Pause mail.send?")).to_be_visible()
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It is paused.")).to_be_visible()
    tab_to(page, "Resume")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Resume mail.send?")).to_be_visible()
    tab_to(page, "Resume")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It goes on.")).to_be_visible()

    page.goto(f"{site.address}/events/mail.send?state=failed")
    page.get_by_label("Error holds").focus()
    page.keyboard.type("nobody has this")
    page.keyboard.press("Enter")
    expect(page.get_by_text("None that is failed matches.")).to_be_visible()
    tab_to(page, "Clear")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Retry all")).to_be_visible()
    tab_to(page, "Retry all")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Retry 1 failed event")).to_be_visible()
    tab_to(page, "Retry")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 1 done.")).to_be_visible()


def test_a_new_failure_appears_and_what_is_typed_or_opened_stays(site: Site, visit: Callable[..., Page]) -> None:
    worker = site.work()
    page = visit()
    page.goto(f"{site.address}/events/mail.send?state=failed")
    expect(page.get_by_text("Nothing has failed.")).to_be_visible()
    page.get_by_label("Error holds").fill("being typed")
    failed = site.emit("mail.send", number=3)
    worker.wait("event.end", outcome="failed")
    expect(page.get_by_text("mail.example.com:587 refuses")).to_be_visible(timeout=15_000)
    expect(page.get_by_label("Error holds")).to_have_value("being typed")

    page.goto(f"{site.address}/stories/{failed}")
    page.get_by_text("Where it was raised").click()
    shown = page.locator("time").first
    before = shown.inner_text()
    expect(shown).not_to_have_text(before, timeout=15_000)
    assert page.locator("details").evaluate("details => details.open")


def test_an_outage_of_redis_is_told_on_the_open_page_with_what_was_known(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.emit("mail.send", number=1)
    page = visit()
    page.goto(f"{site.address}/")
    row = page.get_by_role("row", name="mail.send")
    expect(row).to_contain_text("no worker")
    site.server.kill()
    expect(page.get_by_text("Redis does not answer.")).to_be_visible(timeout=30_000)
    expect(row).to_contain_text("no worker")


def test_a_dashboard_that_is_gone_is_told_until_it_is_back(site: Site, visit: Callable[..., Page]) -> None:
    page = visit()
    page.goto(f"{site.address}/")
    lost = page.get_by_text("The dashboard does not answer.")
    expect(lost).to_be_hidden()
    site.end()
    expect(lost).to_be_visible(timeout=30_000)
    site.begin()
    expect(lost).to_be_hidden(timeout=30_000)
