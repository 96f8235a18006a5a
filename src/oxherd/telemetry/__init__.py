"""Subscribers to the lifecycle signals: the core does not know them."""
