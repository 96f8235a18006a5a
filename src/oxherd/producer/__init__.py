"""From an emit to its queue: the emitter, shard routing, the backend of each event loop, the portal for sync callers.

Imports `bullmq`, `servers`, `redis` and the floors below. Begin with `emitter`.
"""
