"""What the containers run, as plain processes: no Docker is needed."""
