"""Maintenance: training of judges, model cards, gallery, lock file."""
