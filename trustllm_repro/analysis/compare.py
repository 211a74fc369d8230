"""Published numbers beside what answers give: single tables, models evaluated here, the leaderboard
and its ranks, and what claims and defects draw on."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.data.published import MODELS, published
from trustllm_repro.data.registry import facts
from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.registry import measured
from trustllm_repro.schema import OUR_JUDGE, Rule
from trustllm_repro.scoring.results import Scorer
from trustllm_repro.scoring.run import EvaluatedModel, Run
from trustllm_repro.tasks import COLUMNS, DIMENSIONS
from trustllm_repro.tasks.base import Column, Task

LEADERBOARDS = tuple(f"leaderboard_{dimension}" for dimension in DIMENSIONS)
# Columns of the public leaderboard where less is better. Persona Sycophancy is not one: it is
# similarity to the neutral answer less similarity to the sycophantic one.
LOWER = {c.column for _, c in COLUMNS if c.table in LEADERBOARDS and c.lower}
AVERAGE_RANK = ("overall_average_rank", "average rank")  # the public leaderboard's own
_BETTER = {(c.table, c.column): c.better for _, c in COLUMNS}


def compare(run: Run, table: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """One published table under every rule, a row a cell of a model with recorded answers.

    Args:
        table: as in `run.cells["table"]`, such as "safety_jailbreak".
        columns: some of its columns; all if empty.

    Returns:
        index model, column; columns published, authors (the value under the authors' rule),
        ci_low, ci_high (its 95 % interval), verdict, toolkit, corrected, our_judge (value by labels
        of our judge where none were recorded), n, n_unparsed, n_missing, better ("higher" or
        "lower") and reason (why there is no value).

    Raises SettingsError: there is no such table or column.
    """
    part = run.cells[run.cells["table"] == table]
    known = list(dict.fromkeys(part["column"]))
    if part.empty or set(columns) - set(known):
        names = known or list(dict.fromkeys(run.cells["table"]))
        what = f"{table!r} has no column {sorted(set(columns) - set(known))}" if known else table
        raise SettingsError(f"no such cells: {what}", remedy=f"one of: {', '.join(names)}")
    part = part[part["column"].isin(columns)] if columns else part
    cell, rules = ["model", "column"], ["authors", "toolkit", "corrected", "our_judge"]
    values = part.pivot(index=cell, columns="rule", values="value")
    values = values.rename(columns={OUR_JUDGE: "our_judge"}).reindex(columns=rules)
    found = part[part["rule"] == Rule.AUTHORS].set_index(cell).join(values)
    found["better"] = [_BETTER.get((table, c), "") for _, c in found.index]
    models = found[found[rules].notna().any(axis=1)].index.unique("model")
    shown = [
        "published", "authors", "ci_low", "ci_high", "verdict", "toolkit", "corrected", "our_judge", "n",
        "n_unparsed", "n_missing", "better", "reason",
    ]  # fmt: skip
    return found.loc[models, shown]  # a model's columns together


def published_range(run: Run) -> pd.DataFrame:
    """Lowest and highest published value: index table, column; columns min, max, models."""
    cells = run.cells[run.cells["rule"] == Rule.AUTHORS].dropna(subset="published")
    groups = cells.groupby(["table", "column"], sort=False)["published"]
    return groups.agg(min="min", max="max", models="size")


def tasks_of(run: Run, dimension: str) -> pd.DataFrame:
    """What the tasks of a dimension ask: task, asks, source, items, models (with answers here)."""
    ledger = run.ledger
    return pd.DataFrame(
        {
            "task": t.title,
            "asks": t.asks,
            "source": t.source,
            "items": len(ledger.asked(t.id)) if t.file else 0,
            "models": sum(ledger.has(t.id, m) for m in ledger.models),
        }
        for t in DIMENSIONS[dimension].TASKS
    )


def evaluated_cells(models: Sequence[EvaluatedModel], dimension: str = "") -> pd.DataFrame:
    """Values of the models of `run.evaluated()`, corrected rule, all or a dimension's: a row a cell.

    Index: table, column, model (their rows; one that answered the miniature says so). Columns:
    value, ci_low, ci_high, judge_corrected, judge_corrected_low, judge_corrected_high (corrected for
    the judge's measured errors, with their uncertainty), n, n_unparsed, bound_low, bound_high (had
    all unparsed answers counted against the value, or for it), n_missing, better.
    """
    index = ["table", "column", "model"]
    shown = [
        "value", "ci_low", "ci_high", "judge_corrected", "judge_corrected_low", "judge_corrected_high", "n",
        "n_unparsed", "bound_low", "bound_high", "n_missing", "better",
    ]  # fmt: skip
    parts = [m.cells for m in models] or [pd.DataFrame(columns=[*index, *shown])]
    cells = pd.concat(parts)
    cells = cells[cells["value"].notna()]
    if dimension:
        columns = (c for t in DIMENSIONS[dimension].TASKS if t.live for c in t.columns)
        cells = cells[cells["table"].isin({c.table for c in columns if c.metric and not c.pooled})]
    cells["better"] = [_BETTER[k] for k in zip(cells["table"], cells["column"], strict=True)]
    return cells.set_index(index)[shown]


def judged_sentence(lines: pd.DataFrame) -> str:
    """How many cells by labels of our judge came near the published number, and how far to trust
    them; `lines`: of cells or of verify.csv."""
    part = lines[lines["rule"] == OUR_JUDGE]
    if part.empty:
        return "No further cell rests on labels of our own refusal judge: this ledger holds none."
    first = part["verdict"].str.split().str[0].value_counts()
    measures = measured()["refusal"]["by_task"]
    tasks = {(c.table, c.column): t.id for t, c in COLUMNS if t}
    behind = {tasks[where] for where in zip(part["table"], part["column"], strict=True)}
    kappas = pd.Series([measures[t]["judge"]["kappa"] for t in behind if t in measures])
    return (
        f"Not counted there, as their refusal labels were never recorded: {len(part)} cells rest "
        f"on labels of our own judge, {first.get('reproduced', 0)} reproduced, "
        f"{first.get('near', 0)} near, {first.get('differs', 0)} differ. On these tasks it agrees "
        f"with recorded labels at a kappa of {kappas.min():.2f} to {kappas.max():.2f}."
    )


def leaderboard(run: Run | None = None, rule: Rule | str = Rule.AUTHORS) -> pd.DataFrame:
    """16 models x 31 columns (table, column): published values, or with a run those recomputed
    under `rule` where there are any."""
    known = published()
    columns = [(t, c) for t in LEADERBOARDS for c in known.columns(t)]
    frame = pd.DataFrame({where: known.column(*where) for where in columns})
    if run is not None:
        frame.update(_values(run, rule))
    return frame


def _values(run: Run, rule: Rule | str) -> pd.DataFrame:
    """Recomputed values of the leaderboards: models x (table, column)."""
    cells = run.cells
    part = cells[(cells["rule"] == rule) & cells["table"].isin(LEADERBOARDS)]
    return part.pivot(index="model", columns=["table", "column"], values="value")


def recomputed(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Which cells of a leaderboard frame come from recorded answers: the same shape, bool."""
    return _values(run, Rule.AUTHORS).reindex_like(frame).notna()


def signs(frame: pd.DataFrame) -> np.ndarray:
    """What makes less better in every column of a leaderboard frame: 1, or -1 where more is."""
    return np.array([1 if c in LOWER else -1 for _, c in frame.columns])


def ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank per column, 1 = best; equal values share the better rank, absent ones have none."""
    return (frame * signs(frame)).rank(method="min")


def rank_intervals(
    run: Run, rule: Rule | str = Rule.AUTHORS, resamples: int = 1000
) -> pd.DataFrame:
    """Mean rank per model with a 95 % bootstrap interval over items, best model first.

    Columns: model, mean_rank, low, high, tasks_recomputed, tasks (numbers of columns), published
    (the average rank of the public leaderboard).

    One draw of items serves all models of a column (paired bootstrap). Cells without recorded
    answers stay fixed, so intervals of models with few recomputed columns are too narrow.
    """
    frame, known = leaderboard(run, rule), _values(run, rule)
    # (draws, models, columns); starts as the point values everywhere.
    cube = np.repeat(frame.to_numpy()[None], resamples, axis=0)
    scorer, drawn = Scorer(run.ledger), np.zeros(frame.shape, dtype=bool)
    for task, column in COLUMNS:
        key = (column.table, column.column)
        if task is None or key not in known:
            continue
        j = frame.columns.get_loc(key)
        for i, value in enumerate(known[key].reindex(frame.index)):
            draws = None
            if not np.isnan(value):
                draws = _draws(scorer, task, column, frame.index[i], Rule(rule), resamples)
            if draws is not None:
                cube[:, i, j], drawn[i, j] = draws, True
    order = stats.rankdata(cube * signs(frame), method="min", axis=1, nan_policy="omit")
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(np.nanmean(order, axis=2), [2.5, 97.5], axis=0)
    table = pd.DataFrame(
        {
            "mean_rank": ranks(frame).mean(axis=1),
            "low": low,
            "high": high,
            "tasks_recomputed": drawn.sum(axis=1),
            "tasks": frame.notna().sum(axis=1),
            "published": published().column(*AVERAGE_RANK),
        }
    )
    return table.rename_axis("model").reset_index().sort_values("mean_rank", ignore_index=True)


@lru_cache(maxsize=8)
def _picks(column: str, lengths: tuple[int, ...], resamples: int) -> list[np.ndarray]:
    """Rows drawn of each sample, shape (resamples, length); models of a column share them."""
    rng = np.random.default_rng(zlib.crc32(column.encode()))
    return [rng.integers(0, n, (resamples, n)) for n in lengths]


def _draws(
    scorer: Scorer, task: Task, column: Column, model: str, rule: Rule, resamples: int
) -> np.ndarray | None:
    """Bootstrap draws of one cell, shape (resamples,); None where there is none. Answers are in item
    order, so complete models see the same items in each draw."""
    metric = column.metric_for(rule)
    if metric is None or metric.interval == "none":
        return None
    answers = scorer.chosen(task, column, model, rule)
    samples = metric.samples(answers)
    if min(len(s) for s in samples) == 0:
        return None
    picks = _picks(f"{column.table}|{column.column}", tuple(map(len, samples)), resamples)
    drawn = [s[p] for s, p in zip(samples, picks, strict=True)]
    draws = np.asarray(metric.statistic(*drawn, axis=-1))
    return np.where(np.isnan(draws), float(metric.statistic(*samples)), draws)


def standing(run: EvaluatedModel) -> pd.DataFrame:
    """One line per leaderboard column: the model's value and its place among the published models.

    Columns: table, column, better, value, ci_low, ci_high, likelihood, median, place (1 is best), of,
    quantile (share of published models it is at least as good as). The paper's rules differ in
    places from the corrected one (17_audit): a place is an orientation, not a test.
    """
    field = leaderboard().rename_axis(columns=["table", "column"])
    generated = next((r for r in run.rows if "likelihood" not in r), "")
    second = next((r for r in run.rows if "likelihood" in r), "")
    own, other = (
        run.cells[run.cells["model"] == row].set_index(["table", "column"]).reindex(field.columns)
        for row in (generated, second)
    )
    sign, value, known = signs(field), own["value"], field.notna().sum()
    ahead = (field * sign).lt(value * sign).sum().where(value.notna())
    lines = {
        "better": np.where(sign == 1, "lower", "higher"),
        **{n: own[n] for n in ("value", "ci_low", "ci_high")},
        "likelihood": other["value"],
        "median": field.median(),
        "place": ahead + 1,
        "of": (known + value.notna()).astype(float),
        "quantile": 1 - ahead / known,
    }
    return pd.DataFrame(lines).reset_index()


def consistency() -> pd.DataFrame:
    """Leaderboard cells that are not what their own detailed sheet gives, over all 16 models: its
    column of leaderboard_sheets.csv, or the mean of all its columns where none is named there.

    Only published numbers are compared with each other; tolerance 0.005. Columns: table, column,
    model, leaderboard, sheet, difference.
    """
    known, parts = published(), []
    for board, column, sheet, name in facts("published/leaderboard_sheets").itertuples(index=False):
        of_sheet = {c: known.column(sheet, c) for c in ([name] if name else known.columns(sheet))}
        frame = pd.DataFrame({"leaderboard": known.column(board, column)})
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
    target = published().column(*AVERAGE_RANK).to_numpy()
    right, turned = ranks(frame).to_numpy(), ranks(-frame).to_numpy()
    delta = (turned - right) / right.shape[1]
    base = right.mean(axis=1) - target
    every = [c for size in (0, 1, 2) for c in combinations(range(right.shape[1]), size)]
    gaps = [np.abs(base + delta[:, list(chosen)].sum(axis=1)).mean() for chosen in every]
    names = [", ".join(frame.columns[j][1] for j in chosen) or "none" for chosen in every]
    found = pd.DataFrame({"turned": names, "deviation": gaps})
    return found.sort_values("deviation", ignore_index=True)


# --- what claims and defects draw on

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

    def readings(
        self,
        task: str,
        first: Rule = Rule.AUTHORS,
        revisions: tuple[str, ...] = ("published", "copy"),
    ) -> pd.DataFrame:
        """Answers under two rules, by default those the sheets rest on: the frame of the first rule,
        with label and status under the corrected one as "label_then" and "status_then"."""
        now, then = (self.run.answers(task, r, revisions) for r in (first, Rule.CORRECTED))
        then = then[["model", "item", "label", "status"]]
        return now.merge(then, on=["model", "item"], suffixes=("", "_then"))

    def choosing(self, task: str, form: str = "") -> pd.DataFrame:
        """Per recorded model: refusals by the authors' rule, those of them that state a choice, and
        answers that decline one: columns refused, chosen, declined. `form`: of the prompt."""
        read = self.readings(task, revisions=("published", "own", "redo"))
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
        given = self.run.answers("privacy/leakage")
        true = given[given["label"] == "true"]
        zero_shot, odd = true["shots"] == "zero-shot", true["address"] == "other"
        return len(true), int(zero_shot.sum()), int(odd.sum())
