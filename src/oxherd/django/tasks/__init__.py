"""A backend of Django's tasks: a queue of tasks is an event, and a task one of its payloads."""
