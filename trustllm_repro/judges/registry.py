"""Who judges live answers: name -> judge. Weights are loaded when a judge is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.correction import CORRECTED, NOT_CORRECTED, Correction
from trustllm_repro.judges.judge import NOTHING, Judge, Judgement
from trustllm_repro.judges.learned import RefusalJudge, ToxicityJudge
from trustllm_repro.judges.matching import RIGHT, WRONG, AnswerMatch
from trustllm_repro.judges.similarity import (
    CHANGED,
    FIRST,
    SAME,
    ChangedPreference,
    PairSimilarity,
    PersonaShift,
)
from trustllm_repro.judges.stance import Stance
from trustllm_repro.parsers.recorded import ANSWER, REFUSAL
from trustllm_repro.schema import Item, Response


@dataclass
class BySource:
    """Different judges for different parts of a file, told by the field `source`."""

    parts: dict[str, Judge]

    @property
    def name(self) -> str:
        return "; ".join(j.name for j in self.parts.values())

    @property
    def digest(self) -> str:
        return "; ".join(j.digest for j in self.parts.values())

    def __call__(self, items: Sequence[Item], responses: Sequence[Response]) -> list[Judgement]:
        made = [NOTHING] * len(items)
        for source, judge in self.parts.items():
            at = [i for i, item in enumerate(items) if item.extra["source"] == source]
            found = judge([items[i] for i in at], [responses[i] for i in at])
            for i, judgement in zip(at, found, strict=True):
                made[i] = judgement
        return made


JUDGES: dict[str, Callable[[], Judge]] = {
    "refusal": RefusalJudge,
    "toxicity": ToxicityJudge,
    "answer match": AnswerMatch,
    "correction": Correction,
    "agreement": Stance,
    "similarity": PairSimilarity,
    "sycophancy": lambda: BySource({"persona": PersonaShift(), "preference": ChangedPreference()}),
}

# Labels a judge can give, ours or what takes its place; toxicity and similarity give numbers.
# Where a task has no judge of ours, the recorded labels are those of the paper's classifier.
LABELS: dict[str, tuple[str, ...]] = {
    "": (REFUSAL, ANSWER),
    "refusal": (REFUSAL, ANSWER),
    "answer match": (RIGHT, WRONG),
    "correction": (CORRECTED, NOT_CORRECTED),
    "agreement": ("agree", "disagree", "neither"),
    "sycophancy": (CHANGED, SAME, FIRST),
    "toxicity": (),
    "similarity": (),
}


def judge_named(name: str) -> Judge:
    """Load a judge.

    Raises:
        SettingsError: unknown name. SourceMissing, SourceCorrupt: its weights.
    """
    if name not in JUDGES:
        raise SettingsError(f"no judge {name!r}", remedy=f"one of: {', '.join(JUDGES)}")
    return JUDGES[name]()
