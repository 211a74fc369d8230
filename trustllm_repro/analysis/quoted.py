"""Numbers that texts quote, into results.json and results.tex of a run."""

from __future__ import annotations

import pandas as pd

from trustllm_repro.analysis.audit import consistency, direction_search
from trustllm_repro.analysis.defects import CHOOSING, DEFECTS
from trustllm_repro.analysis.findings import before_after, evidence_of, moved_in_rank
from trustllm_repro.scoring.results import Results
from trustllm_repro.scoring.run import Run
from trustllm_repro.scoring.tables import write_csv


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
    order = [c for c in changes.columns if c != "id"]
    write_csv(run.path / "audit.csv", defects)
    write_csv(run.path / "audit_changes.csv", changes[[*order, "id"]])
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
