"""`manage.py oxherd`, and what a project may have wrong."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.django.shop import DEADLINE, SHOP, Shop
from tests.harness import run, until_sync

MakeSettings = Callable[[str], None]


@pytest.fixture
def shop(tmp_path: Path, standalone: str, prefix: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, standalone, prefix)
    shop.variables["PYTHONPATH"] = str(tmp_path)
    with shop:
        yield shop


@pytest.fixture
def settings(tmp_path: Path, shop: Shop) -> MakeSettings:
    """Changes the project's settings."""

    def make(text: str) -> None:
        (tmp_path / "changed_settings.py").write_text(f"from project.settings import *\n{text}\n")
        shop.variables["DJANGO_SETTINGS_MODULE"] = "changed_settings"

    return make


def test_the_commands_are_oxherds_own_about_the_projects_herd(shop: Shop) -> None:
    listed = shop.manage("oxherd", "ls", "--json")
    assert [json.loads(line)["name"] for line in listed.stdout.splitlines()] == [
        "order.placed", "order.counted", "order.invoiced",
    ]  # fmt: skip
    wrong = shop.manage("oxherd", "ls", "--wrong")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("oxherd: No such option: --wrong")
    assert wrong.stderr.endswith("; see manage.py oxherd ls --help.\n")


@pytest.mark.slow
def test_a_command_takes_djangos_own_options_and_standard_input(shop: Shop) -> None:
    emitted = shop.manage("oxherd", "emit", "order.placed", "-", "--settings=project.settings", stdin='{"order_id": 7}')
    assert emitted.returncode == 0
    shown = shop.manage("oxherd", "show", emitted.stdout.strip())
    assert "order.placed" in shown.stdout
    assert "Usage: manage.py oxherd" in shop.manage("help", "oxherd").stdout


@pytest.mark.slow
def test_djangos_python_path_reaches_the_processes_of_a_worker(shop: Shop) -> None:
    elsewhere = shop.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "only_there.py").write_text("from project.settings import *\n")
    shop.start_worker("--processes", "2", "--settings=only_there", "--pythonpath", str(elsewhere))
    shop.wait("worker.start", count=2)


@pytest.mark.slow
def test_a_wrong_setting_stops_the_command_with_a_sentence(shop: Shop, settings: MakeSettings) -> None:
    settings('OXHERD = {"PREFX": "x"}')
    for arguments in (("oxherd", "worker"), ("check", "--tag", "oxherd")):
        ran = shop.manage(*arguments)
        assert ran.returncode != 0
        assert "(oxherd.E001) OXHERD has no setting 'PREFX'; did you mean 'PREFIX'?" in ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_an_events_module_that_fails_is_told_with_its_traceback(shop: Shop, settings: MakeSettings) -> None:
    app = shop.folder / "broken_app"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "events.py").write_text("import shop\nshop.no_such_name\n")
    settings('INSTALLED_APPS = [*INSTALLED_APPS, "broken_app"]')
    ran = shop.manage("check")
    assert ran.returncode != 0
    assert 'broken_app/events.py", line 2' in ran.stderr
    assert 'imports the module "events" of each installed app' in ran.stderr


@pytest.mark.slow
def test_a_worker_logs_as_the_project_has_it(shop: Shop, settings: MakeSettings) -> None:
    settings("""
LOGGING = {
    "version": 1,
    "formatters": {"own": {"format": "own %(name)s %(message)s"}},
    "filters": {"context": {"()": "oxherd.ContextFilter"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own", "filters": ["context"]}},
    "root": {"handlers": ["own"], "level": "INFO"},
}""")
    worker = shop.start_plain_worker()
    shop.manage("oxherd", "emit", "order.placed", '{"order_id": 7}', "--skip-checks")
    until_sync(lambda: "own oxherd event.end" in shop.log.read_text(), DEADLINE)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(DEADLINE) == 0
    lines = [line for line in shop.log.read_text().splitlines() if "oxherd" in line]
    assert lines
    assert all(line.startswith("own ") for line in lines), lines


def test_without_settings_the_herd_says_what_to_set(tmp_path: Path) -> None:
    code = "from oxherd.django import herd"
    ran = run(tmp_path, sys.executable, "-c", code)
    assert "ConfigError: Django's settings are not configured; set DJANGO_SETTINGS_MODULE" in ran.stderr
    worker = run(tmp_path, sys.executable, "-m", "oxherd", "worker", "oxherd.django.application:herd")
    assert worker.returncode == 2
    assert "set DJANGO_SETTINGS_MODULE" in worker.stderr
    assert "Traceback" not in worker.stderr


@pytest.mark.slow
def test_a_plain_command_needs_only_the_settings_module(shop: Shop) -> None:
    shop.variables |= {"DJANGO_SETTINGS_MODULE": "project.settings", "OXHERD_APP": "oxherd.django.application:herd"}
    ran = run(SHOP, sys.executable, "-m", "oxherd", "ls", **shop.variables)
    assert "order.placed" in ran.stdout, ran.stderr


def test_without_django_the_extra_is_named(tmp_path: Path) -> None:
    ran = run(tmp_path, sys.executable, "-c", "import sys; sys.modules['django'] = None; import oxherd.django")
    assert "ConfigError: Django is not installed; install oxherd[django]." in ran.stderr


@pytest.mark.slow
def test_the_examples_own_tests_pass(shop: Shop) -> None:
    ran = shop.manage("test")
    assert ran.returncode == 0, ran.stderr
    assert "Ran 4 tests" in ran.stderr
