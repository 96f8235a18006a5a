"""From an emit to its queue: the emitter, the shard router, the backend, the portal for synchronous callers.

Begin with `emitter`. Imports `bullmq`, `servers`, `redis` and the floors below.
"""
