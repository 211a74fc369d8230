"""The notebooks as a graph of stages, run by papermill, and index.html, which shows their state.

A stage is skipped when nothing it depends on has changed since it last ran, and its outputs exist.
A killed run goes on where it stopped; a failing notebook stops the run and is kept with its error.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from trustllm_repro.errors import ReproError
from trustllm_repro.escape import without_controls
from trustllm_repro.progress import duration
from trustllm_repro.run_notebooks.execute import CONTEXT, end_with_the_caller, execute
from trustllm_repro.run_notebooks.plan import Notebook, Plan, Stage, state_file
from trustllm_repro.scoring.results import read_verify, verdict_counts
from trustllm_repro.store.atomic import write_json, write_text

_TEMPLATES = Environment(
    autoescape=True,
    loader=FileSystemLoader(Path(__file__).parent),
    trim_blocks=True,
    lstrip_blocks=True,
)
FILES = ("verify.csv", "claims.csv", "audit.csv", "results.json", "provenance.json")
FOLDERS = {"tables": "*.csv", "figures": "*.pdf"}
_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)")


def write_index(plan: Plan) -> Path:
    """Write index.html: one file that needs no other, with links into the run folder."""
    page = _TEMPLATES.get_template("index.html").render(
        plan=plan,
        count=Counter(s.state for s in plan.stages),
        verdicts=_verdicts(plan.run),
        notebooks=[_card(plan.run, s) for s in plan.stages],
        files=[f for f in FILES if (plan.run / f).exists()],
        folders={f: n for f, kind in FOLDERS.items() if (n := len([*(plan.run / f).glob(kind)]))},
    )
    path = plan.run / "index.html"
    if path.exists() and path.read_text(encoding="utf-8") == page:
        return path
    return write_text(path, page)


def _verdicts(run: Path) -> dict[str, Any]:
    """Counts of verdicts under the authors' rule; empty until there is a verify.csv to count."""
    from trustllm_repro.analysis.compare import judged_sentence  # loads scipy, not needed to start

    try:
        frame = read_verify(run / "verify.csv")
    except ReproError:
        return {}
    counts = verdict_counts(frame).sum()
    return {"counts": counts.to_dict(), "all": int(counts.sum()), "ours": judged_sentence(frame)}


def _card(run: Path, stage: Stage) -> dict[str, Any]:
    title, sentence = _introduction(stage.notebook)
    # The page beside a notebook that failed is from before; the notebook holds the error.
    kinds = ("ipynb",) if stage.state == "failed" else ("html", "ipynb")
    links = {k: f"notebooks/{stage.name}.{k}" for k in kinds}
    executed = run / links["ipynb"]
    shown = executed.exists() and stage.state in ("done", "due")
    return {
        "name": stage.name,
        "title": title,
        "sentence": sentence,
        "state": stage.state,
        "seconds": duration(stage.seconds) if stage.seconds is not None else "",
        "note": without_controls(stage.note).partition("\n")[0],
        "links": {k: link for k, link in links.items() if (run / link).exists()},
        "thumbnail": _thumbnail(executed, executed.stat().st_mtime_ns) if shown else "",
    }


def _introduction(notebook: Notebook) -> tuple[str, str]:
    """Title of a notebook and the first sentence below it."""
    first = next((text for kind, text in notebook.cells if kind == "markdown"), "")
    title, _, text = first.lstrip("# ").partition("\n")
    words = " ".join(re.sub(r"[*`]", "", text).split())
    return title or notebook.name, re.split(r"(?<=[.?!])\s", words, maxsplit=1)[0]


@cache
def _thumbnail(executed: Path, changed: int) -> str:
    """The first figure of an executed notebook, small, as the address of an image; "" for none."""
    from PIL import Image

    try:
        cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError):
        return ""
    for output in (o for c in cells for o in c.get("outputs", ())):
        data = output.get("data", {})
        shown = _PNG.search("".join(data.get("text/html", "")))
        png = "".join(data.get("image/png", "")) or (shown[1] if shown else "")
        if png:
            image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
            image.thumbnail((640, 640))
            small = io.BytesIO()
            image.quantize(64).save(small, "PNG", optimize=True)
            return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"
    return ""


# --- running


def run_plan(plan: Plan, workers: int = 0, note: Callable[[str], None] = lambda text: None) -> None:
    """Run what is due, independent notebooks side by side, and keep index.html up to date.

    `workers`: notebooks at a time; 0: one a core. Raises ReproError: a notebook failed; those
    running then are finished and kept first.
    """
    due, running, failure = plan.due, {}, None
    workers = max(1, min(workers or os.cpu_count() or 1, len(due)))
    # Fresh processes: papermill keeps an event loop and a client per process.
    with ProcessPoolExecutor(workers, CONTEXT, end_with_the_caller) as pool:
        while True:
            may = _startable(plan.stages) if failure is None else []
            for stage in may[: workers - len(running)]:
                stage.read_inputs(plan.stages)  # what earlier stages left behind is there only now
                # From here on the last success is history, whatever becomes of this run.
                state_file(plan.run, stage.name).unlink(missing_ok=True)
                running[pool.submit(execute, stage.name, stage.parameters, plan.run)] = stage
                stage.state, stage.note = "running", ""
                note(f"{stage.name} ...")
            write_index(plan)
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                stage = running.pop(future)
                error = _settle(plan.run, future, stage)
                failure = failure or error
                if error is None:
                    note(f"{stage.name} done in {stage.seconds} s")
    if failure is not None:
        raise failure
    if due:
        path = plan.run / "provenance.json"
        facts = json.loads(path.read_text(encoding="utf-8"))
        took = {s.name: s.seconds for s in plan.stages}
        write_json(path, facts | {"stage_seconds": took})


def _startable(stages: Sequence[Stage]) -> list[Stage]:
    """Stages that are due and whose needs are done; of those in which a model answers one, if none
    runs: it uses all cores, and two at a time would wait for each other's threads."""
    done = {s.name for s in stages if s.state == "done"}
    ready = [s for s in stages if s.state == "due" and done.issuperset(s.needs)]
    busy = any(s.notebook.model for s in stages if s.state == "running")
    answering = [s for s in ready if s.notebook.model][: 0 if busy else 1]
    return [s for s in ready if not s.notebook.model or s in answering]


def _settle(run: Path, future: Future[float], stage: Stage) -> ReproError | None:
    """Note what became of a stage; what went wrong, if something did, else its inputs are kept."""
    try:
        stage.seconds = round(future.result(), 1)
    except (BrokenProcessPool, ReproError) as e:
        error = e if isinstance(e, ReproError) else ReproError(
            f"the process that ran notebook {stage.name} was killed",
            remedy="most often memory ran out: try --workers 1; finished stages are kept",
        )  # fmt: skip
        stage.state, stage.note = "failed", error.problem
        return error
    write_json(state_file(run, stage.name), {"inputs": stage.inputs, "seconds": stage.seconds})
    stage.state = "done"
    return None
