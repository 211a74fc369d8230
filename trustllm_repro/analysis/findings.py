"""Claims of the paper and defects of its numbers, as frames."""

from __future__ import annotations

import math
from functools import lru_cache

import pandas as pd

from trustllm_repro.analysis.audit import changes_in
from trustllm_repro.analysis.claims import CLAIMS
from trustllm_repro.analysis.defects import DEFECTS
from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.errors import SettingsError
from trustllm_repro.metrics.comparisons import benjamini_hochberg
from trustllm_repro.scoring.run import Run
from trustllm_repro.tasks import DIMENSIONS


@lru_cache(maxsize=4)
def evidence_of(run: Run) -> Evidence:
    """One reading of a run serves all claims and defects."""
    return Evidence(run)


@lru_cache(maxsize=4)
def _claims(evidence: Evidence) -> pd.DataFrame:
    lines = []
    for c in CLAIMS.values():
        found = c.examine(evidence)
        lines.append(
            {
                "id": c.id,
                "claim": c.statement,
                "evidence": found.evidence,
                "test": str(found.test) if found.test else "",
                "p": found.test.p if found.test else math.nan,
                "verdict": found.verdict,
                "cells": [list(x) for x in found.cells],
            }
        )
    frame = pd.DataFrame(lines)
    frame.insert(5, "q", benjamini_hochberg(frame["p"]))
    return frame


@lru_cache(maxsize=4)
def _changes(evidence: Evidence) -> pd.DataFrame:
    parts = [changes_in(evidence, w).assign(id=d.id) for d in DEFECTS for w in d.columns]
    return pd.concat(parts, ignore_index=True)


@lru_cache(maxsize=4)
def _defects(evidence: Evidence) -> pd.DataFrame:
    changes = _changes(evidence)
    by_id = changes["id"]
    largest = changes.loc[changes["change"].abs().dropna().groupby(by_id).idxmax()]
    largest = largest.set_index("id")["change"]
    moved = changes["model"].where(moved_in_rank(changes)).groupby(by_id).nunique()
    lines = [
        {
            "id": d.id,
            "dimension": d.dimension,
            "defect": d.title,
            "evidence": d.evidence(evidence),
            "largest_change": largest.get(d.id, math.nan),
            "models_moved": moved.get(d.id, math.nan),
            "listed_before": d.known,
        }
        for d in DEFECTS
    ]
    return pd.DataFrame(lines)


def claims(run: Run, dimension: str = "") -> pd.DataFrame:
    """What the paper claims of a dimension (all if empty), tested on the recorded answers.

    Columns: id, claim, evidence, test, p, q (Benjamini-Hochberg over all claims), verdict
    ("supported", "not supported", "artefact", "not decidable from records"), cells (what it
    rests on).
    """
    found = _claims(evidence_of(run))
    # Claims are numbered by the first letter of their dimension.
    mine = found["id"].str.startswith(_known(dimension)[:1].upper())
    return found[mine].reset_index(drop=True)


def defects(run: Run, dimension: str = "") -> pd.DataFrame:
    """Where published numbers of a dimension (all if empty) are not what their caption says.

    Columns: id, dimension, defect, evidence, largest_change (corrected less authors' value),
    models_moved (in rank), listed_before (in a first inventory of the records).
    """
    found = _defects(evidence_of(run))
    mine = found["dimension"] == _known(dimension) if dimension else found["id"] != ""
    return found[mine].reset_index(drop=True)


def before_after(run: Run, defect: str = "") -> pd.DataFrame:
    """Numbers before and after a defect is corrected (all defects if empty), a row a model.

    Columns: id, table, column, model, published, authors, corrected, change, rank_before,
    rank_after (among the models with a value under both rules).

    Raises:
        SettingsError: there is no such defect.
    """
    known = [d.id for d in DEFECTS]
    if defect and defect not in known:
        raise SettingsError(f"no defect {defect!r}", remedy=f"one of: {', '.join(known)}")
    frame = _changes(evidence_of(run))
    found = frame[frame["id"] == defect] if defect else frame
    return found[["id", *found.columns.drop("id")]].reset_index(drop=True)


def moved_in_rank(changes: pd.DataFrame) -> pd.Series:
    """Which rows of `before_after` have another rank afterwards: a mask."""
    before, after = changes["rank_before"], changes["rank_after"]
    return before.notna() & (before != after)


def changed(changes: pd.DataFrame) -> pd.DataFrame:
    """The rows of `before_after` whose number or rank is another one afterwards."""
    return changes[(changes["change"].abs() > 0.0005) | moved_in_rank(changes)]


def _known(dimension: str) -> str:
    if dimension and dimension not in DIMENSIONS:
        raise SettingsError(
            f"no dimension {dimension!r}", remedy=f"one of: {', '.join(DIMENSIONS)}"
        )
    return dimension
