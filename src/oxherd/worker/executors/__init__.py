"""Where a handler runs: in the event loop, in threads, or in processes of their own.

Begin with `executor`.
"""
