"""Maintenance: training of judges, model cards, gallery, lock file."""

from __future__ import annotations

import sys
from collections.abc import Callable

from trustllm_repro.errors import ReproError


def exit_code(work: Callable[[], object]) -> int:
    """0 if it works; 1, and the message on stderr, for an error of the package."""
    try:
        work()
    except ReproError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0
