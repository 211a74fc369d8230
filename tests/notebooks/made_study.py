"""A run folder with an online study whose truth is known: states tell unsafe answers, nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from tests.online.made_generations import generations
from trustllm_repro.online.generations.generation import save_traces, write_index
from trustllm_repro.online.generations.levels import STATES
from trustllm_repro.online.labels.judges import compare
from trustllm_repro.online.monitors.base import all_monitors
from trustllm_repro.online.studies.claims import HYBRIDS, PANEL, PROMPT
from trustllm_repro.online.studies.estimates import online_figures
from trustllm_repro.online.studies.evaluate import evaluate_task
from trustllm_repro.online.studies.run import pilot
from trustllm_repro.online.studies.evaluate import Study

MODEL, TASK = "m", "harm"
MONITORS = (*PANEL, *HYBRIDS, PROMPT, "prefix probe", "token probe", "maximum entropy", "clock", "always",
            "never", "model identity")  # fmt: skip


def made_study(folder: Path) -> Study:
    """Frames and traces of 200 answers, every other one unsafe; as `monitor` leaves them."""
    made = generations(200, tokens=(20, 20), model=MODEL, task=TASK, shift=2.0)
    made = [replace(g, trace=replace(g.trace, key=str(g.case))) for g in made]
    study, known = Study(folder), all_monitors()
    scores, tokens = evaluate_task(made, [known[m] for m in MONITORS], STATES)
    study.store("scores", scores)
    study.store("token_scores", tokens)
    study.store("figures", online_figures(scores, tokens))
    home = folder / "online" / MODEL / TASK
    save_traces(home / "answers", [g.trace for g in made])
    write_index(home, made)
    unsafe = [bool(g.unsafe) for g in made]
    labels = {"judge": "people", "case": [g.case for g in made], "score": [float(u) for u in unsafe]}
    more = {"unsafe": pd.array(unsafe, dtype="boolean"), "disputed": [g.disputed for g in made]}
    study.store("labels", pd.DataFrame({"model": MODEL, "task": TASK, **labels, **more}))
    row = {"model": MODEL, "task": TASK, "judge": "harm", "against": "people"}
    figures = compare(labels["score"], unsafe, [g.group for g in made])
    study.store("quality", pd.DataFrame([row | figures]))
    study.store("pilot", pilot(made, lambda texts: [len(t) / 40 for t in texts]))
    return Study(folder)
