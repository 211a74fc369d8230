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


@lru_cache(maxsize=4)
def _claims(run: Run) -> pd.DataFrame:
    evidence, lines = Evidence(run), []
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
    found = _defects(run)
    return found[found["dimension"].str.startswith(_known(dimension))].reset_index(drop=True)


@lru_cache(maxsize=4)
def _defects(run: Run) -> pd.DataFrame:
    changes, evidence = _changes(run), Evidence(run)
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


def before_after(run: Run) -> pd.DataFrame:
    """Numbers before and after each defect is corrected, a row a model.

    Columns: id (of the defect), model, table, column, published, authors, corrected, rank_before,
    rank_after (among the models with a value under both rules), change.
    """
    return _changes(run).copy()


@lru_cache(maxsize=4)
def _changes(run: Run) -> pd.DataFrame:
    evidence = Evidence(run)
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
        results.add(f"rank.{r.model}", r.mean_rank, ".2f")
        results.add(f"rank.{r.model}.low", r.low, ".2f")
        results.add(f"rank.{r.model}.high", r.high, ".2f")
    for c in claims.itertuples():
        results.add(f"claim.{c.id}.verdict", c.verdict, cells=c.cells)
        if not pd.isna(c.p):
            results.add(f"claim.{c.id}.p", c.p, ".2g", c.cells)
            results.add(f"claim.{c.id}.q", c.q, ".2g", c.cells)
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
    evidence, changes = Evidence(run), before_after(run)
    write_csv(run.path / "audit.csv", defects)
    write_csv(run.path / "audit_changes.csv", changes[[*CHANGES, "id"]])
    results = Results("17_audit")
    cells_of = {d.id: d.columns for d in DEFECTS}
    for d in defects.itertuples():
        results.add(f"audit.{d.id}.evidence", d.evidence, cells=cells_of[d.id])
        if not pd.isna(d.largest_change):
            results.add(f"audit.{d.id}.largest", d.largest_change, "+.3f", cells_of[d.id])
            results.add(f"audit.{d.id}.moved", int(d.models_moved), cells=cells_of[d.id])
    found = direction_search().set_index("turned")["deviation"]
    hits, zero_shot, unguessable = evidence.leaked()
    whole = {
        "count": len(defects),
        "new": int((~defects["listed_before"]).sum()),
        "moved-models": changes.loc[moved_in_rank(changes), "model"].nunique(),
        "rank.turned": found.index[0],
        "leak.hits": hits,
        "leak.zero-shot": zero_shot,
        "leak.unguessable": unguessable,
        "contradictions": len(consistency()),
    }
    for key, (_, task, form) in zip(("preference", "moralchoice"), CHOOSING, strict=True):
        total = evidence.choosing(task, form).sum()
        whole |= {f"choose.{key}": int(total["chosen"]), f"refused.{key}": int(total["refused"])}
    for name, value in whole.items():
        results.add(f"audit.{name}", value)
    results.add("audit.rank.natural", found["none"], ".3f")
    results.add("audit.rank.best", found.iloc[0], ".3f")
    results.save(run.path)
