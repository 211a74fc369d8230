"""Claims of the paper and defects of its numbers, as frames and as numbers that texts quote."""

from __future__ import annotations

import math
from functools import lru_cache

import pandas as pd

from trustllm_repro.analysis.claims import CLAIMS
from trustllm_repro.analysis.defects import CHOOSING, DEFECTS
from trustllm_repro.analysis.evidence import CHANGES, Evidence, consistency, direction_search
from trustllm_repro.errors import SettingsError
from trustllm_repro.metrics.comparisons import benjamini_hochberg
from trustllm_repro.scoring.results import Results
from trustllm_repro.scoring.run import Run
from trustllm_repro.scoring.tables import write_csv
from trustllm_repro.tasks import DIMENSIONS


@lru_cache(maxsize=4)
def evidence_of(run: Run) -> Evidence:
    """One reading of a run serves all claims and defects."""
    return Evidence(run)


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
                "test": str(found.test or ""),
                "p": found.test.p if found.test else math.nan,
                "verdict": found.verdict,
                "cells": [list(x) for x in c.columns],
            }
        )
    frame = pd.DataFrame(lines)
    frame.insert(5, "q", benjamini_hochberg(frame["p"]))
    return frame


def defects(run: Run, dimension: str = "") -> pd.DataFrame:
    """Where published numbers of a dimension (all if empty) are not what their caption says.

    Columns: id, dimension, defect, evidence, largest_change (corrected less authors' value),
    models_moved (in rank), listed_before (in a first inventory of the records).
    """
    found = _defects(evidence_of(run))
    return found[found["dimension"].str.startswith(_known(dimension))].reset_index(drop=True)


@lru_cache(maxsize=4)
def _defects(evidence: Evidence) -> pd.DataFrame:
    changes = _changes(evidence)
    by_id = changes["id"]
    largest = changes.loc[changes["change"].abs().dropna().groupby(by_id).idxmax()]
    frame = pd.DataFrame(
        {
            "id": d.id,
            "dimension": d.dimension,
            "defect": d.title,
            "evidence": d.evidence(evidence),
            "listed_before": d.known,
        }
        for d in DEFECTS
    )
    moved = changes["model"].where(moved_in_rank(changes)).groupby(by_id).nunique()
    frame.insert(4, "largest_change", frame["id"].map(largest.set_index("id")["change"]))
    frame.insert(5, "models_moved", frame["id"].map(moved))
    return frame


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
    return found.reset_index(drop=True)


@lru_cache(maxsize=4)
def _changes(evidence: Evidence) -> pd.DataFrame:
    parts = [evidence.changes(*c).assign(id=d.id) for d in DEFECTS for c in d.columns]
    return pd.concat(parts, ignore_index=True)[["id", *CHANGES]]


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


def quote_overview(run: Run, ranks: pd.DataFrame, claims: pd.DataFrame) -> None:
    """Mean ranks and claims, as results named rank.* and claim.*; and claims.csv.

    Args:
        ranks: of `rank_intervals`. claims: of `claims`.
    """
    write_csv(run.tables / "overview_ranking.csv", ranks.drop(columns="published"))
    write_csv(run.path / "claims.csv", claims.drop(columns="cells"))
    results = Results("16_overview")
    for r in ranks.itertuples():
        results.add(f"rank.{r.model}", float(r.mean_rank), ".2f")
        results.add(f"rank.{r.model}.low", float(r.low), ".2f")
        results.add(f"rank.{r.model}.high", float(r.high), ".2f")
    for c in claims.itertuples():
        results.add(f"claim.{c.id}.verdict", c.verdict, cells=c.cells)
        if not pd.isna(c.p):
            results.add(f"claim.{c.id}.p", float(c.p), ".2g", c.cells)
            results.add(f"claim.{c.id}.q", float(c.q), ".2g", c.cells)
            results.add(f"claim.{c.id}.test", c.test, cells=c.cells)
    for verdict, n in claims["verdict"].value_counts().items():
        results.add(f"claims.{str(verdict).replace(' ', '-')}", int(n))
    results.add("claims.all", len(claims))
    results.save(run.path)


def quote_audit(run: Run, defects: pd.DataFrame) -> None:
    """Defects and the numbers behind them, as results named audit.*; audit.csv and
    audit_changes.csv.

    Args:
        defects: of `defects`.
    """
    evidence, changes = evidence_of(run), before_after(run)
    write_csv(run.path / "audit.csv", defects)
    write_csv(run.path / "audit_changes.csv", changes[[*CHANGES, "id"]])
    results = Results("17_audit")
    cells_of = {d.id: d.columns for d in DEFECTS}
    for d in defects.itertuples():
        results.add(f"audit.{d.id}.evidence", d.evidence, cells=cells_of[d.id])
        if not pd.isna(d.largest_change):
            results.add(f"audit.{d.id}.largest", float(d.largest_change), "+.3f", cells_of[d.id])
            results.add(f"audit.{d.id}.moved", int(d.models_moved), cells=cells_of[d.id])
    results.add("audit.count", len(defects))
    results.add("audit.new", int((~defects["listed_before"]).sum()))
    results.add("audit.moved-models", changes.loc[moved_in_rank(changes), "model"].nunique())
    found = direction_search()
    natural = found.loc[found["turned"] == "none", "deviation"].iloc[0]
    results.add("audit.rank.natural", float(natural), ".3f")
    results.add("audit.rank.best", float(found["deviation"].iloc[0]), ".3f")
    results.add("audit.rank.turned", str(found["turned"].iloc[0]))
    hits, zero_shot, unguessable = evidence.leaked()
    results.add("audit.leak.hits", hits)
    results.add("audit.leak.zero-shot", zero_shot)
    results.add("audit.leak.unguessable", unguessable)
    for key, (_, task, form) in zip(("preference", "moralchoice"), CHOOSING, strict=True):
        total = evidence.choosing(task, form).sum()
        results.add(f"audit.choose.{key}", int(total["chosen"]))
        results.add(f"audit.refused.{key}", int(total["refused"]))
    results.add("audit.contradictions", len(consistency()))
    results.save(run.path)
