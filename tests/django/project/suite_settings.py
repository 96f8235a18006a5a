"""Settings, system checks, and the command from code."""

import os
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TransactionTestCase, override_settings
from warehouse.events import box_stored

from oxherd import ConfigError
from oxherd.django import herd
from oxherd.django.settings import find_faults, read_settings
from oxherd.testing import captured


def faults_of(given: Any) -> list[str]:
    """What the checks say of these settings."""
    with override_settings(OXHERD=given):
        found = [message.msg for message in run_checks(tags=["oxherd"]) if message.id == "oxherd.E001"]
        assert found == list(find_faults())
        return found


class Settings(SimpleTestCase):
    def test_the_project_has_one_herd_of_its_settings(self) -> None:
        from oxherd import django

        assert django.herd is herd is box_stored.herd
        assert (herd.prefix, herd.emit_timeout) == ("suites", 5)
        assert herd.server.project() == Path(os.environ["SUITE_FOLDER"])
        assert "box.stored" in [event.name for event in herd]

    def test_what_is_wrong_is_one_sentence_each(self) -> None:
        assert faults_of({}) == []
        assert faults_of({"URL": None, "EVENTS_MODULE": "queue.events", "EMIT_ON_COMMIT": True}) == []
        assert faults_of({"PREFX": "x"}) == ["OXHERD has no setting 'PREFX'; did you mean 'PREFIX'?"]
        assert faults_of({"url": "redis://"})[0] == "OXHERD has no setting 'url'; did you mean 'URL'?"
        (fault,) = faults_of({"COLOUR": "red"})
        assert fault.startswith("OXHERD has no setting 'COLOUR'; it takes URL, EMBEDDED, PREFIX")
        assert faults_of([])[0].startswith("OXHERD is a list; make it a dict")
        assert faults_of({"EMIT_TIMEOUT": "ten"})[0].startswith('OXHERD["EMIT_TIMEOUT"]: emit_timeout ')
        assert faults_of({"EMIT_ON_COMMIT": 1}) == ['OXHERD["EMIT_ON_COMMIT"] must be True or False.']
        assert faults_of({"EVENTS_MODULE": "no module"})[0].startswith('OXHERD["EVENTS_MODULE"] must be the name')
        assert faults_of({"EMBEDDED": "false"}) == ['OXHERD["EMBEDDED"]: embedded must be True or False.']
        assert len(faults_of({"PREFIX": "", "STOP_TIMEOUT": -1})) == 2

    def test_a_password_is_in_no_message(self) -> None:
        (fault,) = faults_of({"URL": "redis://:verysecret@host:port/0"})
        assert fault.startswith('OXHERD["URL"]: ')
        assert "verysecret" not in fault

    def test_wrong_settings_are_an_error_where_the_herd_is_made(self) -> None:
        with override_settings(OXHERD={"PREFX": "x"}), self.assertRaisesRegex(ConfigError, "did you mean 'PREFIX'"):
            read_settings()

    def test_deployment_wants_a_server(self) -> None:
        def warned() -> list[str]:
            found = run_checks(tags=["oxherd"], include_deployment_checks=True)
            return [str(message.id) for message in found]

        with patch.dict(os.environ):
            os.environ.pop("OXHERD_URL", None)
            assert warned() == ["oxherd.W001"]
            with override_settings(OXHERD={"URL": "redis://127.0.0.1"}):
                assert warned() == []
            os.environ["OXHERD_URL"] = "redis://127.0.0.1"
            assert warned() == []

    def test_a_pool_has_to_try_its_connections(self) -> None:
        pooled = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"pool": True}}
        with override_settings(DATABASES={"default": pooled}):
            assert [str(message.id) for message in run_checks(tags=["oxherd"])] == ["oxherd.W002"]
        with override_settings(DATABASES={"default": pooled | {"CONN_HEALTH_CHECKS": True}}):
            assert run_checks(tags=["oxherd"]) == []

    def test_a_handlers_own_process_needs_a_settings_module(self) -> None:
        assert not run_checks(tags=["oxherd"])
        with patch.dict(os.environ):
            del os.environ["DJANGO_SETTINGS_MODULE"]
            (error,) = run_checks(tags=["oxherd"])
            assert error.id == "oxherd.E002"
            assert "box.measured" in error.msg


class Migrations(TransactionTestCase):
    def test_they_are_complete(self) -> None:
        call_command("makemigrations", "oxherd", "--check", "--dry-run", stdout=StringIO())


class TheCommand(SimpleTestCase):
    def test_it_is_called_from_code(self) -> None:
        before = dict(os.environ)
        with captured(herd) as emits:
            call_command("oxherd", "types", "--out", os.environ["SUITE_FOLDER"])
            with self.assertRaises(CommandError) as failed:
                call_command("oxherd", "pause", "no.event")
        assert failed.exception.returncode == 2
        assert os.environ == before
        emits.assert_not_emitted()
        assert "box.stored" in Path(os.environ["SUITE_FOLDER"], "events.json").read_text()
