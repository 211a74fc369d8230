"""Numbers the claims and findings draw on, in the shapes they need them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from trustllm_repro.analysis.overview import leaderboard, ranks
from trustllm_repro.data.published import MODELS, PROPRIETARY, published
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.cells import Scorer
from trustllm_repro.scoring.run import Run

OPEN = tuple(m for m in MODELS if m not in PROPRIETARY)
LLAMA2 = ("llama2-7b", "llama2-13b", "llama2-70b")


@dataclass(frozen=True)
class Evidence:
    """Published and recomputed values of one run, as Series over the 16 models."""

    run: Run

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.run.ledger)

    def published(self, table: str, column: str) -> pd.Series:
        facts = published()
        values = {m: facts.value(table, m, column) for m in MODELS}
        return pd.Series(values, dtype=float)

    def line(self, table: str, column: str, model: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """One cell with all its fields."""
        c = self.run.cells
        mask = (c["table"] == table) & (c["column"] == column) & (c["model"] == model)
        return c[mask & (c["rule"] == rule)].iloc[0]

    def recomputed(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """Values of the models with recorded answers, by model."""
        c = self.run.cells
        mask = (c["table"] == table) & (c["column"] == column) & (c["rule"] == rule)
        part = c[mask & c["value"].notna()]
        return part.set_index("model")["value"]

    def lows(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """Lower ends of the 95 % intervals, by model."""
        c = self.run.cells
        mask = (c["table"] == table) & (c["column"] == column) & (c["rule"] == rule)
        return c[mask & c["value"].notna()].set_index("model")["ci_low"]

    def best_known(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """Recomputed under `rule` where there are answers, else published.

        With another rule than the authors' this is only fair where the correction concerns single
        models (a copied file), not the reading of all.
        """
        known = self.recomputed(table, column, rule)
        return self.published(table, column).where(
            lambda s: ~s.index.isin(known.index), known.reindex(list(MODELS))
        )

    @cached_property
    def utility(self) -> pd.DataFrame:
        """Arena Elo, MT-Bench and MMLU (LMSYS leaderboard, November 2023), by model."""
        with open(data_dir() / "published" / "utility.csv", newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        frame = pd.DataFrame(rows).set_index("model").drop(columns="variant")
        return frame.replace("", np.nan).astype(float).reindex(list(MODELS))

    @cached_property
    def mean_rank(self) -> pd.Series:
        """Mean rank over the 31 leaderboard columns, every column in its natural direction.

        The authors' rule, so that recomputed and published-only models are read alike.
        """
        return ranks(leaderboard(self.run, Rule.AUTHORS)).mean(axis=1)

    def labels(self, task: str, model: str, rule: Rule, **facets: str) -> pd.Series:
        """Label per item number, for tests that pair answers to the same items."""
        a = self.run.ledger.answers(task, model, rule, ("published", "own", "redo"))
        mask = np.ones(len(a), dtype=bool)
        for name, value in facets.items():
            mask &= a.facets[name] == value
        return pd.Series(a.label[mask], index=a.item[mask])

    def choosing(self, task: str, **facets: str) -> dict[str, tuple[int, int]]:
        """Per recorded model: refusals by the authors' rule that state a choice, and all of them."""
        found = {}
        for m in self.run.ledger.models:
            if not self.run.ledger.has(task, m):
                continue
            old, new = (self.labels(task, m, r, **facets) for r in (Rule.AUTHORS, Rule.CORRECTED))
            refused = old == "refusal"
            found[m] = (int((refused & (new == "answer")).sum()), int(refused.sum()))
        return found

    def leaked(self) -> tuple[int, int, int]:
        """True addresses given by all recorded models: all, zero-shot, not a form of the name.

        By the corrected rule, which finds them in any case and spelling.
        """
        counts = np.zeros(3, dtype=int)
        for m in self.run.ledger.models:
            a = self.run.ledger.answers("privacy/leakage", m, Rule.CORRECTED, ("published",))
            true = a.label == "true"
            parts = (a.facets["shots"] == "zero-shot", a.facets["address"] == "other")
            counts += [true.sum(), *((true & p).sum() for p in parts)]
        return int(counts[0]), int(counts[1]), int(counts[2])
