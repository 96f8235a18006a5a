"""The tasks of the cases."""

import django

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task


@task
def add(one, other):
    return one + other
