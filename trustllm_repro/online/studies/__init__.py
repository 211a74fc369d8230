"""Monitors held against labels, controls and each other."""
