"""A payload on its way: its type and schema, its JSON, its encryption. Pure.

Begin with `payload_type`. Imports `policy`, `privacy` and `errors`.
"""
