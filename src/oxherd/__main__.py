"""`python -m oxherd` is `oxherd`."""

from oxherd.cli import main

main()
