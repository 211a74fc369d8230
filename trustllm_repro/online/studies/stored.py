"""What a run stored: frames of scores, labels and figures, and the answers themselves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trustllm_repro.online.generations.trace import Trace


class Study:
    """The online part of a run folder; make one with `open_study`.

    Frames are read once, and empty where the run has no such file:

    * scores: model, task, monitor, access, level, permuted, case, group, fold, unsafe, disputed,
      tokens, score, peak, at_16, at_32, at_64, at_half, peak_16, peak_32, peak_64, peak_18pct,
      peak_25pct, peak_half, reason; see `evaluate_monitors`.
    * token_scores: model, task, monitor, case, token (from 1), score (float32).
    * figures: see `online_figures`.
    * labels: model, task, judge, case, score, unsafe. quality: how good a judge is. pilot: how early
      it calls beginnings unsafe.
    """

    def generations(self, task: str, model: str | None = None) -> list[Trace]:
        """Stored answers to a task, of one model or of all; neither a model nor a wheel is needed."""
        raise NotImplementedError


def open_study(run_dir: str | Path) -> Study:
    """The study in a run folder, or in a folder of its frames alone.

    Raises:
        SourceMissing: no such folder, or nothing was watched in it. SourceCorrupt: a frame that
            cannot be read.
    """
    raise NotImplementedError


def evaluate_monitors(monitors, generations, folds: int = 5, permuted: bool = False) -> pd.DataFrame:
    """Out-of-fold scores; see the final module."""
    raise NotImplementedError
