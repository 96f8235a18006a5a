"""The loops beside the jobs, each with `start` and `stop`: lock renewal and the stalled check, the watchdog, the loop
monitor, the shard watcher, the slot reclaimer.

Begin with `lock_renewer`.
"""
