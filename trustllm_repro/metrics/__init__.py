"""Metrics over verdicts: rates, F1, correlation, association, composites, and comparisons."""
