"""Where a handler runs: in the event loop, in threads, or in processes of their own.

Imports running/ and below. Begin with `executor`; for processes, with `processes` (the worker's side), `child` (the
process itself) and `protocol` (what they say to each other).
"""
