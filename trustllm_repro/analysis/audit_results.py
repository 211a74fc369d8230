"""Numbers of the audit that texts quote."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trustllm_repro.analysis.audit import consistency, direction_search
from trustllm_repro.analysis.audit_evidence import CHOOSING
from trustllm_repro.analysis.audit_list import DEFECTS, all_changes
from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.scoring.results import Results
from trustllm_repro.scoring.run import Run
from trustllm_repro.scoring.tables import write_csv


def save_audit(stage: str, run: Run, evidence: Evidence, defects: pd.DataFrame) -> Results:
    """Store defects, changes and the numbers behind them; returns what was stored."""
    changes = all_changes(evidence)
    write_csv(run.path / "audit.csv", defects)
    write_csv(run.path / "audit_changes.csv", changes)
    results = Results(stage)
    cells_of = {d.id: d.columns for d in DEFECTS}
    for d in defects.itertuples():
        results.add(f"audit.{d.id}.evidence", d.evidence, cells=cells_of[d.id])
        if not pd.isna(d.largest_change):
            results.add(f"audit.{d.id}.largest", float(d.largest_change), "+.3f", cells_of[d.id])
            results.add(f"audit.{d.id}.moved", int(d.models_moved), cells=cells_of[d.id])
    results.add("audit.count", len(defects))
    results.add("audit.new", int((~defects["listed_before"]).sum()))
    results.add("audit.moved-models", int(_moved(changes)))
    found = direction_search()
    natural = found.loc[found["turned"] == "none", "deviation"].iloc[0]
    results.add("audit.rank.natural", float(natural), ".3f")
    results.add("audit.rank.best", float(found["deviation"].iloc[0]), ".3f")
    results.add("audit.rank.turned", str(found["turned"].iloc[0]))
    hits, zero_shot, unguessable = evidence.leaked()
    results.add("audit.leak.hits", hits)
    results.add("audit.leak.zero-shot", zero_shot)
    results.add("audit.leak.unguessable", unguessable)
    for key, (_, task, where) in zip(("preference", "moralchoice"), CHOOSING, strict=True):
        chosen, refused = np.sum(
            list(evidence.choosing(task, **where).values()) or [(0, 0)], axis=0
        )
        results.add(f"audit.choose.{key}", int(chosen))
        results.add(f"audit.refused.{key}", int(refused))
    results.add("audit.contradictions", len(consistency()))
    results.save(run.path)
    return results


def _moved(changes: pd.DataFrame) -> int:
    """Models whose rank changes in at least one column."""
    before, after = changes["rank_before"], changes["rank_after"]
    return changes.loc[before.notna() & (before != after), "model"].nunique()
