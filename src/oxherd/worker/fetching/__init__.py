"""Which job begins next, and when: the fetch loop, the marker wait, slots, poison isolation.

Knows nothing of handlers: a fetched job goes to the callback `begin`. Start reading at `fetcher`.
"""
