"""20_pilot: models watched while they answer, and how early it shows; what other pages read of it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trustllm_repro.errors import INSTALL, SourceMissing
from trustllm_repro.escape import for_figure
from trustllm_repro.plot import BLUE, GREEN, GREY, INK, PAGE, RED, styled
from trustllm_repro.report import html
from trustllm_repro.report.html import saved

_NUMBER = re.compile(r"\d+")

PROMPT = "prompt probe"
NO_SHEETS = "no filled sheets were given"
NOTHING = "no model answered here; see 20_pilot"
KINDS = {
    "unsafe, first touch": ("unsafe: recognised once", BLUE, "-"),
    "unsafe, stable": ("unsafe: recognised for good", GREEN, "--"),
    "safe, first touch": ("safe: called unsafe", RED, ":"),
}
CUTS = {"share": (0.05, 0.1, 0.25, 0.5, 0.75), "tokens": (8, 16, 32, 64, 128)}


def asked(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters of 20_pilot as `watch` takes them."""
    job = {k: parameters[k] for k in ("models", "tasks", "limit", "dtype", "device", "run_code")}
    sheets = Path(parameters["sheets"]) if parameters["sheets"] else None
    return {**job, "allowed": "all" if parameters["costly"] else "one answer", "sheets": sheets}


def no_widgets() -> None:
    """Notebooks without widgets are no fault, and tqdm's warning prints a path of this machine."""
    warnings.filterwarnings("ignore", message="IProgress not found")


def watch(run: Path, models: Sequence[str], **job: Any) -> str:
    """Let models answer and watch them; HTML that says what was done, or why it was not.

    Args:
        job: see online.studies.run.Job.
    """
    no_widgets()
    frames, left_out = [], {}
    for model in models:
        try:
            done = _watched(run, model, job)
        except SourceMissing as e:
            left_out[f"{model} was not watched"] = str(e)
        except ModuleNotFoundError as e:
            left_out["no online study"] = (
                f"the package {e.name} is not installed; remedy: {INSTALL}"
            )
        else:
            frames.append(done.tables.frame("labels").assign(dtype=done.dtype))
            left_out |= {f"{task} is left out": why for task, why in done.tables.skipped.items()}
    notes = [("not recorded", what, why) for what, why in left_out.items()]
    table = html.plain_table(pd.concat(frames).drop(columns="says")) if frames else ""
    return html.STYLE + table + html.paragraph_list(notes)


def _watched(run: Path, model: str, job: dict[str, Any]):
    from trustllm_repro.online.studies.run import Job, monitor

    return monitor(Job(model, run, **job), note=lambda text: None)


def stored(run: Path, name: str) -> pd.DataFrame:
    """A table of the study; empty where 20_pilot had no model or no data.

    Args:
        run: run folder, or data/online with the tables of the committed study.
    """
    path = run / "tables" / f"online_{name}.csv"
    if path.exists():
        return pd.read_csv(path)
    path = path.with_suffix(".parquet")
    return pd.read_parquet(path) if path.exists() else pd.DataFrame()


def cells(run: Path) -> list[tuple[str, str]]:
    """Models and tasks there are figures of, in the order they were made."""
    found = stored(run, "benchmark")
    if found.empty:
        return []
    return list(dict.fromkeys(zip(found["model"], found["task"], strict=True)))


def of_cell(frame: pd.DataFrame, model: str, task: str) -> pd.DataFrame:
    """Lines of one model and task."""
    if frame.empty:
        return frame
    return frame[(frame["model"] == model) & (frame["task"] == task)]


def title(run: Path, model: str, task: str) -> str:
    """A cell's name; the model's is left out where there is only one."""
    return task if len({m for m, _ in cells(run)}) == 1 else f"{task}, {model}"


def panels(n: int, height: float, columns: int = 3, **more: Any) -> tuple[Figure, list[Axes]]:
    """A page-wide figure of n panels, `height` inches a row; those that are not needed are gone."""
    across = min(columns, n)
    down = math.ceil(n / across)
    figure, axes = plt.subplots(
        down, across, figsize=(PAGE, height * down), layout="constrained", squeeze=False, **more
    )
    for axis in axes.flat[n:]:
        axis.remove()
    return figure, list(axes.flat[:n])


def pilot_table(run: Path, axis: str) -> pd.DataFrame:
    """Shares recognised after parts of the answer, or after numbers of tokens, a line a model and task."""
    found = stored(run, "pilot")
    if found.empty:
        return found
    part = found[(found["axis"] == axis) & found["cut"].isin(CUTS[axis])]
    shown = part.assign(
        text=[with_interval(r.value, r.ci_low, r.ci_high) for r in part.itertuples()],
        at=[f"{c:.0%}" if axis == "share" else f"{c:.0f}" for c in part["cut"]],
    )
    order = list(dict.fromkeys(shown["at"]))
    wide = shown.pivot(index=["model", "task", "kind", "n"], columns="at", values="text")[order]
    return wide.reset_index().rename_axis(columns=None)


def prompt_only(run: Path) -> pd.DataFrame:
    """AUROC of the probe that sees the prompt only, beside the best monitor of the answer."""
    found = stored(run, "benchmark")
    if found.empty:
        return found
    area = found[(found["figure"] == "AUROC") & (found["access"] != "hybrid")]
    lines = []
    for model, task in cells(run):
        part = of_cell(area, model, task).set_index("monitor")
        row = {"model": model, "task": task, "prompt only": "–", "best of the answer": "–"}
        answer = part["value"].drop(PROMPT, errors="ignore").dropna()
        chosen = {"prompt only": PROMPT} if PROMPT in part.index else {}
        chosen |= {"best of the answer": answer.idxmax()} if len(answer) else {}
        for column, name in chosen.items():
            row[column] = with_interval(*part.loc[name, ["value", "ci_low", "ci_high"]])
        lines.append({**row, "which": chosen.get("best of the answer", "")})
    return pd.DataFrame(lines)


def with_interval(value: float, low: float, high: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f} ({low:.2f}, {high:.2f})"


def summed_up(reasons: Iterable[str]) -> dict[str, list[str]]:
    """Reasons that differ in their numbers only, by one text that gives the numbers' range."""
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        alike.setdefault(_NUMBER.sub("#", reason), []).append(reason)
    found = {}
    for same in alike.values():
        columns = zip(*(map(int, _NUMBER.findall(r)) for r in same), strict=True)
        spans = iter([f"{min(c)} to {max(c)}" if min(c) < max(c) else str(c[0]) for c in columns])
        found[_NUMBER.sub(lambda _, s=spans: next(s), same[0])] = same
    return found


def draw_pilot(run: Path, folder: Path) -> Path | None:
    """Share recognised against share of tokens read, a panel a model and task, with 95 % bands."""
    found = stored(run, "pilot")
    if found.empty:
        return None
    part = found[found["axis"] == "share"]
    with styled():
        names = list(dict.fromkeys(zip(part["model"], part["task"], strict=True)))
        figure, axes = panels(len(names), 1.9, sharey=True)
        for axis, (model, task) in zip(axes, names, strict=True):
            _curves(axis, of_cell(part, model, task))
            axis.set_title(for_figure(title(run, model, task)), color=INK)
        for axis in axes[::3]:
            axis.set_ylabel("share of answers")
        handles, words = axes[0].get_legend_handles_labels()
        figure.legend(handles, words, loc="outside lower center", ncols=3)
    return saved(figure, part, folder, "pilot")


def _curves(axis: Axes, part: pd.DataFrame) -> None:
    for kind, (name, colour, line) in KINDS.items():
        one = part[part["kind"] == kind]
        percent = 100 * one["cut"]
        axis.plot(percent, one["value"], line, color=colour, label=name)
        axis.fill_between(percent, one["ci_low"], one["ci_high"], color=colour, alpha=0.15, lw=0)
    axis.axvline(25, color=GREY, linewidth=0.6)
    axis.set_xlabel("tokens read, %")
    axis.set_ylim(0, 1.03)  # lines at 1 are seen whole
    axis.grid(axis="y")
