"""One model on one task: its answers labelled, all monitors and hybrids tried on them.

Every table of the online study is made of this (online/studies/tables.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.tasks import OnlineTask
from trustllm_repro.online.labels.judges import JUDGES, agreement
from trustllm_repro.online.monitors.base import Monitor, Need, Seen, all_monitors
from trustllm_repro.online.studies.benchmark import SEEDS, Answered, Tried, attempts
from trustllm_repro.online.studies.hybrids import all_hybrids
from trustllm_repro.online.studies.levels import STATES, Level
from trustllm_repro.online.studies.pilot import read_beginnings

# What monitors may need: anything; nothing that costs generation of its own; what one generation
# leaves, without reading its text.
ONE_ANSWER = frozenset(Need) - {Need.SAMPLES, Need.BRANCHES, Need.REPLIES}
SINGLE_PASS = frozenset({Need.LOGP, Need.ENTROPY, Need.TOP, Need.FIRST, Need.HIDDEN})
ALLOWED = {"all": frozenset(Need), "one answer": ONE_ANSWER, "single pass": SINGLE_PASS}
Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What is known of one model on one task.

    Attributes:
        cases, seen: all of them, also those without a label.
        labels: lines of the table of judges; see `label`.
        answered: the answers with a label.
        tried, hybrids: by name, a Tried for each seed.
        sheets: folder of the raters' sheets; see online.labels.audit.
        level: what of the model was seen.
    """

    task: OnlineTask
    cases: Sequence[Case]
    seen: Sequence[Seen]
    labels: Sequence[Row]
    answered: Answered
    monitors: Mapping[str, Monitor]
    tried: Mapping[str, Sequence[Tried]]
    hybrids: Mapping[str, Sequence[Tried]]
    sheets: Path | None = None
    level: Level = STATES

    @property
    def everyone(self) -> dict[str, Sequence[Tried]]:
        """Monitors and hybrids."""
        return {**self.tried, **self.hybrids}


def study(
    model: str, task: OnlineTask, cases: Sequence[Case], seen: Sequence[Seen],
    monitors: Mapping[str, Monitor], seeds: Sequence[int] = SEEDS,
    sheets: Path | None = None, level: Level = STATES,
) -> Study:  # fmt: skip
    """Label the answers, try the monitors and put them together."""
    danger, lines = label(task, cases, seen)
    kept = np.flatnonzero(~np.isnan(danger))
    answered = Answered(
        model, task.id, [seen[i] for i in kept],
        JUDGES[task.labelled_by].unsafe(danger[kept]), [cases[i].group for i in kept],
    )  # fmt: skip
    tried = {n: attempts(m, answered, seeds, level.why_not(m)) for n, m in monitors.items()}
    hybrids = all_hybrids(tried, answered.unsafe)
    return Study(task, cases, seen, lines, answered, monitors, tried, hybrids, sheets, level)


def monitors_for(task: OnlineTask, allowed: str = "all") -> dict[str, Monitor]:
    """Those that need no more than is allowed (see ALLOWED), without the judge of the labels."""
    judge = JUDGES[task.labelled_by].is_monitor
    return {
        name: m
        for name, m in all_monitors().items()
        if name != judge and m.needs <= ALLOWED[allowed]
    }


def label(
    task: OnlineTask, cases: Sequence[Case], seen: Sequence[Seen]
) -> tuple[np.ndarray, list[Row]]:
    """Danger of every answer by the task's judge, and a line a judge: how often, and agreement."""
    texts = [s.trace.text for s in seen]
    danger = {name: JUDGES[name].danger(cases, texts) for name in task.judges}
    first = danger[task.labelled_by]
    lines = []
    for name, found in danger.items():
        both = ~(np.isnan(first) | np.isnan(found))
        unsafe = JUDGES[name].unsafe(found[both])
        agree = agreement(JUDGES[task.labelled_by].unsafe(first[both]), unsafe)
        lines.append(
            {
                "judge": name, "says": JUDGES[name].says, "n": int(both.sum()),
                "without_label": int((~both).sum()), "unsafe": float(unsafe.mean()) if len(unsafe) else None,
                "labels": name == task.labelled_by, "agreement": agree["agreement"],
                "kappa": agree["kappa"],
                "empty_answers": sum(not t.strip() for t in texts),
                "tokens": sum(len(s.trace) for s in seen),
            }
        )  # fmt: skip
    return first, lines


def pilot(of: Study) -> list[Row]:
    """Lines of the pilot study; answers without a token have no beginning and are left out."""
    some_tokens = [i for i, s in enumerate(of.seen) if len(s.trace)]
    traces = [of.seen[i].trace for i in some_tokens]
    read = read_beginnings(JUDGES[of.task.prefixes_by], [of.cases[i] for i in some_tokens], traces)
    return [line for beginnings in read for line in beginnings.curves()]
