"""Only permissions: oxherd has no table here."""
