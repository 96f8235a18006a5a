"""Fetches jobs, runs their handlers, and writes the outcomes; knows nothing of `app`, `event` or telemetry.

A `Worker` has a `QueueGroup` for each event or shared queue, and a group a `QueueWorker` for each queue or shard.
Begin with `queue_worker`, then `fetching`, `running`, `executors`, `upkeep`.
"""
