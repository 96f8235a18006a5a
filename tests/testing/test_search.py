"""In which texts a canary is found."""

from __future__ import annotations

import base64

import pytest

from oxherd.testing.canaries import Canary
from oxherd.testing.search import Search


@pytest.mark.parametrize(
    "core", ["0803 5516 5748 1488", "4111-1111-1111-1111", "76866951", "1887-03-14T05:06:07Z", "ab?c~d>e"]
)
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_any_value_is_found_in_the_base64_of_a_longer_text(core: str, before: str) -> None:
    search = Search([Canary(core, (), "field")])
    text = f"{before}{core}ö".encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        assert [found.path for found, _ in search.find(f"in {encode(text[:45]).decode()}.")] == ["field"]


@pytest.mark.parametrize(
    ("core", "text"),
    [
        ("4111 1111 1111 1111", "card=4111111111111111"),
        ("0803 5516 5748 1488", "card=0803551657481488"),
        ("76866951", "76,866,951 cents"),
    ],
)
def test_a_number_is_found_with_other_digit_groups(core: str, text: str) -> None:
    assert list(Search([Canary(core, (), "field")]).find(text))


def test_an_absent_canary_is_not_found_and_surrounding_text_is_cut() -> None:
    search = Search([Canary("canary1234567890", (), "field")])
    assert not list(search.find("canary1234567891 " * 1_000))
    ((_, text),) = search.find(f"{'a' * 1_000} canary1234567890\n{'b' * 1_000}")
    assert text == f"...{'a' * 59} canary1234567890 {'b' * 59}..."
