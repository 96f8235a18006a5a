"""JSON as other producers write it: read, or failed with the reason, and never the end of a worker."""

from __future__ import annotations

from typing import Any

import pytest

from oxherd import Oxherd, Retry
from tests.harness import Records, until

FOREIGN = {
    "cut": (rb'{"text":"cut \ud83d"}', {"text": "cut \ufffd"}),
    "keys": (rb'{"\ude00":1,"__proto__":2,"a":1,"a":2}', {"\ufffd": 1, "__proto__": 2, "a": 2}),
    "deep": (b'{"a":' + b"[" * 400 + b"]" * 400 + b"}", "its JSON is nested more than 200 levels deep"),
    "digits": (b'{"a":' + b"1" * 5000 + b"}", "its JSON has an integer of more than 4,300 digits"),
    "mark": (b'\xef\xbb\xbf{"a":1}', "it is not valid JSON"),
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_what_another_producer_wrote_is_read_or_fails_with_the_reason(
    kind: str, local_herd: Oxherd, records: Records
) -> None:
    herd, given = local_herd, list[Any]()

    @herd.event("order.placed", retry=Retry(attempts=3))
    async def order_placed(order: dict[str, Any]) -> None:
        given.append(order)
        if "text" in order or "__proto__" in order:
            raise ValueError(f"declined {order}")

    raw, expected = FOREIGN[kind]
    async with herd:
        foreign, usual = await order_placed.emit({}, delay=0.1), await order_placed.emit({"usual": 1}, delay=0.2)
        backend = await herd.backend()
        keys = backend.queue(order_placed.declaration).keys
        await backend.client.call(keys.slot, "HSET", keys.job(str(foreign.id)), "data", raw)
        await order_placed.start()
        await records.wait("event.end", event_id=usual.id, outcome="completed")
        if isinstance(expected, dict):
            await records.wait("event.end", event_id=foreign.id, outcome="retrying")
            assert expected in given
            return
        (fault,) = await records.wait("queue.error", source="data", event_id=foreign.id)
        assert expected in fault.error["message"]

        async def reason() -> bool:
            stored = await backend.client.call(keys.slot, "HGET", keys.job(str(foreign.id)), "failedReason")
            return stored is not None and expected in stored.decode()

        await until(reason)
