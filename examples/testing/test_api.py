from collections.abc import Iterator

import api
import pytest
from fastapi.testclient import TestClient

from oxherd.testing import captured, run_until_empty


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(api.app) as client:
        yield client


def test_an_order_is_accepted_and_an_event() -> None:
    with captured(api.herd) as emits, TestClient(api.app) as client:
        answer = client.post("/orders", json={"order_id": 7})
    assert answer.status_code == 202
    assert answer.json() == {"event": str(emits.assert_emitted(api.order_placed, order_id=7).id)}


def test_an_invalid_order_is_no_event() -> None:
    with captured(api.herd) as emits, TestClient(api.app) as client:
        assert client.post("/orders", json={"order_id": "x"}).status_code == 422
    emits.assert_not_emitted()


async def test_the_second_attempt_succeeds(oxherd_server: str, client: TestClient) -> None:
    client.post("/orders", json={"order_id": 7})
    ended = await run_until_empty(api.herd)
    assert [run.outcome for run in ended] == ["retrying", "completed"]
