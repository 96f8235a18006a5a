"""Failure drills: real servers and workers under load, a fault, and a reconciliation of every event afterwards.

Begin with `session.py`, which runs a drill, and `catalogue.py`, which lists them. May import everything but `cli`.
"""
