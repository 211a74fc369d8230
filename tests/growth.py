"""How the time of a reading grows with the length of what it reads."""

from __future__ import annotations

import time
from collections.abc import Callable

LINEAR = 9  # four times the text: a linear reading takes 4 times as long, a quadratic one 16


def growth(read: Callable[[str], object], piece: str) -> float:
    """Processor time for four times the text over that for the text, each the best of three.

    The text is the piece so often that reading it takes 5 ms, which a clock can measure.
    """
    n = max(1, 500 // len(piece))
    while (base := _best(read, piece * n)) < 0.005:
        n *= 2
    return _best(read, piece * (4 * n)) / base


def _best(read: Callable[[str], object], text: str) -> float:
    taken = []
    for _ in range(3):
        begun = time.process_time()
        read(text)
        taken.append(time.process_time() - begun)
    return min(taken)
