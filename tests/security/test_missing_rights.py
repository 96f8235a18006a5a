"""A missing right or a wrong password is one error with the remedy."""

from __future__ import annotations

import pytest

from oxherd import EmitError, Oxherd
from tests.harness import Records, until
from tests.security.rights import USER, AuditedServer


@pytest.mark.parametrize("missing", ["evalsha", "xadd", "bzpopmin", "client|setname", "ping"])
async def test_a_missing_right_is_one_error_that_names_the_command(
    missing: str, standalone: AuditedServer, records: Records
) -> None:
    standalone.all("ACL", "SETUSER", USER, f"-{missing}")
    herd = Oxherd(standalone.url, emit_timeout=0.5)

    @herd.event("order.placed")
    async def order_placed(order: dict[str, str]) -> None: ...

    async with herd:
        await herd.start()
        if missing == "xadd":
            # Idle by then: what it began would be put back by a script that is refused too, and not called again.
            await until(standalone.blocked)
        if missing != "bzpopmin":  # a producer does not wait
            # What a script wrote before it was refused stays written.
            stored, told = missing == "xadd", None
            # A deadline that falls between a call and its reply leaves open whether it is stored.
            for _ in range(5):
                with pytest.raises(EmitError, match=missing.replace("|", r"\|")) as caught:
                    await order_placed.emit({"card": "4111-1111"})
                assert "Access rights" in str(caught.value)
                told = caught.value.maybe_stored
                if told == stored:
                    break
            assert told == stored
        await records.wait("redis.error")
        standalone.all("ACL", "SETUSER", USER, f"+{missing}")
        await order_placed.emit({})
        await records.wait("redis.recovered")
    [error] = records.named("redis.error", source="auth")
    assert records.named("redis.error") == [error]
    assert f"'{missing}'" in vars(error)["error"]["message"]
    assert "4111-1111" not in str([vars(record) for record in records.all])


async def test_missing_key_rights_are_one_error(standalone: AuditedServer, records: Records) -> None:
    herd = Oxherd(standalone.url, prefix="other", emit_timeout=0.5)
    event = herd.declare("order.placed", dict[str, str])
    async with herd:
        with pytest.raises(EmitError, match=r"access .* key") as caught:
            await event.emit({"card": "4111-1111"})
    [error] = records.named("redis.error", source="auth")
    assert "4111-1111" not in str(caught.value) + str(vars(error))


@pytest.mark.parametrize("topology", ["cluster", "sentinel"])
async def test_a_wrong_password_for_discovery_is_an_auth_error(
    topology: str, standalone: AuditedServer, records: Records
) -> None:
    """Neither the nodes of a cluster nor Sentinels answer a stranger; any server refuses the same way."""
    [port] = standalone.ports
    path = "/mymaster?sentinel_username=oxherd&sentinel_password=wrong" if topology == "sentinel" else ""
    herd = Oxherd(f"redis+{topology}://oxherd:wrong@127.0.0.1:{port}{path}", emit_timeout=0.5)
    event = herd.declare("order.placed", dict[str, str])
    async with herd:
        with pytest.raises(EmitError, match="invalid username-password pair"):
            await event.emit({})
    [error] = records.named("redis.error")
    assert vars(error)["source"] == "auth"


async def test_a_queue_that_the_user_may_not_read_is_none_of_the_unknown_ones(standalone: AuditedServer) -> None:
    for queue in ("orders", "{renamed}"):
        standalone.at(f"bull:{queue}:meta", "HSET", f"bull:{queue}:meta", "opts.maxLenEvents", "10000")
    herd = Oxherd(standalone.url, emit_timeout=5)
    herd.declare("order.placed", dict[str, str])
    async with herd:
        assert [queue.name for queue in await herd.admin.unknown_queues()] == ["{renamed}"]
        assert [row.name for row in await herd.admin.events()] == ["order.placed"]
