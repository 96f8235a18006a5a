"""Connections, topology, pipelining and outages: the only package that imports redis-py.

Begin with `client`. Imports `errors` and `signals`.
"""
