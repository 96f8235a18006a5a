"""From the overview to the cause and the remedy in at most three clicks, whatever keeps events from being done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.dashboard.site import Site, served

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with every trouble, which each test ends one of."""
    with served(tmp_path_factory.mktemp("full")) as filled:
        filled.fill()
        yield filled


class Visit:
    """A visit that begins on the overview, and counts clicks."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.clicks = page, 0
        page.goto(f"{address}/")

    def finding(self, text: str) -> Locator:
        """A line of what needs attention; some are read after the page has been shown."""
        found = self.page.locator(".findings li", has_text=text)
        expect(found).to_be_visible(timeout=15_000)
        return found

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def link(self, name: str) -> None:
        self.click(self.page.get_by_role("link", name=name, exact=True))

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def end(self, text: str) -> None:
        """Go back to see that it is mended."""
        assert self.clicks <= 3
        self.page.goto(self.page.url.split("/", 3)[0] + "//" + self.page.url.split("/", 3)[2] + "/")
        expect(self.page.locator(".findings li", has_text=text)).to_have_count(0, timeout=40_000)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    page = browser.new_page()
    yield Visit(page, site.address)
    page.close()


def test_no_worker(visit: Visit) -> None:
    found = visit.finding("image.resize: 3 waiting")
    expect(found).to_contain_text("no live worker of oxherd processes it. Start a worker for it.")
    visit.click(found.get_by_role("link", name="See it"))
    expect(visit.page.get_by_text("no worker")).to_be_visible()
    assert visit.clicks == 1


def test_paused(visit: Visit) -> None:
    found = visit.finding("stock.sync: paused; 9 waiting")
    visit.click(found.get_by_role("link", name="Resume"))
    visit.button("Resume")
    visit.end("stock.sync: paused")


def test_poison(visit: Visit) -> None:
    found = visit.finding("order.placed: 4 failed within the hour, all with ValueError")
    visit.click(found.get_by_role("link", name="See them"))
    expect(visit.page.get_by_text("no stock left for order 39")).to_be_visible()
    visit.link("Discard all")
    visit.button("Discard")
    expect(visit.page.get_by_text("4 of 4 done.")).to_be_visible()
    visit.end("order.placed: 4 failed")


def test_a_rate(visit: Visit) -> None:
    found = visit.finding("invoice.send: 4 waiting")
    expect(found).to_contain_text("its rate is 1 begun in 3600 s")
    visit.click(found.get_by_role("link", name="Set limits"))
    visit.page.get_by_label("Begun at most").fill("")
    visit.page.get_by_label("in so many seconds").fill("")
    visit.button("Set limits")
    expect(visit.page.get_by_text("Its limits are set.")).to_be_visible()
    visit.end("invoice.send: 4 waiting")


def test_a_renamed_event(visit: Visit) -> None:
    found = visit.finding("{cart.abandoned} holds 4 waiting")
    visit.click(found.get_by_role("link", name="Move"))
    visit.page.get_by_label("To the event").select_option("report.nightly")
    visit.clicks += 1
    visit.button("Move")
    expect(visit.page.get_by_text("4 of 4 done.")).to_be_visible()
    visit.end("{cart.abandoned}")


def test_a_key_that_floods(visit: Visit) -> None:
    found = visit.finding("parcel.track: some 129 of 129 that wait have one key")
    expect(found.get_by_role("link", name="See one")).to_be_visible()
    visit.click(found.get_by_role("link", name="Set limits"))
    visit.page.get_by_label("Of each key: running at most at once").fill("50")
    visit.button("Set limits")
    visit.end("parcel.track: some")
