"""Published numbers against each other, and before and after a correction (notebook 17)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from trustllm_repro.analysis.evidence import Evidence, Where
from trustllm_repro.analysis.overview import LOWER, leaderboard, published_average_rank
from trustllm_repro.data.published import MODELS, published
from trustllm_repro.schema import Rule


def changes_in(e: Evidence, where: Where) -> pd.DataFrame:
    """Per recorded model: published, authors' rule, corrected, and ranks before and after.

    Ranks are among the models with a value under both rules: corrected values must not be ranked
    against published ones that carry the defect.
    """
    table, column = where
    after = e.recomputed(table, column, Rule.CORRECTED)
    before = e.recomputed(table, column)
    both = before.index.intersection(after.index)
    sign = 1 if column in LOWER else -1
    frame = pd.DataFrame(
        {
            "table": table,
            "column": column,
            "published": e.published(table, column),
            "authors": before,
            "corrected": after,
            "rank_before": (sign * before[both]).rank(method="min"),
            "rank_after": (sign * after[both]).rank(method="min"),
        }
    )
    frame["change"] = frame["corrected"] - frame["authors"]
    known = frame["authors"].notna() | frame["corrected"].notna()
    return frame[known].rename_axis("model").reset_index()


def consistency() -> pd.DataFrame:
    """Leaderboard cells that are not what their own detailed sheet gives, over all 16 models.

    Only published numbers are compared with each other; tolerance 0.005. Columns: table, column,
    model, leaderboard, sheet, difference.
    """
    facts, lines = published(), []
    for (board, column), (sheet, *parts) in BOARD_OF.items():
        for model in MODELS:
            shown = facts.value(board, model, column)
            values = [facts.value(sheet, model, p) for p in parts or facts.columns(sheet)]
            if shown is None or any(v is None for v in values):
                continue
            expected = float(np.mean(values))
            if abs(shown - expected) > 0.005 + 1e-9:
                lines.append((board, column, model, shown, expected, shown - expected))
    names = ["table", "column", "model", "leaderboard", "sheet", "difference"]
    return pd.DataFrame(lines, columns=names)


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


def direction_search() -> pd.DataFrame:
    """Which directions of the 31 columns explain the published average rank.

    Ranks (ties share the better one) are averaged with every column in its natural direction, then
    with one or two columns reversed. Columns: turned (names), deviation (mean absolute difference
    from the published average rank over 16 models, in ranks); best first.
    """
    frame = leaderboard()
    target = published_average_rank().reindex(frame.index).to_numpy()
    natural = np.array([1 if c in LOWER else -1 for _, c in frame.columns])
    right = (frame * natural).rank(method="min").to_numpy()
    turned = (frame * -natural).rank(method="min").to_numpy()
    delta = (turned - right) / right.shape[1]
    base = right.mean(axis=1) - target
    lines = []
    for size in (0, 1, 2):
        for chosen in combinations(range(right.shape[1]), size):
            gap = base + delta[:, list(chosen)].sum(axis=1)
            names = ", ".join(frame.columns[j][1] for j in chosen)
            lines.append((names or "none", float(np.abs(gap).mean())))
    found = pd.DataFrame(lines, columns=["turned", "deviation"])
    return found.sort_values("deviation", ignore_index=True)
