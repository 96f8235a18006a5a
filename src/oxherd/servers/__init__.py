"""Real servers on this machine, from the bundled `valkey-server`: embedded, standalone, cluster.

All start and stop alike (`local_server.py`). May import `oxherd.redis` and below; begin with `standalone.py`.
"""
