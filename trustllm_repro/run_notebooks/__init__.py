"""Run the notebooks of a profile, in order, and only those whose inputs have changed."""
