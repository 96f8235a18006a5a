"""One job, from its fetch to its outcome in Redis.

Begin with `pipeline`; `outcome` has the table of what becomes of it, `settling` writes it.
"""
