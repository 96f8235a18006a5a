"""The log: which record each signal makes, and how a record is written. Begin with `subscriber`."""
