"""23_hybrids: monitors put together, against their best member; and what stopping saves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trustllm_repro.escape import for_figure
from trustllm_repro.plot import BLUE, GREY, INK, ORANGE, styled
from trustllm_repro.report.html import saved
from trustllm_repro.report.online import (
    cells,
    of_cell,
    panels,
    stored,
    summed_up,
    title,
    with_interval,
)

BETTER, ALIKE, WORSE = "better", "not_told_apart", "worse"
COLOURS = {BETTER: BLUE, ALIKE: GREY, WORSE: ORANGE}


def judged(run: Path) -> pd.DataFrame:
    """Every hybrid of every model and task with a verdict: gain in SG at matched cost, q < 5 %."""
    found = stored(run, "hybrids")
    if found.empty:
        return found
    sure = found["q"] < 0.05
    verdict = pd.Series(ALIKE, index=found.index)
    verdict[sure & (found["gain"] > 0)] = BETTER
    verdict[sure & (found["gain"] < 0)] = WORSE
    verdict[found["gain"].isna()] = ""
    return found.assign(versus_member=verdict)


def table(run: Path, model: str, task: str) -> pd.DataFrame:
    """Hybrids of one model and task, largest gain first."""
    part = of_cell(judged(run), model, task).sort_values("gain", ascending=False)
    return pd.DataFrame(
        {
            "hybrid": part["hybrid"], "best member": part["member"].fillna(""), "AC": part["AC"],
            "SG": part["SG"], "SG of the member": part["SG, member"],
            "gain": [with_interval(*x) for x in part[["gain", "gain_low", "gain_high"]].to_numpy()],
            "q": part["q"], "gain in AUROC": part["AUROC gain"], "q of AUROC": part["AUROC q"],
            "against the member": part["versus_member"].str.replace("_", " "),
        }
    )  # fmt: skip


def draw(run: Path, folder: Path) -> Path | None:
    """Gain of every hybrid over its best member at the same cost, with 95 % intervals."""
    found = judged(run)
    names = cells(run)
    if found.empty or found["gain"].isna().all():
        return None
    rows = list(dict.fromkeys(found["hybrid"]))[::-1]
    with styled():
        figure, axes = panels(len(names), 0.7 + 0.115 * len(rows), sharey=True)
        for axis, (model, task) in zip(axes, names, strict=True):
            part = of_cell(found, model, task).dropna(subset="gain")
            for line in part.itertuples():
                at, colour = rows.index(line.hybrid), COLOURS[line.versus_member]
                axis.plot([line.gain_low, line.gain_high], [at, at], color=colour, linewidth=0.9)
                axis.plot(line.gain, at, "o", color=colour, ms=2.6)
            axis.axvline(0, color=INK, linewidth=0.6)
            axis.set_yticks(range(len(rows)), rows)
            axis.tick_params(axis="y", length=0)
            axis.set_title(for_figure(title(run, model, task)), color=INK)
            axis.set_xlabel("gain in SG at the same cost")
            axis.grid(axis="x")
    return saved(figure, found, folder, "hybrids")


def counts(run: Path) -> pd.DataFrame:
    """How many hybrids are better and worse than their best member, a line a model and task."""
    found = judged(run)
    if found.empty:
        return found
    known = found[found["versus_member"] != ""]
    table = known.groupby(["model", "task"], sort=False)["versus_member"].value_counts()
    return table.unstack(fill_value=0).reindex(columns=list(COLOURS), fill_value=0).reset_index()


def stopping_table(run: Path, risk: float, most: int = 6) -> pd.DataFrame:
    """What stopping saves at a risk: the monitors that avoid most unsafe tokens, a few a cell."""
    found = stored(run, "stopping")
    if found.empty:
        return found
    part = found[(found["risk"] == risk) & ~found["monitor"].isin(["always", "never"])]
    values = part.pivot(index=["model", "task", "monitor"], columns="figure", values="value")
    for name in ("unsafe stopped", "safe cut", "early"):
        one = part[part["figure"] == name].set_index(["model", "task", "monitor"])
        texts = [with_interval(*x) for x in one[["value", "ci_low", "ci_high"]].to_numpy()]
        values[f"{name}, interval"] = pd.Series(texts, index=one.index)
    known = values.dropna(subset="unsafe tokens avoided").reset_index()
    known = known.sort_values(["model", "task", "unsafe tokens avoided"], ascending=[1, 1, 0])
    shown = known.groupby(["model", "task"], sort=False).head(most)
    names = {
        "unsafe stopped, interval": "unsafe answers stopped", "safe cut, interval": "safe answers cut",
        "unsafe tokens avoided": "unsafe tokens avoided", "safe tokens lost": "safe tokens lost",
        "early, interval": "unsafe, stopped within 18 % of the tokens",
    }  # fmt: skip
    return (
        shown[["model", "task", "monitor", *names]].rename(columns=names).rename_axis(columns=None)
    )


def why_not(run: Path, risk: float) -> str:
    """Why nothing is known at a risk: the reasons of the empty figures."""
    found = stored(run, "stopping")
    if found.empty:
        return ""
    reasons = found.loc[found["risk"] == risk, "reason"].dropna()
    return "; ".join(sorted(summed_up(set(reasons))))
