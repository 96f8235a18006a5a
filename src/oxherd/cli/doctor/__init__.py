"""`oxherd doctor`: what is wrong, and what to do. Each check is a function in `command.py`'s table."""
