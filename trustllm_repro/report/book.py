"""What notebooks call. A notebook says what it shows; how is said here.

book = start("10_truthfulness", run_dir=run_dir)
book.tables("truth_external", "truth_internal")
book.figure("truthfulness")
book.conclusions()
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from trustllm_repro.analysis import audit, card, judges, live
from trustllm_repro.analysis.audit_list import all_changes
from trustllm_repro.analysis.claims import examine_all
from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.analysis.our_judge import judged_sentence, judged_table
from trustllm_repro.data.published import MODELS
from trustllm_repro.data.registry import find_benchmark, find_records, missing
from trustllm_repro.plot import overview_figures, panels
from trustllm_repro.plot.figures import verification
from trustllm_repro.report import html, live_html, live_stage
from trustllm_repro.report.book_online import OnlinePages
from trustllm_repro.scoring.results import Results, cell_results
from trustllm_repro.scoring.run import Run, open_run, replay_ledger, replay_records
from trustllm_repro.scoring.tables import write_csv
from trustllm_repro.run_notebooks import check
from trustllm_repro.tasks import DIMENSIONS

# Claims are numbered by the first letter of their dimension.
_LETTERS = {d: d[0].upper() for d in DIMENSIONS}


@dataclass
class Book(OnlinePages):
    """One notebook at work on one run folder."""

    name: str
    run: Run
    parameters: dict[str, Any]

    @property
    def dimension(self) -> str:
        word = self.name.split("_")[-1]
        return word if word in DIMENSIONS else self.name.split("_", 1)[1]

    @cached_property
    def evidence(self) -> Evidence:
        return Evidence(self.run)

    @cached_property
    def claims(self) -> pd.DataFrame:
        return examine_all(self.evidence)

    @cached_property
    def defects(self) -> pd.DataFrame:
        return audit.defects_table(self.evidence)

    def asks(self) -> HTML:
        """The dimension's tasks: what each asks, its source, its answers here."""
        ledger = self.run.ledger
        lines = [
            {
                "task": t.title,
                "asks": t.asks,
                "source": t.source,
                "items": sum(1 for _ in ledger.asked(t.id)["item"]) if t.file else 0,
                "models with answers": sum(ledger.has(t.id, m) for m in ledger.models),
            }
            for t in DIMENSIONS[self.dimension].TASKS
        ]
        return HTML(html.STYLE + html.plain_table(pd.DataFrame(lines), wrap=("asks", "source")))

    def tables(self, *names: str, columns: list[str] | None = None) -> HTML:
        """Published tables beside what the recorded answers give."""
        parts = [html.cells_table(self.run.cells, n, columns) for n in names]
        return HTML(html.STYLE + "".join(parts))

    def figure(self, name: str) -> HTML:
        """Draw, save (PDF, SVG, PNG, CSV) and show a figure by name."""
        path, text = panels.draw(name, self.run)
        return HTML(html.STYLE + html.image(path, text))

    def live(self) -> HTML:
        """Rows of the live models in this dimension's tables, beside the published range."""
        runs = live.live_runs(self.run.path, self.parameters["models"])
        tables = live.tables_of(self.dimension)
        parts = [live_html.live_table(runs, self.run.cells, t) for t in tables]
        notes = live.judge_notes(self.dimension)
        return HTML(html.STYLE + live_html.LEGEND.render(notes=notes) + "".join(parts))

    def conclusions(self) -> HTML:
        """Claims of this dimension with verdicts, and the defects that touch its tables."""
        letter = _LETTERS[self.dimension]
        claims = self.claims[self.claims["id"].str.startswith(letter)]
        items = [
            (c.verdict, f"{c.id} {c.claim}", f"{c.evidence}. {c.test}") for c in claims.itertuples()
        ]
        mine = self.defects[self.defects["dimension"] == self.dimension]
        items += [("defect", f"{d.id} {d.defect}", d.evidence) for d in mine.itertuples()]
        return HTML(html.STYLE + html.paragraph_list(items))

    # 00_provenance

    def replay(self) -> HTML:
        """Fill the run folder from recorded answers or from the committed ledger."""
        records, benchmark = (
            find_records(self.parameters["records"]),
            find_benchmark(self.parameters["benchmark"]),
        )
        source = self.parameters["source"]
        if source == "auto":
            source = "records" if records and benchmark else "ledger"
        if source == "records":
            if not records or not benchmark:
                raise missing("recorded answers or benchmark", ("recorded", "dataset.zip"))
            self.run = replay_records(records, benchmark, self.run.path)[0]
        else:
            self.run = replay_ledger(self.run.path)
        cell_results(self.run.cells).save(self.run.path)
        c = self.run.cells
        facts = {
            "verdicts come from": "recorded answers"
            if source == "records"
            else "the committed ledger",
            "models with recorded answers": ", ".join(
                MODELS.get(m, m) for m in self.run.ledger.models
            ),
            "verdicts": f"{self.run.ledger.verdicts.num_rows:,}",
            "published cells": f"{int(c.loc[c['rule'] == 'authors', 'published'].notna().sum()):,}",
        }
        frame = pd.DataFrame({"what": facts.keys(), "here": facts.values()})
        return HTML(html.STYLE + html.plain_table(frame, wrap=("here",)))

    def verdicts(self) -> HTML:
        """Counts of verdicts, and the figure with one bar per published table."""
        c = self.run.cells
        part = c[(c["rule"] == "authors") & c["published"].notna()]
        counts = part["verdict"].value_counts().rename_axis("verdict").reset_index(name="cells")
        path = verification(c, self.run.figures)
        return HTML(
            html.STYLE + html.plain_table(counts) + html.image(path, "verdicts per published table")
        )

    def misses(self) -> HTML:
        """Every recomputed cell that is not reproduced, authors' rule."""
        c = self.run.cells
        part = c[(c["rule"] == "authors") & c["verdict"].isin(["near", "differs"])]
        names = ["table", "model", "column", "value", "published", "verdict", "n", "n_unparsed"]
        return HTML(html.STYLE + html.plain_table(part[names]))

    def by_our_judge(self) -> HTML:
        """Cells that rest on labels of our own judge, as none were recorded; never among the rest."""
        frame = judged_table(self.run.cells)
        table = html.plain_table(frame, wrap=("labels",)) if len(frame) else ""
        return HTML(html.STYLE + html.note(judged_sentence(self.run.cells)) + table)

    # 05_live

    def answer(self) -> HTML:
        """Let a model answer the benchmark, or its miniature; says so if the model is not to be had."""
        return HTML(live_stage.answer(self.run.path, self.parameters))

    # 16_overview

    def ranking(self) -> HTML:
        """Mean ranks with intervals and the heat map of ranks; stores both as results."""
        found = overview_figures.ranking(self.run, self.parameters["resamples"])
        results = Results(self.name)
        for r in found.table.itertuples():
            results.add(f"rank.{r.model}", float(r.mean_rank), ".2f")
            results.add(f"rank.{r.model}.low", float(r.low), ".2f")
            results.add(f"rank.{r.model}.high", float(r.high), ".2f")
        self._save_claims(results)
        shown = found.table.assign(model=[MODELS.get(m, m) for m in found.table["model"]])
        heat, line = (self.run.figures / f"{n}.png" for n in ("rank_heatmap", "rank_intervals"))
        return HTML(
            html.STYLE + html.image(heat, "rank of 16 models in 31 columns")
            + html.image(line, "mean rank with interval") + html.plain_table(shown, 2)
        )  # fmt: skip

    def _save_claims(self, results: Results) -> None:
        for c in self.claims.itertuples():
            results.add(f"claim.{c.id}.verdict", c.verdict, cells=c.cells)
            if not pd.isna(c.p):
                results.add(f"claim.{c.id}.p", float(c.p), ".2g", c.cells)
                results.add(f"claim.{c.id}.q", float(c.q), ".2g", c.cells)
                results.add(f"claim.{c.id}.test", c.test, cells=c.cells)
        for verdict, n in self.claims["verdict"].value_counts().items():
            results.add(f"claims.{verdict.replace(' ', '-')}", int(n))
        results.add("claims.all", len(self.claims))
        results.save(self.run.path)
        write_csv(self.run.path / "claims.csv", self.claims.drop(columns="cells"))

    def claims_table(self) -> HTML:
        """Claim -> evidence -> test -> verdict."""
        frame = self.claims[["id", "claim", "evidence", "test", "q", "verdict"]]
        return HTML(html.STYLE + html.plain_table(frame, wrap=("claim", "evidence", "test")))

    # 17_audit

    def defect_table(self) -> HTML:
        """All defects with what proves them; stores their numbers as results."""
        from trustllm_repro.analysis.audit_results import save_audit

        save_audit(self.name, self.run, self.evidence, self.defects)
        frame = self.defects.drop(columns="dimension")
        return HTML(html.STYLE + html.plain_table(frame, wrap=("defect", "evidence")))

    def changes(self, defect: str) -> HTML:
        """Numbers before and after one defect, for the models whose number or rank changes."""
        frame = all_changes(self.evidence)
        part = frame[frame["id"] == defect].drop(columns=["id", "table"])
        before, after = part["rank_before"], part["rank_after"]
        moved = (part["change"].abs() > 0.0005) | (before.notna() & (before != after))
        part = part[moved].copy()
        part["model"] = part["model"].map(lambda m: MODELS.get(m, m))
        return HTML(html.STYLE + html.plain_table(part))

    def contradictions(self) -> HTML:
        """Leaderboard cells that contradict their own sheet."""
        return HTML(html.STYLE + html.plain_table(audit.consistency()))

    def directions(self, first: int = 6) -> HTML:
        """Which columns, turned round, explain the published average rank."""
        return HTML(
            html.STYLE + html.plain_table(audit.direction_search().head(first), wrap=("turned",))
        )

    # 18_judges

    def judge(self, *kinds: str) -> HTML:
        """Tables of the judges' measurements by name; see report.judges."""
        parts = []
        for kind in kinds:
            table = getattr(judges, f"{kind}_table", None)
            frame = table() if table else judges.refusal_table(kind)
            parts.append(html.plain_table(frame))
        return HTML(html.STYLE + "".join(parts))

    def judge_figure(self) -> HTML:
        path = judges.draw(self.run.figures)
        return HTML(html.STYLE + html.image(path, "agreement of the refusal judge, by group"))

    def mended(self) -> HTML:
        """Raw and mended rates of the live models."""
        parts = []
        for run in live.live_runs(self.run.path, self.parameters["models"]):
            frame = judges.mended_table(run)
            if len(frame) and not run.is_demonstration:
                parts.append(html.note(run.rows[0]) + html.plain_table(frame))
        return HTML(html.STYLE + "".join(parts))

    # 19_my_model

    @cached_property
    def mine(self) -> live.LiveRun:
        return live.live_runs(self.run.path, [self.parameters["model"]])[0]

    def model_facts(self) -> HTML:
        """Which model, asked what, how."""
        return HTML(html.STYLE + html.plain_table(card.facts(self.mine), wrap=("here",)))

    def report_card(self) -> HTML:
        """Figure: the model's place in every column of the leaderboards."""
        path = card.draw(self.mine, self.run.figures)
        return HTML(html.STYLE + html.image(path, "one model beside the published field"))

    def standing(self) -> HTML:
        """Where it stands highest and lowest, then all columns as a table."""
        found = card.standing(self.mine)
        shown = found.drop(columns=["quantile", "of"])
        text = html.paragraph_list(card.extremes(found))
        return HTML(html.STYLE + text + html.plain_table(shown))

    def details(self) -> HTML:
        """Every table of every dimension the model has a value in."""
        names = [t for d in DIMENSIONS for t in live.tables_of(d)]
        parts = [live_html.live_table([self.mine], self.run.cells, t) for t in names]
        return HTML(html.STYLE + live_html.LEGEND.render(notes=[]) + "".join(parts))

    def requests(self) -> HTML:
        """What became of the requests, per task."""
        return HTML(html.STYLE + html.plain_table(self.mine.counts()))


def start(name: str, **parameters: Any) -> Book:
    """Open the run folder for a notebook; parameters are checked before anything is read."""
    checked = check(name, parameters)
    path = Path(checked["run_dir"])
    run = Run(path) if name == "00_provenance" else open_run(path)
    return Book(name, run, checked)
