"""Numbers that claims and defects draw on, in the shapes they need them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.analysis.compare import leaderboard, published_average_rank, ranks
from trustllm_repro.data.published import MODELS, PROPRIETARY, published
from trustllm_repro.errors import SettingsError
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.run import Run
from trustllm_repro.tasks import DIMENSIONS

OPEN = tuple(m for m in MODELS if m not in PROPRIETARY)
LLAMA2 = ("llama2-7b", "llama2-13b", "llama2-70b")
PUBLISHED = ("published", "copy")  # revisions of the answers that the sheets rest on
REDONE = ("published", "own", "redo")  # and of each model's own, redone where they were
Where = tuple[str, str]  # table, column
# Columns that several claims and defects are about.
EXAGGERATED = ("leaderboard_safety", "Exaggerated Safety")
AGREEMENT = ("leaderboard_fairness", "Overall Agreement Rate")
CODAH = ("truth_internal", "CODAH")
CONFAIDE = ("privacy_confaide", "level_2")
EMOTION = ("leaderboard_ethics", "Emotional Acc")
OOD = ("leaderboard_robustness", "OOD generalization")


def board(dimension: str, *columns: str) -> tuple[Where, ...]:
    """Columns of a dimension's leaderboard."""
    return tuple((f"leaderboard_{dimension}", c) for c in columns)


def known_dimension(name: str) -> str:
    """The name itself; a SettingsError if there is no such dimension."""
    if name and name not in DIMENSIONS:
        raise SettingsError(f"no dimension {name!r}", remedy=f"one of: {', '.join(DIMENSIONS)}")
    return name


def listed(values: pd.Series | pd.DataFrame, form: str, between: str = ", ") -> str:
    """Each model, or whatever the index names, with its values: "gpt-4 0.91, chatgpt 0.85"; "none"
    where there is no row.

    `form` follows the name. It is as in str.format: of the value of a Series, or with the columns of
    a frame as names.
    """
    if isinstance(values, pd.Series):
        texts = [form.format(value) for value in values]
    else:
        texts = [form.format(**row) for row in values.to_dict("records")]
    names = [key if isinstance(key, str) else " ".join(key) for key in values.index]
    return between.join(map(str.__add__, names, texts)) or "none"


@dataclass(frozen=True)
class Evidence:
    """Published and recomputed values of one run, as Series over the 16 models."""

    run: Run

    @staticmethod
    def published(table: str, column: str) -> pd.Series:
        return published().column(table, column)

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

    def rules(self, table: str, column: str) -> pd.DataFrame:
        """Published value and that of each rule, by model; those without the authors' come last."""
        values = pd.concat({str(r): self.recomputed(table, column, r) for r in Rule}, axis=1)
        return values.assign(published=self.published(table, column))

    def change(self, table: str, column: str, rule: Rule) -> pd.Series:
        """What another rule than the authors' adds to the value, by model."""
        return self.recomputed(table, column, rule) - self.recomputed(table, column)

    def best_known(self, table: str, column: str, rule: Rule = Rule.AUTHORS) -> pd.Series:
        """Recomputed under `rule` where there are answers, else published: with another rule than the
        authors' only fair where it corrects single models (a copied file), not the reading of all."""
        known = self.recomputed(table, column, rule).reindex(list(MODELS))
        return known.fillna(self.published(table, column))

    @cached_property
    def mean_rank(self) -> pd.Series:
        """Mean rank over the 31 leaderboard columns; by the authors' rule, so that recomputed and
        published-only models are read alike."""
        return ranks(leaderboard(self.run)).mean(axis=1)

    def answers(
        self, task: str, rule: Rule = Rule.AUTHORS, revisions: tuple[str, ...] = PUBLISHED
    ) -> pd.DataFrame:
        """A row an answer: model, item, gold, status, label, number, pair and the task's facets."""
        return self.run.answers(task, rule, revisions)

    def readings(
        self, task: str, first: Rule = Rule.AUTHORS, revisions: tuple[str, ...] = PUBLISHED
    ) -> pd.DataFrame:
        """The same answers under two rules: what `answers` gives of the first, and label and status
        under the corrected rule as "label_then" and "status_then"."""
        then = self.answers(task, Rule.CORRECTED, revisions)[["model", "item", "label", "status"]]
        now = self.answers(task, first, revisions)
        return now.merge(then, on=["model", "item"], suffixes=("", "_then"))

    def choosing(self, task: str, form: str = "") -> pd.DataFrame:
        """Per recorded model: refusals by the authors' rule, those of them that state a choice, and
        answers that decline one: columns refused, chosen, declined. `form`: of the prompt."""
        read = self.readings(task, revisions=REDONE)
        read = read[read["form"] == form] if form else read
        refused, answered = read["label"] == "refusal", read["label"] == "answer"
        counts = {
            "refused": refused,
            "chosen": refused & (read["label_then"] == "answer"),
            "declined": answered & (read["label_then"] == "refusal"),
        }
        return pd.DataFrame(counts).groupby(read["model"]).sum()

    def leaked(self) -> tuple[int, int, int]:
        """True addresses given by all recorded models, in any case and spelling (corrected rule): all,
        zero-shot, not a form of the name."""
        given = self.answers("privacy/leakage", Rule.CORRECTED, ("published",))
        true = given[given["label"] == "true"]
        zero_shot, odd = true["shots"] == "zero-shot", true["address"] == "other"
        return len(true), int(zero_shot.sum()), int(odd.sum())


# Leaderboard column -> sheet and the columns whose mean it is (all, if none are named).
BOARD_OF: dict[Where, tuple[str, ...]] = {
    ("leaderboard_truthfulness", "Internal"): ("truth_internal",),
    ("leaderboard_truthfulness", "External"): ("truth_external",),
    ("leaderboard_truthfulness", "Hallucination"): ("truth_hallucination",),
    ("leaderboard_truthfulness", "Adv Factuality"): ("truth_adversarial_factuality",),
    ("leaderboard_safety", "Jailbreak"): ("safety_jailbreak", "overall"),
    ("leaderboard_safety", "Toxicity"): ("safety_toxicity", "average"),
    ("leaderboard_safety", "Misuse"): ("safety_misuse", "overall"),
    ("leaderboard_safety", "Exaggerated Safety"): ("safety_exaggerated",),
    ("leaderboard_fairness", "Stereotype Query Test"): ("fairness_stereotype_query",),
    ("leaderboard_robustness", "AdvGlue RS"): ("robust_advglue", "RS (ACC adv - ASR)"),
    ("leaderboard_robustness", "AdvInstruction"): ("robust_advinstruction", "Average"),
    ("leaderboard_robustness", "OOD detection"): ("robust_ood_detection",),
    ("leaderboard_privacy", "Privacy Awareness Normal"): ("privacy_awareness_normal",),
    ("leaderboard_privacy", "Privacy Awareness Aug"): ("privacy_awareness_augmented",),
    ("leaderboard_privacy", "Privacy Awareness Correlation"): ("privacy_confaide", "level_2"),
    ("leaderboard_ethics", "Social Chemistry 101 Acc"): ("ethics_social_chemistry", "Overall Acc"),
    ("leaderboard_ethics", "ETHICS Acc"): ("ethics_ETHICS", "Overall Acc"),
    ("leaderboard_ethics", "MoralChoice Acc"): ("ethics_moralchoice_low",),
    ("leaderboard_ethics", "MoralChoice RtA"): ("ethics_moralchoice_high",),
    ("leaderboard_ethics", "Emotional Acc"): ("ethics_emotional_awareness",),
}


def consistency() -> pd.DataFrame:
    """Leaderboard cells that are not what their own detailed sheet gives, over all 16 models.

    Only published numbers are compared with each other; tolerance 0.005. Columns: table, column,
    model, leaderboard, sheet, difference.
    """
    parts = []
    for (board, column), (sheet, *names) in BOARD_OF.items():
        facts = published()
        of_sheet = {c: facts.column(sheet, c) for c in names or facts.columns(sheet)}
        frame = pd.DataFrame({"leaderboard": facts.column(board, column)})
        frame["sheet"] = pd.DataFrame(of_sheet).mean(axis=1, skipna=False)
        parts.append(frame.assign(table=board, column=column))
    found = pd.concat(parts).rename_axis("model").reset_index()
    found["difference"] = found["leaderboard"] - found["sheet"]
    wrong = found[found["difference"].abs() > 0.005 + 1e-9].reset_index(drop=True)
    return wrong[["table", "column", "model", "leaderboard", "sheet", "difference"]]


def direction_search() -> pd.DataFrame:
    """Which directions of the 31 columns explain the published average rank.

    Ranks (ties share the better one) are averaged with every column in its natural direction, then
    with one or two columns reversed. Columns: turned (names), deviation (mean absolute difference
    from the published average rank over 16 models, in ranks); best first.
    """
    frame = leaderboard()
    target = published_average_rank().to_numpy()
    right, turned = ranks(frame).to_numpy(), ranks(-frame).to_numpy()
    delta = (turned - right) / right.shape[1]
    base = right.mean(axis=1) - target
    every = [c for size in (0, 1, 2) for c in combinations(range(right.shape[1]), size)]
    gaps = [np.abs(base + delta[:, list(chosen)].sum(axis=1)).mean() for chosen in every]
    names = [", ".join(frame.columns[j][1] for j in chosen) or "none" for chosen in every]
    found = pd.DataFrame({"turned": names, "deviation": gaps})
    return found.sort_values("deviation", ignore_index=True)
