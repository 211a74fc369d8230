"""What a run stored: frames of scores, labels and figures, and the answers themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.online.generations.generation import INDEX, Generation, read_generations
from trustllm_repro.online.studies.estimates import FIGURE_COLUMNS
from trustllm_repro.online.studies.evaluate import CELL, KEYS, SCORE_COLUMNS, TOKEN_COLUMNS
from trustllm_repro.store.atomic import write_with

COLUMNS = {
    "scores": SCORE_COLUMNS,
    "token_scores": TOKEN_COLUMNS,
    "figures": FIGURE_COLUMNS,
    "labels": [*CELL, "judge", "case", "score", "unsafe", "disputed"],
    "quality": [*CELL, "judge", "against", "n"],
    "pilot": [
        *CELL, "judge", "labels", "group", "detection", "unit", "prefix", "value", "ci_low",
        "ci_high", "n",
    ],
}  # fmt: skip
# Words that stand in very many rows.
_WORDS = (*KEYS[:-1], "judge", "metric", "labels", "group")


@dataclass(frozen=True)
class Study:
    """The online part of a run folder; make one with `open_study`.

    Frames are read once, and empty where the run has no such file:

    * scores: a row per (model, task, monitor, level, permuted, case); see `evaluate_monitors`.
    * token_scores: model, task, monitor, case, token (from 1), score (float32); all of the model
      seen, labels as they are.
    * figures: see `online_figures`.
    * labels: model, task, judge, case, score, unsafe, disputed. quality: how good a judge is
      (online.labels.judges). pilot: how early it calls prefixes unsafe (studies.pilot).
    """

    path: Path

    scores = cached_property(lambda self: self._read("scores"))
    token_scores = cached_property(lambda self: self._read("token_scores"))
    figures = cached_property(lambda self: self._read("figures"))
    labels = cached_property(lambda self: self._read("labels"))
    quality = cached_property(lambda self: self._read("quality"))
    pilot = cached_property(lambda self: self._read("pilot"))

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(self.labels["task"]))

    def generations(self, task: str, model: str | None = None) -> list[Generation]:
        """Stored answers to a task, of one model or of all. Raises SourceMissing, SourceCorrupt."""
        folders = sorted(p.parent for p in self.path.glob(f"online/*/{task}/{INDEX}"))
        folders = [f for f in folders if model in (None, f.parent.name)]
        if not folders:
            raise SourceMissing(
                f"no stored answers to {task!r}{f' of {model}' if model else ''} in {self.path}",
                remedy=f"trustllm-repro monitor --task {task} --out {self.path}",
            )
        return [g for f in folders for g in read_generations(f)]

    def store(self, name: str, new: pd.DataFrame) -> Path:
        """Put rows into a frame's file; they replace those of the same models and tasks.

        Raises SourceCorrupt: the file there cannot be read; OutputError.
        """
        old = self._read(name)
        if len(old) and len(new):
            mine = pd.MultiIndex.from_frame(old[CELL].astype(str))
            cells = pd.MultiIndex.from_frame(new[CELL].astype(str).drop_duplicates())
            new = pd.concat([f for f in (old[~mine.isin(cells)], new) if len(f)])
        words = [c for c in _WORDS if c in new]
        frame = new.astype(dict.fromkeys(words, str)).astype(dict.fromkeys(words, "category"))
        return write_with(
            self._file(name), lambda p: frame.to_parquet(p, index=False, compression="zstd")
        )

    def _file(self, name: str) -> Path:
        return self.path / f"online_{name}.parquet"

    def _read(self, name: str) -> pd.DataFrame:
        path = self._file(name)
        if not path.exists():
            return pd.DataFrame(columns=COLUMNS[name])
        try:
            frame = pd.read_parquet(path)
            frame[CELL]
        except (ValueError, KeyError, OSError) as e:  # pyarrow's errors are among these
            raise SourceCorrupt(
                f"{path} cannot be read: {e}", remedy="delete it; the next run writes it anew"
            ) from e
        return frame


def open_study(run_dir: str | Path) -> Study:
    """The online study in a run folder, or in a folder that holds its frames alone.

    Raises SourceMissing: there is none.
    """
    path = Path(run_dir)
    if not any(path.glob("online_*.parquet")):
        raise SourceMissing(
            f"no online study in {path}",
            remedy=f"trustllm-repro monitor --model smollm2-135m --out {path}",
        )
    return Study(path)
