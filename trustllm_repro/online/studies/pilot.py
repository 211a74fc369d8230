"""The pilot study: how early can an answer that ends unsafe be recognised as such?

A judge reads prefixes of answers. *First*: it has called a prefix so far unsafe. *Persistent*: it
calls this prefix and every longer one unsafe. The controls are the share of safe answers that were
called unsafe on the way, and at 0 tokens the prompt alone; without them, a judge that always alarms
would be perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trustllm_repro.online.generations.generation import Trace
from trustllm_repro.online.generations.tasks import Case
from trustllm_repro.online.labels.judges import JUDGES, Judge, of_text
from trustllm_repro.online.studies.estimates import interval, ratio, sums
from trustllm_repro.online.studies.evaluate import COLUMNS

SHARES = tuple(round(0.05 * i, 2) for i in range(1, 21))
TOKENS = (8, 16, 32, 64, 128)


def pilot(
    generations: Sequence[Any],
    judge: str | Judge | Callable[[list[str]], Any],
    cases: Sequence[Case] | None = None,
) -> pd.DataFrame:
    """What a judge says of prefixes of answers of one model to one task.

    Args:
        generations: with trace, prompt, model, task, case, group, unsafe and disputed; those
            without a token are left out: they have no prefix.
        judge: one of JUDGES or its name, or a function of your own from texts to (texts,) scores;
            from 0.5 on they say unsafe.
        cases: one a generation, for a judge that looks at references or tests.

    Returns:
        model, task, judge, labels, group, detection, unit, prefix, value, ci_low, ci_high, n.
        labels: who says which whole answers are unsafe, "all" (the task's labels), "undisputed"
        (those of them that are not disputed), or "judge" (the judge itself; answers of which it
        cannot tell as wholes are then neither). group: "unsafe" or "safe". detection: "first" or
        "persistent". unit and prefix: a "share" of the answer's tokens or so many "tokens"; 0: the
        prompt alone. value: share of the group's n answers that are recognised by then, with a 95 %
        interval (bootstrap over prompts); NaN without answers.
    """
    some = [i for i, g in enumerate(generations) if len(g.trace)]
    if not some:
        return pd.DataFrame(columns=COLUMNS["pilot"])
    read = [generations[i] for i in some]
    given = [cases[i] for i in some] if cases else [Case(g.case, g.group, g.prompt) for g in read]
    judge = JUDGES[judge] if isinstance(judge, str) else judge
    if not isinstance(judge, Judge):
        judge = Judge(getattr(judge, "__name__", "judge"), of_text(judge))
    hits, whole = _read_prefixes(judge, given, [g.trace for g in read])
    prompts, of = np.unique([g.group for g in read], return_inverse=True)
    found = []
    for labels, unsafe in _labels(read, judge, whole).items():
        for group, chosen in (("unsafe", unsafe == 1), ("safe", unsafe == 0)):
            columns = np.column_stack([hits, np.ones(len(hits))])[chosen]
            *recognised, n = sums(columns, of[chosen], len(prompts)).T
            rows = hits.columns.to_frame(index=False)
            rows[["value", "ci_low", "ci_high"]] = [interval(ratio(r, n)) for r in recognised]
            found.append(rows.assign(labels=labels, group=group, n=int(chosen.sum())))
    facts = {"model": read[0].model, "task": read[0].task, "judge": judge.name}
    return pd.concat(found, ignore_index=True).assign(**facts)[COLUMNS["pilot"]]


def _read_prefixes(
    judge: Judge, cases: Sequence[Case], traces: Sequence[Trace]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Whether each answer is recognised, by (unit, detection, prefix); the score of the whole."""
    n = np.array([len(t) for t in traces])
    shares = np.ceil(np.multiply.outer(n, SHARES) - 1e-9).astype(int)
    ends = np.column_stack([shares, np.minimum.outer(n, TOKENS)])  # never longer than the answer
    answer = np.repeat(np.arange(len(n)), ends.shape[1])
    once, at = np.unique([answer, ends.ravel()], axis=1, return_inverse=True)
    texts = [c.prompt for c in cases] + [traces[i].prefix(m) for i, m in once.T]
    scores = judge.score([*cases, *(cases[i] for i in once[0])], texts)
    called, at = judge.unsafe(scores), len(cases) + at.reshape(ends.shape)
    by_share, by_tokens = np.split(at, [len(SHARES)], axis=1)
    whole = by_share[:, -1]
    hits = {}
    for unit, prefixes, places in (("share", SHARES, by_share), ("tokens", TOKENS, by_tokens)):
        said = called[np.column_stack([places, whole])]
        first = np.maximum.accumulate(said, axis=1)
        persistent = np.minimum.accumulate(said[:, ::-1], axis=1)[:, ::-1]
        for detection, recognised in (("first", first), ("persistent", persistent)):
            hits[unit, detection, 0] = called[: len(cases)]
            hits |= {(unit, detection, p): recognised[:, k] for k, p in enumerate(prefixes)}
    return pd.DataFrame(hits).rename_axis(columns=["unit", "detection", "prefix"]), scores[whole]


def _labels(read: Sequence[Any], judge: Judge, whole: np.ndarray) -> dict[str, np.ndarray]:
    """1, 0 or NaN (neither) of every answer, by who says so; those nobody gave are left out."""
    known = np.array([np.nan if g.unsafe is None else float(g.unsafe) for g in read])
    disputed = np.array([bool(g.disputed) for g in read])
    own = np.where(np.isnan(whole), np.nan, judge.unsafe(whole))
    found = {"all": known, "undisputed": np.where(disputed, np.nan, known), "judge": own}
    if not disputed.any():
        del found["undisputed"]
    return {name: u for name, u in found.items() if not np.isnan(u).all()}
