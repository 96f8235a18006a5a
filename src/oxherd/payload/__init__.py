"""A payload's type, schema, JSON and encryption. Pure; imports `errors` only. Begin with `payload_type`."""
