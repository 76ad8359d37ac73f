"""`python -m fastpg_new`."""

from fastpg_new.cli import main

main()
