"""Django's own runner passes the suites of the project here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.django.suites import django_tests


@pytest.mark.parametrize("suite", ["suite_on_commit", "suite_testing", "suite_connections"])
def test_a_suite_passes(suite: str, tmp_path: Path) -> None:
    assert "\nOK" in django_tests(tmp_path, suite)


def test_emits_wait_for_the_commit_with_the_setting(tmp_path: Path) -> None:
    assert "\nOK" in django_tests(tmp_path, "suite_on_commit", SUITE_EMIT_ON_COMMIT="1")
