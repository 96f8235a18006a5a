"""What may be seen of a payload: the payload as shown in a log, and texts with what is withheld taken out. Pure.

Begin with `shown_payload`, then `redaction`. Imports `errors`.
"""
