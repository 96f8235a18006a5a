"""What handlers need and what surrounds them: dependencies, lifespans of a worker's process, middleware."""
