"""An event's limits over all workers, as they are now."""
