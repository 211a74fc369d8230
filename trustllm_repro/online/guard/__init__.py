"""A fitted monitor in a file, and what stops a generation with it."""
