"""Drills that break a cluster of six nodes: three primaries, each with a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oxherd.drills.drill import Needs, drill

if TYPE_CHECKING:
    from oxherd.drills.session import DrillSession


@drill(
    "cluster.primary-killed",
    "the primary of the queue is killed, and its replica takes over",
    Needs.CLUSTER,
    repeats=True,
    durable=True,
    seconds=20,
)
async def primary_killed(session: DrillSession) -> None:
    cluster = session.cluster
    primary = await session.blocking(cluster.primary_of, session.slot)
    await session.blocking(primary.kill)
    await session.blocking(cluster.wait_stable)
    # It returns as a replica, without which no durable emit is acknowledged.
    await session.blocking(primary.start)
    await session.blocking(cluster.wait_stable)


@drill("cluster.promoted", "the queue's replica is promoted by hand", Needs.CLUSTER, seconds=15)
async def promoted(session: DrillSession) -> None:
    cluster = session.cluster
    primary = await session.blocking(cluster.primary_of, session.slot)
    replica = await session.blocking(cluster.replica_of, primary)
    await session.blocking(cluster.failover, replica)


@drill("cluster.slot-moved", "the queue's slot moves, key by key", Needs.CLUSTER, seconds=15)
async def slot_moved(session: DrillSession) -> None:
    cluster = session.cluster
    source = await session.blocking(cluster.primary_of, session.slot)
    others = [node for node in cluster.nodes if node is not source and node.role() == "primary"]
    target = session.rng.choice(others)
    await session.blocking(cluster.begin_move, session.slot, target)
    while await session.blocking(lambda: cluster.move_keys(session.slot, target, limit=session.rng.randint(1, 4))):
        await session.pause(0.0, 0.02)
    await session.blocking(cluster.end_move, session.slot, target)


@drill(
    "cluster.cut-off",
    "the queue's primary is cut off from the other nodes, not from the workers",
    Needs.CLUSTER,
    repeats=True,
    durable=True,
    # Otherwise the old primary takes writes until it notices that it is cut off.
    server={"min-replicas-to-write": 1},
    seconds=25,
)
async def cut_off(session: DrillSession) -> None:
    cluster = session.cluster
    primary = await session.blocking(cluster.primary_of, session.slot)
    replica = await session.blocking(cluster.replica_of, primary)
    await session.blocking(cluster.cut_off, primary)
    await session.until(lambda: replica.role() == "primary", "the failover")
    await session.pause(0.0, 2.0)
    await session.blocking(cluster.reconnect, primary)
    # Not wait_stable: the nodes mark it as failed for a while longer, which clients don't mind.
    await session.until(lambda: primary.role() == "replica" and primary.linked(), "the old primary follows the new one")


@drill("cluster.down", "every node goes down, and comes back", Needs.CLUSTER, seconds=25)
async def down(session: DrillSession) -> None:
    cluster = session.cluster
    for node in cluster.nodes:
        await session.blocking(node.terminate)
    await session.pause(0.5, 2.0)
    for node in cluster.nodes:
        await session.blocking(node.launch)
    for node in cluster.nodes:
        await session.blocking(node.wait_ready)
    await session.blocking(cluster.wait_stable)


@drill("cluster.node-added", "a node is added, and takes over the queue's slot", Needs.CLUSTER, seconds=20)
async def node_added(session: DrillSession) -> None:
    cluster = session.cluster
    node = await session.blocking(cluster.add_primary)
    await session.blocking(cluster.move_slot, session.slot, node)
