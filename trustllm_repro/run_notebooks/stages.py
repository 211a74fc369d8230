"""The notebooks of a profile as a graph of stages: what each declares and depends on, which are
due, running them by papermill, and index.html, which shows their state.

A stage is skipped when nothing it depends on has changed since it last ran, and its outputs exist.
A killed run goes on where it stopped; a failing notebook stops the run and is kept with its error.

The `parameters` cell gives names, types, defaults and meaning of a notebook's parameters;
`metadata.trustllm` declares the rest:

    {"needs": ["00_provenance"],           stages that run before it, if the profile names them
     "reads": ["data/published/*.csv"],    files it reads; see files_read
     "model": true,                        a model answers in it; only one such stage runs at a time
     "parameters": {"limit": {"ge": 0}}}   bounds of values, as pydantic.Field takes them
"""

from __future__ import annotations

import ast
import base64
import glob
import io
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import yaml
from jinja2 import Template
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from trustllm_repro import EXPORTS
from trustllm_repro.data.registry import find_benchmark, find_records
from trustllm_repro.errors import ReproError, SettingsError
from trustllm_repro.escape import without_controls
from trustllm_repro.paths import notebooks_dir, project_root
from trustllm_repro.progress import duration
from trustllm_repro.run_notebooks.execute import CONTEXT, end_with_the_caller, execute
from trustllm_repro.scoring.results import read_verify, verdict_counts
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import read_object, reading, write_json, write_text

FIRST = "00_provenance"
TYPICAL_SECONDS = 15  # of a notebook whose profile gives none
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(sk-|hf_|gh[pousr]_|github_pat_|glpat-|gsk_|xox[abp]-|AKIA|AIza)[\w-]{12,}"
)

# --- notebooks


@dataclass(frozen=True)
class Notebook:
    """What a notebook declares; one without declarations depends on all data."""

    name: str
    cells: list[tuple[str, str]]  # type and source
    parameters: type[BaseModel]  # which checks their values
    needs: Sequence[str] = (FIRST,)
    reads: Sequence[str] = ("data",)
    model: bool = False

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Complete and validate parameters; a value that looks like a key is refused."""
        for name, value in values.items():
            if _KEY.search(str(value)):
                raise SettingsError(
                    f"{self.name}.{name} looks like a secret key; parameters are stored in the "
                    "results",
                    remedy="pass keys through environment variables only",
                )
        try:
            return self.parameters(**values).model_dump()
        except ValidationError as e:
            raise _invalid(f"notebook {self.name}", e) from e


def read_notebook(name: str) -> Notebook:
    """Read what a notebook declares; a SettingsError or SourceCorrupt if there is none."""
    from papermill import inspect_notebook

    path = _named("notebook", name, notebooks_dir(), ".ipynb")
    with reading(path, "restore it with `git checkout -- notebooks`"):
        book = json.loads(path.read_text(encoding="utf-8"))
        cells = [(c["cell_type"], "".join(c["source"])) for c in book["cells"]]
        declared = dict(book["metadata"].get("trustllm", {}))
        parameters = _parameters(inspect_notebook(str(path)), declared.pop("parameters", {}))
        return Notebook(name, cells, parameters, **declared)


def _named(kind: str, name: str, folder: Path, suffix: str) -> Path:
    """The file of a notebook or a profile, which must be there."""
    path = folder / f"{name}{suffix}"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob(f"*{suffix}")))
        raise SettingsError(f"no {kind} {name!r}", remedy=f"one of: {known}")
    return path


def _parameters(inspected: Mapping[str, Any], bounds: Mapping[str, Any]) -> type[BaseModel]:
    """A pydantic model of what papermill found in the cell, with the bounds of the metadata."""
    fields: dict[str, Any] = {}
    for name, found in inspected.items():
        default = ast.literal_eval(found["default"])
        word = list[Annotated[str, Field(min_length=1)]]
        kind = word if isinstance(default, list) else type(default)
        more = {"min_length": 1} if name == "run_dir" else {}
        more |= {"description": found["help"], **bounds.get(name, {})}
        fields[name] = (kind, Field(default, **more))
    strict = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    return create_model("Parameters", __config__=strict, **fields)


def _invalid(where: str, error: ValidationError) -> SettingsError:
    found = error.errors(include_url=False)
    problems = [f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in found]
    remedy = "see the parameters cell of the notebook"
    return SettingsError(f"{where}: {'; '.join(problems)}", remedy=remedy)


# --- profiles


class Profile(BaseModel):
    """A named parameter set: notebooks/profiles/<name>.yaml."""

    model_config = ConfigDict(extra="forbid")

    describes: str
    notebooks: dict[str, dict[str, Any]]  # parameters of those that are run, in order
    seconds: dict[str, int] = {}  # what long ones took on two cores, for the plan's estimate


def load_profile(name: str) -> Profile:
    """Read a profile; a SettingsError if there is none of that name, or it is no profile."""
    path = _named("profile", name, notebooks_dir() / "profiles", ".yaml")
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as e:
        raise _invalid(f"profile {path.name}", e) from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise SettingsError(
            f"profile {path.name} is not YAML: {e}", remedy="restore it with `git checkout`"
        ) from e


# --- stages


@dataclass
class Stage:
    """One notebook of a profile, and how far it is.

    Attributes:
        needs: names of stages that run before it. inputs: hashes of what it depends on, by kind.
        state: "done", "due", "running" or "failed". note: why it is due or failed.
        seconds: what it took, once it is done.
    """

    notebook: Notebook
    parameters: dict[str, Any]
    needs: Sequence[str] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    state: str = "due"
    note: str = ""
    seconds: float | None = None

    @property
    def name(self) -> str:
        return self.notebook.name

    def read_inputs(self, stages: Iterable[Stage]) -> None:
        """Take the inputs as they are now; `stages`: those it needs are among them."""
        parts = {
            "notebook": self.notebook.cells,
            "parameters": self.parameters,
            "files": files_read(self.notebook.reads, self.parameters),
            "code": code_used(text for kind, text in self.notebook.cells if kind == "code"),
            "earlier stages": {s.name: _hash_of(s.inputs) for s in stages if s.name in self.needs},
        }
        self.inputs = {k: _hash_of(v) for k, v in parts.items()}

    def compare(self, run: Path) -> None:
        """Find out whether it is due: what has changed since it last ran, in words."""
        known, outputs = read_object(state_file(run, self.name)), run / "notebooks"
        before = known.get("inputs")
        if not isinstance(before, dict):
            self.note = "not run yet"
        elif not all((outputs / f"{self.name}{s}").exists() for s in (".ipynb", ".html")):
            self.note = "output is missing"
        elif other := [kind for kind, now in self.inputs.items() if before.get(kind) != now]:
            self.note = f"changed: {', '.join(other)}"
        else:
            self.state, self.seconds = "done", known.get("seconds")


@dataclass(frozen=True)
class Plan:
    """Stages of a profile in order; `costs`: seconds, where the profile knows them."""

    profile: str
    run: Path
    stages: list[Stage]
    costs: Mapping[str, int] = field(default_factory=dict)
    describes: str = ""

    @property
    def due(self) -> list[Stage]:
        return [s for s in self.stages if s.state == "due"]

    @property
    def frame(self) -> pd.DataFrame:
        """Index stage; columns state, why and needs, all str."""
        lines = [
            ["to run" if s.state == "due" else "up to date", s.note, ", ".join(s.needs)]
            for s in self.stages
        ]
        return pd.DataFrame(lines, [s.name for s in self.stages], ["state", "why", "needs"])

    @property
    def seconds(self) -> int:
        """Rough estimate: the first stage runs alone, the others two at a time, models in turn."""
        cost = {s.name: self.costs.get(s.name, TYPICAL_SECONDS) for s in self.due}
        first = cost.pop(FIRST, 0)
        models = sum(cost[s.name] for s in self.due if s.notebook.model and s.name in cost)
        return first + max(sum(cost.values()) // 2, models)


def make_plan(profile: str, run: Path, start_at: str = "") -> Plan:
    """Stages of a profile and which are up to date; `start_at`: run this one and all after it."""
    found = load_profile(profile)
    if start_at and start_at not in found.notebooks:
        raise SettingsError(
            f"no stage {start_at!r}", remedy=f"one of: {', '.join(found.notebooks)}"
        )
    stages: list[Stage] = []
    forced, run_dir = "", str(run.resolve())
    if run.resolve().is_relative_to(project_root()):  # no absolute path gets into a stored notebook
        run_dir = os.path.relpath(run.resolve(), notebooks_dir())
    for name, values in found.notebooks.items():
        notebook = read_notebook(name)
        parameters = notebook.check({"run_dir": run_dir, **values})
        needs = tuple(n for n in notebook.needs if n in found.notebooks and n != name)
        if late := set(needs) - {s.name for s in stages}:
            raise SettingsError(
                f"profile {profile} names {name} before {min(late)}, which it needs",
                remedy=f"change their order in notebooks/profiles/{profile}.yaml",
            )
        stage = Stage(notebook, parameters, needs)
        stage.read_inputs(stages)
        forced = f"--from {start_at}" if name == start_at else forced
        if forced:
            stage.note = forced
        else:
            stage.compare(run)
        stages.append(stage)
    return Plan(profile, run, stages, found.seconds, found.describes)


def _hash_of(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode())


def state_file(run: Path, name: str) -> Path:
    """Where a run notes the inputs and seconds of a finished stage."""
    return run / ".stages" / f"{name}.json"


# --- what a stage depends on: the files its notebook reads, and the code its cells import

PACKAGE = "trustllm_repro"
LARGE = 20_000_000  # bytes; larger files and folders are compared by size and time


def files_read(patterns: Iterable[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """Files that `reads` of a notebook name, each with the hash of what it holds.

    Patterns are globs; a folder means all files in it. They start at the checkout, those that begin
    with a parameter at notebooks/, where kernels run. `{name}` stands for the value of a parameter,
    or for each of a list. Where that is empty it is "*"; a pattern that begins with it names no file
    then, nor does one that ends with " if name". `{benchmark}` and `{records}` are those that the
    package finds; with the source "ledger" no records are read.
    """
    records = list(find_records(parameters.get("records", "")))
    values = {
        **parameters,
        "benchmark": find_benchmark(parameters.get("benchmark", "")),
        "records": [] if parameters.get("source") == "ledger" else records,
    }
    found = {}
    for line in patterns:
        pattern, _, condition = line.partition(" if ")
        if condition and not values[condition]:
            continue
        start = notebooks_dir() if pattern.startswith("{") else project_root()
        for one in _filled(pattern, values):
            for path in glob.glob(os.path.join(glob.escape(str(start)), one)):
                found |= _contents(Path(path))
    return found


def _filled(pattern: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A pattern with each combination of the values it names."""
    names = re.findall(r"{(\w+)}", pattern)
    if unknown := set(names) - set(values):
        raise SettingsError(
            f"a notebook reads {pattern!r}, and {unknown.pop()!r} is no parameter of it",
            remedy="see metadata.trustllm of the notebook",
        )
    choices = []
    for name in names:
        given = values[name] if isinstance(values[name], list) else [values[name]]
        texts = [glob.escape(os.path.expanduser(str(v))) for v in given if v not in ("", None)]
        leads = pattern.startswith(f"{{{name}}}")
        choices.append(texts or ([] if leads else ["*"]))
    for chosen in itertools.product(*choices):
        yield pattern.format(**dict(zip(names, chosen, strict=True)))


def _contents(path: Path) -> dict[str, str]:
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = {p: p.stat() for p in inside if p.is_file()}
    if sum(s.st_size for s in stats.values()) > LARGE:
        return {str(p): f"{s.st_size} {s.st_mtime_ns}" for p, s in stats.items()}
    return {str(p): _hashed(p, s.st_size, s.st_mtime_ns) for p, s in stats.items()}


@cache
def _hashed(path: Path, size: int, changed: int) -> str:
    return sha256(path.read_bytes())


def code_used(sources: Iterable[str]) -> dict[str, str]:
    """Modules of the package that code imports, directly or not, each with the hash of its code.

    Comments and docstrings do not count, data files beside the modules do. Of the package's own
    `__init__` only the names asked for are followed, as they are loaded when they are used.
    """
    todo = _imports("\n".join(map(_normal, sources)))
    found: dict[str, str] = {}
    while todo:
        name = todo.pop()
        package, _, last = name.rpartition(".")
        path, more = _path_of(name), {package} if package else set()
        if path is None and package == PACKAGE and last in EXPORTS:
            more.add(f"{PACKAGE}.{EXPORTS[last]}")
        if path is not None:
            found[name], imported = _module(name, path, path.stat().st_mtime_ns)
            more |= imported
            if path.name == "__init__.py":
                beside = [p for p in path.parent.glob("*.*") if p.suffix != ".py"]
                found |= {f"{name}/{p.name}": sha256(p.read_bytes()) for p in sorted(beside)}
        todo |= more - found.keys()
    return found


def _path_of(module: str) -> Path | None:
    base = project_root().joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)


def _normal(source: str) -> str:
    """Code as it counts: without docstrings, comments and blocks for the type checker."""
    code = "\n".join(x for x in source.splitlines() if not x.lstrip().startswith(("%", "!")))
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return source  # running it will say what is wrong
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    return ast.unparse(tree)


def _imports(code: str) -> set[str]:
    """Dotted names of the package that normal code imports; those of functions are among them."""
    found = set()
    for module, names in re.findall(rf"from ({PACKAGE}[\w.]*) import (.+)", code):
        found |= {module, *(f"{module}.{n}" for n in re.findall(r"(\w+)(?: as \w+)?", names))}
    for module, alias in re.findall(rf"import ({PACKAGE}[\w.]*)(?: as (\w+))?", code):
        used = re.findall(rf"\b{alias}\.(\w+)", code) if alias and module == PACKAGE else []
        found |= {module, *(f"{PACKAGE}.{name}" for name in used)}
    return found


@cache
def _module(name: str, path: Path, changed: int) -> tuple[str, set[str]]:
    """Hash of a module's code, and what it imports."""
    code = _normal(path.read_text(encoding="utf-8"))
    found = _imports(code)
    if "import pkgutil" in code:  # it loads its neighbours by name
        found |= {f"{name.rpartition('.')[0]}.{p.stem}" for p in path.parent.glob("*.py")}
    return sha256(code.encode()), found


# --- index.html

FILES = ("verify.csv", "claims.csv", "audit.csv", "results.json", "provenance.json")
FOLDERS = {"tables": "*.csv", "figures": "*.pdf"}


def write_index(plan: Plan) -> Path:
    """Write index.html: one file that needs no other, with links into the run folder."""
    text = Path(__file__).with_name("index.html").read_text(encoding="utf-8")
    page = Template(text, autoescape=True, trim_blocks=True, lstrip_blocks=True).render(
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
        if png := output.get("data", {}).get("image/png"):
            image = Image.open(io.BytesIO(base64.b64decode("".join(png)))).convert("RGB")
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
        facts = read_object(path)  # none, where the profile goes without 00_provenance
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
