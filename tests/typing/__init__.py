"""What type checkers say about users' code: `uses.py` passes, `mistakes.py` is refused at each marked line."""
