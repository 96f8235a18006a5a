"""Actions in a browser, by the keyboard alone; their pages by axe; the pages on a million events, and in an outage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page, expect

from oxherd import Oxherd
from tests.admin.filled import fill_failed, fill_waiting
from tests.dashboard.site import Site
from tests.dashboard.test_browser import EACH_ONCE, axe, faults, full, site, tab_to, visit

pytestmark = [pytest.mark.slow, pytest.mark.browser]

__all__ = ["axe", "full", "site", "visit"]  # fixtures


def confirm(page: Page, button: str) -> None:
    """Follow a question to its end by the keyboard."""
    tab_to(page, button)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def press(page: Page, link: str) -> None:
    """Go to a link by the keyboard, from the top of the page."""
    page.keyboard.press("Home")
    page.evaluate("document.activeElement.blur()")
    tab_to(page, link)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_each_action_is_done_by_the_keyboard_alone(site: Site, visit: Callable[..., Page], axe: str) -> None:
    site.emit("mail.send", number=2)
    page = visit()
    for state, link, button, says in (
        ("waiting", "Cancel all", "Cancel", "done"),
        ("waiting", "Pause", "Pause", "It is paused."),
        ("waiting", "Resume", "Resume", "It goes on."),
    ):
        page.goto(f"{site.address}/events/mail.send?state={state}")
        press(page, link)
        assert faults(page, axe, 1440) == []
        confirm(page, button)
        expect(page.get_by_text(re.compile(says)).first).to_be_visible()
        assert faults(page, axe, 1440) == []
    page.goto(f"{site.address}/events/mail.send")
    press(page, "Set limits")
    for text in ("100", "60", "7"):
        tab_to_field(page)
        page.keyboard.type(text)
    confirm(page, "Set limits")
    expect(page.get_by_text("Its limits are set.")).to_be_visible()
    page.goto(f"{site.address}/limits")
    expect(page.get_by_text("100 a minute")).to_be_visible()


def tab_to_field(page: Page) -> None:
    """Press Tab until an input has the focus that is no search."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName == 'INPUT' && document.activeElement.type != 'search'"):
            return
    raise AssertionError("the focus comes to no field")


def test_a_schedule_is_steered_by_the_keyboard_alone(site: Site, visit: Callable[..., Page]) -> None:
    site.work()
    page = visit()
    page.goto(f"{site.address}/schedules")
    expect(page.get_by_role("link", name="Run now").first).to_be_visible(timeout=15_000)
    for link, button, says in (
        ("Pause", "Pause", "The schedule is paused."),
        ("Resume", "Resume", "The schedule goes on."),
    ):
        page.goto(f"{site.address}/schedules")
        press(page, link)
        confirm(page, button)
        expect(page.get_by_text(says)).to_be_visible()
    page.goto(f"{site.address}/schedules")
    press(page, "Run now")
    confirm(page, "Run now")
    expect(page.get_by_text("Its payload is emitted.")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), EACH_ONCE)
def test_an_operation_and_an_outage_have_no_fault_either(
    site: Site, visit: Callable[..., Page], axe: str, scheme: str, width: int
) -> None:
    site.emit("mail.send", number=2)
    page = visit(scheme, width)
    page.goto(f"{site.address}/actions/cancel?event=mail.send&state=waiting")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("link", name="Back")).to_be_visible()
    expect(page.get_by_text("done").first).to_be_visible()
    assert faults(page, axe, width) == []
    page.goto(f"{site.address}/")
    site.server.kill()
    expect(page.get_by_text("Redis does not answer.")).to_be_visible(timeout=30_000)
    assert faults(page, axe, width) == []


@pytest.fixture
def million(site: Site) -> Site:
    """A site with a million events that wait, and ten thousand that have failed."""

    async def fill() -> None:
        herd = Oxherd(site.server.url)
        event = herd.declare("order.placed", dict[str, int])
        async with herd:
            queue = (await herd.backend()).queue(event.declaration)
            await fill_waiting(queue, 1_000_000)
            await fill_failed(queue, 10_000)

    with ThreadPoolExecutor(1) as thread:  # this one has Playwright's loop
        thread.submit(asyncio.run, fill()).result()
    return site


def test_a_million_events_are_shown_searched_and_retried(million: Site, visit: Callable[..., Page], axe: str) -> None:
    page = visit()
    page.goto(f"{million.address}/")
    expect(page.get_by_text("1,000,000").first).to_be_visible()
    assert faults(page, axe, 1440) == []
    page.goto(f"{million.address}/events/order.placed?state=waiting")
    expect(page.get_by_text("1,000,000").first).to_be_visible()
    assert faults(page, axe, 1440) == []
    page.goto(f"{million.address}/events/order.placed?state=failed")
    page.get_by_label("Error holds").fill("no stock of 99")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Retry all that match").click()
    expect(page.get_by_role("heading", name="Retry 111 failed events of order.placed?")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("111").first).to_be_visible()
    expect(page.get_by_text("done").first).to_be_visible()
