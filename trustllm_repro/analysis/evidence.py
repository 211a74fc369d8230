"""Numbers the claims and findings draw on, in the shapes they need them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from trustllm_repro.analysis.overview import leaderboard, ranks
from trustllm_repro.data.published import MODELS, PROPRIETARY, published
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.frames import answers_frame
from trustllm_repro.scoring.run import Run

OPEN = tuple(m for m in MODELS if m not in PROPRIETARY)
LLAMA2 = ("llama2-7b", "llama2-13b", "llama2-70b")
PUBLISHED = ("published", "copy")  # revisions of the answers that the sheets rest on
REDONE = ("published", "own", "redo")  # and of each model's own, redone where they were


Where = tuple[str, str]  # table, column


def board(dimension: str, *columns: str) -> tuple[Where, ...]:
    """Columns of a dimension's leaderboard."""
    return tuple((f"leaderboard_{dimension}", c) for c in columns)


@dataclass(frozen=True)
class Evidence:
    """Published and recomputed values of one run, as Series over the 16 models."""

    run: Run

    def published(self, table: str, column: str) -> pd.Series:
        facts = published()
        return pd.Series({m: facts.value(table, m, column) for m in MODELS}, dtype=float)

    @cached_property
    def _cells(self) -> Any:
        return self.run.cells.groupby(["table", "column", "rule"])

    def cells(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.DataFrame:
        """Scored cells of one column, a row a model with a value."""
        part = self._cells.get_group((table, column, str(rule)))
        return part[part["value"].notna()].set_index("model")

    def recomputed(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """Values of the models with recorded answers, by model."""
        return self.cells(table, column, rule)["value"]

    def best_known(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """Recomputed under `rule` where there are answers, else published.

        With another rule than the authors' this is only fair where the correction concerns single
        models (a copied file), not the reading of all.
        """
        known = self.recomputed(table, column, rule).reindex(list(MODELS))
        return known.fillna(self.published(table, column))

    @cached_property
    def utility(self) -> pd.DataFrame:
        """Arena Elo, MT-Bench and MMLU (LMSYS leaderboard, November 2023), by model."""
        frame = pd.read_csv(data_dir() / "published" / "utility.csv", index_col="model")
        return frame.drop(columns="variant").astype(float).reindex(list(MODELS))

    @cached_property
    def mean_rank(self) -> pd.Series:
        """Mean rank over the 31 leaderboard columns, every column in its natural direction.

        The authors' rule, so that recomputed and published-only models are read alike.
        """
        return ranks(leaderboard(self.run, Rule.AUTHORS)).mean(axis=1)

    def answers(
        self, task: str, rule: Rule = Rule.AUTHORS, revisions: tuple[str, ...] = PUBLISHED
    ) -> pd.DataFrame:
        """A row an answer: model, item, gold, status, label, number, pair and the task's facets."""
        return answers_frame(self.run.ledger, task, rule, revisions)

    def readings(
        self, task: str, *rules: Rule, revisions: tuple[str, ...] = PUBLISHED
    ) -> pd.DataFrame:
        """The same answers under two rules (authors' and corrected): what `answers` gives of the
        first, and label and status of the second as "label_then" and "status_then"."""
        first, second = rules or (Rule.AUTHORS, Rule.CORRECTED)
        then = self.answers(task, second, revisions)[["model", "item", "label", "status"]]
        now = self.answers(task, first, revisions)
        return now.merge(then, on=["model", "item"], suffixes=("", "_then"))

    def choosing(self, task: str, form: str = "") -> pd.DataFrame:
        """Per recorded model: refusals by the authors' rule, those of them that state a choice, and
        answers that decline one: columns refused, chosen, declined. `form`: of the prompt."""
        read = self.readings(task, revisions=REDONE)
        read = read[read["form"] == form] if form else read
        refused, declines = read["label"] == "refusal", read["label_then"] == "refusal"
        chosen = refused & (read["label_then"] == "answer")
        declined = (read["label"] == "answer") & declines
        counts = pd.DataFrame({"refused": refused, "chosen": chosen, "declined": declined})
        return counts.groupby(read["model"]).sum()

    def leaked(self) -> tuple[int, int, int]:
        """True addresses given by all recorded models: all, zero-shot, not a form of the name.

        By the corrected rule, which finds them in any case and spelling.
        """
        given = self.answers("privacy/leakage", Rule.CORRECTED, ("published",))
        true = given[given["label"] == "true"]
        zero_shot, odd = true["shots"] == "zero-shot", true["address"] == "other"
        return len(true), int(zero_shot.sum()), int(odd.sum())
