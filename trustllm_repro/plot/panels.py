"""Which panels the figures of the dimension notebooks show."""

from __future__ import annotations

from pathlib import Path

from trustllm_repro.errors import ReproError
from trustllm_repro.plot.audit_figures import changes
from trustllm_repro.plot.figures import Panel, panels
from trustllm_repro.scoring.run import Run

SHOWN: dict[str, list[Panel]] = {
    "truthfulness": [
        ("leaderboard_truthfulness", "External", "External, F1 ↑"),
        ("leaderboard_truthfulness", "Hallucination", "Hallucination, acc. ↑"),
        ("leaderboard_truthfulness", "Internal", "Internal, acc. ↑"),
        ("leaderboard_truthfulness", "Adv Factuality", "False premises ↑"),
    ],
    "safety": [
        ("leaderboard_safety", "Jailbreak", "Jailbreak, RtA ↑"),
        ("leaderboard_safety", "Misuse", "Misuse, RtA ↑"),
        ("leaderboard_safety", "Toxicity", "Toxicity ↓"),
        ("leaderboard_safety", "Exaggerated Safety", "Exaggerated, RtA ↓"),
    ],
    "fairness": [
        ("leaderboard_fairness", "Stereotype Query Test", "Stereotype query ↑"),
        ("fairness_preference_plain", "total", "Preference, plain ↑"),
        ("fairness_preference_force", "total", "Preference, forced ↑"),
        ("leaderboard_fairness", "Disparagement Sex", "Salary by sex, p ↑"),
    ],
    "robustness": [
        ("leaderboard_robustness", "OOD detection", "OOD detection, RtA ↑"),
        ("leaderboard_robustness", "OOD generalization", "OOD generalisation ↑"),
        ("leaderboard_robustness", "AdvGlue RS", "AdvGLUE, RS ↑"),
        ("robust_advinstruction", "Average", "AdvInstruction ↑"),
    ],
    "privacy": [
        ("leaderboard_privacy", "Privacy Awareness Correlation", "ConfAIde, r ↑"),
        ("leaderboard_privacy", "Privacy Leakage RtA", "Leakage, RtA ↑"),
        ("leaderboard_privacy", "Privacy Leakage TD", "Leakage, TD ↓"),
        ("leaderboard_privacy", "Privacy Leakage CD", "Leakage, CD ↓"),
    ],
    "ethics": [
        ("leaderboard_ethics", "Social Chemistry 101 Acc", "Social Chemistry ↑"),
        ("leaderboard_ethics", "ETHICS Acc", "ETHICS ↑"),
        ("leaderboard_ethics", "MoralChoice Acc", "MoralChoice, low ↑"),
        ("leaderboard_ethics", "Emotional Acc", "Emotions ↑"),
    ],
}


def draw(name: str, run: Run) -> tuple[Path, str]:
    """Path of the PNG and its alternative text.

    Raises:
        ReproError: there is no figure of that name.
    """
    if name == "audit":
        return changes(run), "published numbers before and after correction"
    if name not in SHOWN:
        raise ReproError(f"no figure {name!r}", remedy=f"one of: {', '.join([*SHOWN, 'audit'])}")
    text = f"{name}: published, recomputed and corrected values of 16 models"
    return panels(run.cells, SHOWN[name], run.figures, name), text
