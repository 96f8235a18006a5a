"""The example project as it is run: gunicorn, a worker in another process, HTTP."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.django.shop import DEADLINE, SHOP, Shop
from tests.harness import until_sync


@pytest.fixture
def shop(tmp_path: Path, standalone: str, prefix: str) -> Iterator[Shop]:
    with Shop(tmp_path, standalone, prefix) as shop:
        shop.migrate()
        yield shop


def test_an_order_is_confirmed_by_a_worker_once_it_is_committed(shop: Shop) -> None:
    shop.serve("gunicorn", "project.wsgi", "--bind", "127.0.0.1:0", "--workers", "2", "--preload")
    assert shop.place(broken=True).status_code == 500
    placed = [shop.place().json() for _ in range(6)]
    worker = shop.start_worker()
    for each in placed:
        until_sync(lambda number=each["order"]: shop.order(number)["confirmed"] == 1, DEADLINE)
    ended = shop.wait("event.end", count=6)
    assert {record["event_id"] for record in ended} == {each["event"] for each in placed}
    assert {record["outcome"] for record in ended} == {"completed"}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(DEADLINE) == 0


@pytest.mark.slow
def test_every_kind_of_handler_has_django_in_each_process(shop: Shop, tmp_path: Path) -> None:
    shop.manage("shell", "-c", "from shop.models import Order; Order.objects.create(item='pen')")
    # From another folder: what the supervisor starts has to find the project as well.
    worker = shop.start_worker("--processes", "2", script=str(SHOP / "manage.py"), cwd=tmp_path)
    shop.wait("worker.start", count=2)
    for event in ("order.placed", "order.counted", "order.invoiced"):
        assert shop.manage("oxherd", "emit", event, '{"order_id": 1}').returncode == 0
    ended = shop.wait("event.end", count=3)
    assert {(record["event"], record["outcome"]) for record in ended} == {
        ("order.placed", "completed"), ("order.counted", "completed"), ("order.invoiced", "completed"),
    }  # fmt: skip
    found = shop.manage("shell", "-v", "0", "-c", "from shop.models import Order; print(Order.objects.get().invoice)")
    assert found.stdout.strip().endswith("invoice of pen")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(DEADLINE) == 0


@pytest.mark.slow
def test_a_worker_with_reload_imports_the_project_anew(shop: Shop, tmp_path: Path) -> None:
    for file in SHOP.rglob("*.py"):
        copied = tmp_path / "copy" / file.relative_to(SHOP)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(file.read_bytes())
    shop.start_worker("--reload", cwd=tmp_path / "copy")
    events = tmp_path / "copy" / "shop" / "events.py"
    events.write_text(events.read_text().replace('"order.counted"', '"order.recounted"'))
    started = shop.wait("worker.start", count=2)
    assert "order.recounted" in str(started[-1])


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_the_dashboard_is_in_the_admin_of_a_real_server(shop: Shop, server: str) -> None:
    create = "from django.contrib.auth.models import User; User.objects.create_superuser('ada', password='secret')"
    assert shop.manage("shell", "-c", create).returncode == 0
    if server == "gunicorn":
        shop.serve("gunicorn", "project.wsgi", "--bind", "127.0.0.1:0")
    else:
        shop.serve("uvicorn", "project.asgi:application", "--port", "0")
    root = "/admin/oxherd/dashboard/"
    page = shop.client.get(root, follow_redirects=True)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token is not None
    signed_in = shop.client.post(
        f"/admin/login/?next={root}",
        data={"username": "ada", "password": "secret", "csrfmiddlewaretoken": token[1]},
        headers={"Origin": str(shop.client.base_url)},
        follow_redirects=True,
    )
    assert "order.placed" in signed_in.text
    with shop.client.stream("GET", f"{root}?live=1") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert any("order.placed" in line for line in stream.iter_lines())
    paused = shop.client.post(
        f"{root}actions/pause", data={"event": "order.placed"}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert paused.status_code == 303
    assert "paused" in shop.manage("oxherd", "ls").stdout
