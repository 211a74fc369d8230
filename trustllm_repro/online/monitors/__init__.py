"""Monitors, one file each."""
