"""`python -m genart`."""

from .cli import main

main()
