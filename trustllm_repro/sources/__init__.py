"""Where items, recorded answers and published numbers come from."""
