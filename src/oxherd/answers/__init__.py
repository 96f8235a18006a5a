"""What became of events: who waits for it, and how they hear of it.

Imports bullmq and below. `ask` (bullmq/answers.py) is the truth; the event stream only wakes those who wait.
"""
