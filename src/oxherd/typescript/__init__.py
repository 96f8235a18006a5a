"""What programs in TypeScript, and any that read JSON Schema, need to know of a herd's events: a client of the herd."""
