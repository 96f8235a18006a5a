"""The loops beside the jobs: lock renewal and the stalled check, the watchdog, the loop monitor, the shard watcher."""
