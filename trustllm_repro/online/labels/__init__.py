"""Who says which answers are unsafe, and how far that can be trusted."""
