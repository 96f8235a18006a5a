"""One job, from its fetch to its outcome in Redis.

Imports fetching/ and below. Begin with `pipeline`; `outcome` has the table of what a run makes of its event, `settling`
writes it, `execution` is what a worker knows of a job meanwhile.
"""
