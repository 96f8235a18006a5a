"""What the log shows of a payload, and the redaction of all else from texts. Pure; imports `payload` and `errors`.

Begin with `shown_payload`, then `redaction`.
"""
