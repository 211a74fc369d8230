"""Measurements of speed and memory; they write data/measurements."""
