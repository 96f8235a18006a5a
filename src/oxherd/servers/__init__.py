"""Real servers on this machine, from the bundled `valkey-server`: embedded, standalone, cluster, Sentinel."""
