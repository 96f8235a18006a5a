"""Subscribers to the lifecycle signals: logs, metrics, traces, and the health endpoint.

May import `worker.health` and the floors below `producer`; nothing below knows it. Begin with `logs.subscriber`.
"""
