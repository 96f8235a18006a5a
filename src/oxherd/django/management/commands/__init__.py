"""`manage.py oxherd`."""
