"""BullMQ on Redis: keys, jobs, options, replies, scripts and schedulers. The only package that knows them.

Begin with `queue`; `scripts` is the table of the Lua. Imports `redis` and the floors below.
"""
