"""Takes events from their queues, runs them, and writes what became of them."""
