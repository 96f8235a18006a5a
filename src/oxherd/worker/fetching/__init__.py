"""Which job is begun next, and when: slots, the fetch loop, the idle wait, isolation.

Begin with `fetcher`.
"""
