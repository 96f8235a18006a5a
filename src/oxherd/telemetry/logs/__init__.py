"""The log: which signal makes which record, and how a record is written.

Begin with `subscriber`.
"""
