"""Django's own runner passes the suites of the project here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.django.suites import django_tests


def test_the_suites_pass(tmp_path: Path) -> None:
    assert "\nOK" in django_tests(tmp_path)


@pytest.mark.slow
def test_emits_wait_for_the_commit_with_the_setting(tmp_path: Path) -> None:
    assert "\nOK" in django_tests(tmp_path, "-k", "EmitSync", SUITE_EMIT_ON_COMMIT="1")
