"""Drills that break a cluster of six nodes: three primaries, each with a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oxherd.drills.drill import Needs, drill

if TYPE_CHECKING:
    from oxherd.drills.scene import Scene


@drill(
    "cluster.primary-killed",
    "the primary of the queue is killed, and its replica takes over",
    Needs.CLUSTER,
    repeats=True,
    durable=True,
    seconds=20,
)
async def primary_killed(scene: Scene) -> None:
    cluster = scene.cluster
    primary = await scene.blocking(cluster.primary_of, scene.slot)
    await scene.blocking(primary.kill)
    await scene.blocking(cluster.wait_stable)
    # It comes back as a replica, without which nothing durable can be acknowledged.
    await scene.blocking(primary.start)
    await scene.blocking(cluster.wait_stable)


@drill("cluster.promoted", "the queue's replica is promoted by hand", Needs.CLUSTER, seconds=15)
async def promoted(scene: Scene) -> None:
    cluster = scene.cluster
    primary = await scene.blocking(cluster.primary_of, scene.slot)
    replica = await scene.blocking(cluster.replica_of, primary)
    await scene.blocking(cluster.failover, replica)


@drill("cluster.slot-moved", "the queue's slot moves, key by key", Needs.CLUSTER, seconds=15)
async def slot_moved(scene: Scene) -> None:
    cluster = scene.cluster
    source = await scene.blocking(cluster.primary_of, scene.slot)
    others = [node for node in cluster.nodes if node is not source and node.role() == "primary"]
    target = scene.rng.choice(others)
    await scene.blocking(cluster.begin_move, scene.slot, target)
    while await scene.blocking(lambda: cluster.move_keys(scene.slot, target, limit=scene.rng.randint(1, 4))):
        await scene.pause(0.0, 0.02)
    await scene.blocking(cluster.end_move, scene.slot, target)


@drill(
    "cluster.cut-off",
    "the queue's primary is cut off from the other nodes, not from the workers",
    Needs.CLUSTER,
    repeats=True,
    durable=True,
    # A primary that nobody follows takes no writes: without this it would, until it notices.
    server={"min-replicas-to-write": 1},
    seconds=25,
)
async def cut_off(scene: Scene) -> None:
    cluster = scene.cluster
    primary = await scene.blocking(cluster.primary_of, scene.slot)
    replica = await scene.blocking(cluster.replica_of, primary)
    await scene.blocking(cluster.cut_off, primary)
    await scene.until(lambda: replica.role() == "primary", "the fail-over")
    await scene.pause(0.0, 2.0)
    await scene.blocking(cluster.reconnect, primary)
    # The nodes call it failed for a while longer, which does not keep clients away.
    await scene.until(lambda: primary.role() == "replica" and primary.linked(), "the old primary follows the new one")


@drill("cluster.down", "every node goes down, and comes back", Needs.CLUSTER, seconds=25)
async def down(scene: Scene) -> None:
    cluster = scene.cluster
    for node in cluster.nodes:
        await scene.blocking(node.terminate)
    await scene.pause(0.5, 2.0)
    for node in cluster.nodes:
        await scene.blocking(node.launch)
    for node in cluster.nodes:
        await scene.blocking(node.wait_ready)
    await scene.blocking(cluster.wait_stable)


@drill("cluster.node-added", "a node is added, and takes over the queue's slot", Needs.CLUSTER, seconds=20)
async def node_added(scene: Scene) -> None:
    cluster = scene.cluster
    node = await scene.blocking(cluster.add_primary)
    await scene.blocking(cluster.move_slot, scene.slot, node)
