"""BullMQ: the only folder that knows its keys, scripts and options."""
