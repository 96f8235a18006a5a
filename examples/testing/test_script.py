from pathlib import Path

import script

from oxherd.testing import captured, run_until_empty


def test_each_line_is_an_event(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"order_id": 1, "item": "pen"}\n{"order_id": 2, "item": "ink"}\n')
    with captured(script.herd) as emits:
        assert script.main(file) == 2
    emits.assert_emitted(script.order_imported, order_id=2, item="ink")


def test_the_handler() -> None:
    assert script.order_imported.call(script.Order(order_id=1, item="pen")) == "1: pen"


async def test_end_to_end(oxherd_server: str) -> None:
    async with script.herd:
        await script.order_imported.emit(script.Order(order_id=1, item="pen"), delay=3600)
        (ended,) = await run_until_empty(script.herd)
    assert ended.outcome == "completed"
