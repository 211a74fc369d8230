"""What the notebooks of the online study call.

book = start("21_benchmark", run_dir=run_dir)
book.monitors()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from trustllm_repro.escape import for_file
from trustllm_repro.paths import data_dir
from trustllm_repro.report import (
    early_tokens,
    html,
    online,
    online_access,
    online_benchmark,
    online_claims,
    online_hybrids,
    online_measured,
)
from trustllm_repro.report.shown import write_shown
from trustllm_repro.report.watch_desk import Desk, attended
from trustllm_repro.run_notebooks.notebook import check
from trustllm_repro.scoring.results import Results
from trustllm_repro.scoring.run import Run, open_run


@dataclass
class Book:
    """One notebook of the online study at work on one run folder."""

    name: str
    run: Run
    parameters: dict[str, Any]

    # 20_pilot

    def watch(self) -> HTML:
        """Let models answer and watch them; who calls how many answers unsafe."""
        return HTML(online.watch(self.run.path, **online.asked(self.parameters)))

    def pilot_figure(self) -> HTML:
        path = online.draw_pilot(self.run.path, self.run.figures)
        return _shown(path, "share of answers recognised against share of tokens read")

    def pilot(self, axis: str) -> HTML:
        """Shares recognised after parts of the answer ("share") or after "tokens"."""
        return self._table(f"pilot_{axis}", online.pilot_table(self.run.path, axis))

    def prompt_only(self) -> HTML:
        """What the prompt alone tells, before the first token."""
        return self._table("prompt_only", online.prompt_only(self.run.path))

    def audited(self) -> HTML:
        """Kappa of raters and judge, where filled sheets were given."""
        return self._table(
            "raters", online.stored(self.run.path, "audit"), nothing=online.NO_SHEETS
        )

    # 21_benchmark

    def monitors_figure(self) -> HTML:
        path = online_benchmark.draw_monitors(self.run.path, self.run.figures)
        return _shown(path, "AUROC of all monitors, and their mean ranks")

    def best_monitors(self) -> HTML:
        """The best monitor of each model and task, and how many are not told apart from it."""
        return self._table("monitors_best", online_benchmark.best(self.run.path))

    def tradeoff(self) -> HTML:
        path = online_benchmark.draw_tradeoff(self.run.path, self.run.figures)
        return _shown(path, "safety gain against availability cost of all monitors")

    def monitors(self) -> HTML:
        """Figures of all monitors and hybrids, a table a model and task, folded."""
        return self._cells("monitors", online_benchmark.benchmark_table)

    def committed_monitors(self) -> HTML:
        """The same by the larger study, where methods that need further answers were tried too."""
        larger = data_dir() / "online"
        return self._cells("larger_study_monitors", online_benchmark.benchmark_table, larger)

    def empty_cells(self) -> HTML:
        """Why figures are empty, and how many."""
        return self._table(
            "monitors_empty_cells", online_benchmark.reasons(self.run.path), wrap=("reason",)
        )

    # 22_closed_access

    def watch_endpoint(self) -> HTML:
        """Watch the endpoint that was given, if one was."""
        return HTML(online_access.watch(self.run.path, self.parameters))

    def levels(self) -> HTML:
        """How many of all monitors run at each level of access."""
        return self._table("access_levels", online_access.declared(), wrap=("why not the others",))

    def access(self, kind: str) -> HTML:
        """What was tried at each level: "counts", "best" or "losses"."""
        frame = getattr(online_access, kind)(self.run.path)
        wrap = tuple(frame.columns[2:]) if kind == "best" else ()
        return self._table(f"access_{kind}", frame, wrap)

    def access_figure(self) -> HTML:
        path = online_access.draw(self.run.path, self.run.figures)
        return _shown(path, "AUROC of grey-box monitors with all probabilities and with five")

    # 23_hybrids

    def hybrid_counts(self) -> HTML:
        """How many hybrids beat their best member."""
        return self._table("hybrids_counts", online_hybrids.counts(self.run.path))

    def hybrids_figure(self) -> HTML:
        path = online_hybrids.draw(self.run.path, self.run.figures)
        return _shown(path, "gain of hybrids over their best member at the same cost")

    def hybrids(self) -> HTML:
        """All hybrids, a table a model and task, folded."""
        return self._cells("hybrids", online_hybrids.table)

    def stopping(self, risk: float) -> HTML:
        """What stopping at the alarm saves and costs, at a risk of false alarms."""
        frame, run = online_hybrids.stopping_table(self.run.path, risk), self.run.path
        nothing = online_hybrids.why_not(run, risk) or online.NOTHING
        return self._table(f"stopping_{100 * risk:.0f}_percent", frame, nothing=nothing)

    def committed_stopping(self, risk: float) -> HTML:
        """The same by the larger study whose tables are in the repository."""
        frame = online_hybrids.stopping_table(data_dir() / "online", risk)
        name = f"larger_study_stopping_{100 * risk:.0f}_percent"
        return self._table(name, frame, nothing=online_claims.NO_STUDY)

    # 24_claims

    def online_claims(self) -> HTML:
        """Claim, criterion, evidence, verdict."""
        frame = online_claims.examine_all(self.run.path)
        results = Results("24_claims")
        for c in frame.itertuples():
            results.add(f"online.{c.id}.verdict", c.verdict)
        results.save(self.run.path)
        return self._table("online_claims", frame, wrap=("claim", "criterion", "evidence"))

    def committed_claims(self) -> HTML:
        """The same by the larger study whose tables are in the repository."""
        frame = online_claims.committed()
        return self._table(
            "larger_study_claims", frame, ("claim", "evidence"), online_claims.NO_STUDY
        )

    def committed_study(self) -> HTML:
        """Models, tasks and numbers of answers of that study."""
        return self._table(
            "larger_study", online_claims.committed_study(), nothing=online_claims.NO_STUDY
        )

    def measured(self) -> HTML:
        """What watching costs and reaches, beside what it was to."""
        return self._table(
            "measured", online_measured.measured(self.run.path), wrap=("figure", "measured")
        )

    def anchors(self) -> HTML:
        """Where later work stands, and this run beside it."""
        frame = online_claims.anchors(self.run.path)
        values = [f"{v:.1f} {u}" for v, u in zip(frame["value"], frame["unit"], strict=True)]
        shown = frame.assign(value=values).drop(columns="unit")
        return self._table("later_work", shown, wrap=("work", "what", "data", "reads", "source"))

    # 25_watch

    @cached_property
    def desk(self) -> Desk:
        return Desk(self.run.path, self.parameters)

    def watched(self) -> HTML:
        """The answer to the prompt, its tokens coloured by danger."""
        return _page(self.desk.page())

    def watch_widget(self) -> Any:
        """The same for any prompt, live; nothing where nobody would see it."""
        return self.desk.widget() if attended(self.parameters["interactive"]) else None

    # 30_early_tokens_gpu

    def early_tokens(self):
        """The book of this notebook's own study, in a folder of the run folder."""
        return replace(self, run=Run(self.run.path / early_tokens.FOLDER))

    def watch_larger(self) -> HTML:
        """Let the model answer and watch it by what one pass leaves."""
        return HTML(early_tokens.watch(self.run.path, self.parameters))

    def measure(self) -> HTML:
        """Time plain and watched generation, if asked to."""
        return _page(early_tokens.measure(self.run.path, self.parameters))

    def costs(self) -> HTML:
        """What watching adds to generation, measured before and now."""
        return self._table("watching_costs", early_tokens.costs(self.run.path), digits=1)

    def _cells(
        self, name: str, table: Callable[[Path, str, str], pd.DataFrame], study: Path | None = None
    ) -> HTML:
        """A table a model and task, of the run or of another study."""
        parts, study = [], study or self.run.path
        for model, task in online.cells(study):
            frame = table(study, model, task)
            body = self._kept(f"{name}_{for_file(model)}_{task}", frame)
            parts.append(html.folded(online.title(study, model, task), body))
        return _page("".join(parts))

    def _table(
        self, name: str, frame: pd.DataFrame, wrap: tuple[str, ...] = (),
        nothing: str = online.NOTHING, digits: int = 3,
    ) -> HTML:  # fmt: skip
        """Kept as tables/<name>.csv and .tex, and shown; columns in `wrap` may break lines."""
        if frame.empty:
            return _page(html.note(nothing))
        return _page(self._kept(name, frame, digits, wrap))

    def _kept(
        self, name: str, frame: pd.DataFrame, digits: int = 3, wrap: tuple[str, ...] = ()
    ) -> str:
        write_shown(self.run.path / "tables", name, frame, digits, wrap)
        return html.plain_table(frame, digits, wrap)


def _page(body: str) -> HTML:
    return HTML(html.STYLE + (body or html.note(online.NOTHING)))


def _shown(path: Path | None, text: str) -> HTML:
    return _page(html.image(path, text) if path else "")


def start(name: str, **parameters: Any) -> Book:
    """Open the run folder for a notebook; parameters are checked before anything is read."""
    checked = check(name, parameters)
    return Book(name, open_run(checked["run_dir"]), checked)
