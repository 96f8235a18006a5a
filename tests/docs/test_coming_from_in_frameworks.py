"""The Django and FastAPI applications of docs/coming-from/celery.md, with Celery and with oxherd."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxherd.servers.standalone import StandaloneServer
from tests.docs.coming_from import packages_of, section, started
from tests.harness import run, until_sync
from tests.web.serving import serving

pytestmark = pytest.mark.slow

SERVE = ("uvicorn", "api:app", "--port", "0", "--timeout-graceful-shutdown", "1")
URLS = """
from shop.views import join

urlpatterns += [path("join/<str:name>/", join)]
"""


@pytest.fixture
def server() -> Iterator[str]:
    """A server of this test alone: Celery's keys have no prefix."""
    with StandaloneServer() as server:
        yield server.url


def variables(system: str) -> dict[str, str]:
    return {"PYTHONPATH": packages_of("celery")} if system == "Celery" else {}


@pytest.mark.parametrize("system", ["Celery", "oxherd"])
def test_the_django_projects_tests_pass(system: str, tmp_path: Path, server: str) -> None:
    for command in (("startproject", "mysite", "."), ("startapp", "shop")):
        assert run(tmp_path, sys.executable, "-m", "django", *command).returncode == 0
    section("celery", f"Django with {system}").write(tmp_path, server)
    with (tmp_path / "mysite" / "urls.py").open("a") as file:
        file.write(URLS)
    ran = run(tmp_path, sys.executable, "manage.py", "test", timeout=120, **variables(system))
    assert ran.returncode == 0, ran.stderr
    assert "Ran 1 test" in ran.stderr
    if system == "oxherd":
        checked = run(tmp_path, sys.executable, "manage.py", "oxherd", "check")
        assert "customer.joined" in checked.stdout, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("system", "worker", "ended"),
    [
        ("Celery", "celery -A tasks worker", {"state": "SUCCESS"}),
        ("oxherd", "oxherd worker shop:herd", {"outcome": "completed"}),
    ],
)
def test_the_fastapi_application_tells_the_result(
    system: str, worker: str, ended: dict[str, str], tmp_path: Path, server: str
) -> None:
    section("celery", f"With {system}").write(tmp_path, server)
    section("celery", f"FastAPI with {system}").write(tmp_path, server)
    given = {"OXHERD_URL": server, "PYTHONPATH": f"{tmp_path}:{variables(system).get('PYTHONPATH', '')}"}
    with (
        started(tmp_path, [worker], **given),
        serving(tmp_path, SERVE, server, PYTHONPATH=given["PYTHONPATH"]) as (http, *_),
    ):
        placed = http.post("/orders", json={"number": 7, "email": "ann@example.com"})
        assert placed.status_code == 202
        path = f"/events/{placed.json()['id']}"
        until_sync(lambda: ended.items() <= http.get(path).json().items(), 60)
        assert http.get(path).json()["result"] == "receipt 7 to ann@example.com"
