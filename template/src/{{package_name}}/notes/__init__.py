"""Notes: the example domain. Read it, copy it, delete it."""
