"""Claims of the paper and defects of its numbers, as frames."""

from __future__ import annotations

import math
from functools import lru_cache

import pandas as pd

from trustllm_repro.analysis import claims_overall, claims_tasks  # noqa: F401  they fill CLAIMS
from trustllm_repro.analysis.audit_list import DEFECTS, all_changes, defects_table
from trustllm_repro.analysis.claims import CLAIMS
from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.errors import SettingsError
from trustllm_repro.metrics.comparisons import benjamini_hochberg
from trustllm_repro.scoring.run import Run
from trustllm_repro.tasks import DIMENSIONS


@lru_cache(maxsize=4)
def evidence_of(run: Run) -> Evidence:
    """One reading of a run serves all claims and defects."""
    return Evidence(run)


def examine_all(evidence: Evidence) -> pd.DataFrame:
    """All claims as a table: id, claim, evidence, test, p, q (Benjamini-Hochberg), verdict."""
    order = sorted(CLAIMS.values(), key=lambda c: ("OTSFRPE".index(c.id[0]), c.id))
    lines = []
    for c in order:
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
def _claims(run: Run) -> pd.DataFrame:
    return examine_all(evidence_of(run))


@lru_cache(maxsize=4)
def _defects(run: Run) -> pd.DataFrame:
    return defects_table(evidence_of(run))


def claims(run: Run, dimension: str = "") -> pd.DataFrame:
    """What the paper claims of a dimension (all if empty), tested on the recorded answers.

    Columns: id, claim, evidence, test, p, q (Benjamini-Hochberg over all claims), verdict
    ("supported", "not supported", "artefact", "not decidable from records"), cells (what it
    rests on).
    """
    found = _claims(run)
    # Claims are numbered by the first letter of their dimension.
    mine = found["id"].str.startswith(_known(dimension)[:1].upper())
    return found[mine].reset_index(drop=True)


def defects(run: Run, dimension: str = "") -> pd.DataFrame:
    """Where published numbers of a dimension (all if empty) are not what their caption says.

    Columns: id, dimension, defect, evidence, largest_change (corrected less authors' value),
    models_moved (in rank), listed_before (in a first inventory of the records).
    """
    found = _defects(run)
    mine = found["dimension"] == _known(dimension) if dimension else found["id"] != ""
    return found[mine].reset_index(drop=True)


def before_after(run: Run, defect: str = "") -> pd.DataFrame:
    """Numbers before and after a defect is corrected (all defects if empty), a row a model.

    Columns: id, table, column, model, published, authors, corrected, change, rank_before,
    rank_after (among the models with a value under both rules).

    Raises:
        SettingsError: there is no such defect.
    """
    if defect and defect not in {d.id for d in DEFECTS}:
        raise SettingsError(
            f"no defect {defect!r}", remedy=f"one of: {', '.join(d.id for d in DEFECTS)}"
        )
    frame = all_changes(evidence_of(run))
    found = frame[frame["id"] == defect] if defect else frame
    return found[["id", *[c for c in found.columns if c != "id"]]].reset_index(drop=True)


def changed(changes: pd.DataFrame) -> pd.DataFrame:
    """The rows of `before_after` whose number or rank is another one afterwards."""
    before, after = changes["rank_before"], changes["rank_after"]
    moved = (changes["change"].abs() > 0.0005) | (before.notna() & (before != after))
    return changes[moved]


def _known(dimension: str) -> str:
    if dimension and dimension not in DIMENSIONS:
        raise SettingsError(
            f"no dimension {dimension!r}", remedy=f"one of: {', '.join(DIMENSIONS)}"
        )
    return dimension
