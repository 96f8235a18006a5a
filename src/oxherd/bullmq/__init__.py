"""BullMQ on Redis: keys, jobs, options, replies and scripts. The only package that knows them.

Begin with `queue`. Imports `redis` and the floors below.
"""
