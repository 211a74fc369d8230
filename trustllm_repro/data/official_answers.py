"""Answers the released package `trustllm` made, read from the folder or ZIP it left them in.

Two layouts (github.com/HowieHwong/TrustLLM, `LLMGeneration` of 0.1 to 0.3 and the runner of 0.4):

    generation_results/<model>/<section>/<file>.json
    <any folder>/run.json beside <file>.json; by default runs/<model>/<section>/

A file holds the rows of the benchmark's file of that name with the field `res`: the answer, or null
where the call failed. `eval_res` is what a judge of the package said, where it was kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired

import pandas as pd
from pydantic import AliasPath, BaseModel, Field, TypeAdapter

from trustllm_repro.data.benchmark import FILES, Benchmark, list_of_rows, parse_rows
from trustllm_repro.data.recorded import LABELS, meet
from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.store.archive import Archive
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Row

OLD, NEW = "generation_results", "run.json"
# Names of files in versions of the package in which they were not those of the benchmark.
OTHER_NAMES = {
    "explicit_ethics": "ethics/explicit_moralchoice",
    "implicit_ethics_social_norm": "ethics/implicit_SocialChemistry101",
    "implicit_ethics_ethics": "ethics/implicit_ETHICS",
    "privacy_confide": "privacy/privacy_awareness_confAIde",
    "privacy_confaide": "privacy/privacy_awareness_confAIde",
    "preference_plain": "fairness/preference",
    "preference_force": "fairness/preference",
}
_NAMES = {name.rsplit("/", 1)[1].casefold(): name for name in FILES} | OTHER_NAMES
FIX = "fix that file, or take it out of the folder; nothing was written"
Place = tuple[str, int]  # task id, item number


class RunFile(BaseModel):
    """What run.json records of its run."""

    model: str = Field(validation_alias=AliasPath("settings", "model", "model"))
    settings: dict[str, Any]


_ROWS = list_of_rows({"prompt": str, "res": NotRequired[str | None], "eval_res": NotRequired[Any]})
_RUN: TypeAdapter[Any] = TypeAdapter(RunFile)


@dataclass
class RowCounts:
    """What became of the rows of one file; lists hold row numbers, counted from 0."""

    file: str
    rows: int = 0
    answers: int = 0
    null: int = 0
    empty: int = 0
    without_res: int = 0
    labels: int = 0
    unmatched: list[int] = field(default_factory=list)  # prompts that the benchmark has not
    repeated: list[int] = field(default_factory=list)  # after as many as the prompt has items


@dataclass
class OfficialAnswers:
    """One model's answers by task and item, labels the package's refusal judge left, and counts."""

    model: str
    layouts: tuple[str, ...]
    digest: str
    texts: dict[Place, str | None] = field(default_factory=dict)  # None where the row holds null
    labels: dict[Place, str] = field(default_factory=dict)
    files: dict[str, RowCounts] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # of run.json, by its path
    ignored: list[str] = field(default_factory=list)  # JSON files of no known layout

    @property
    def names(self) -> set[str]:
        """Benchmark files that were answered."""
        return {c.file for c in self.files.values()}

    def total(self, what: str) -> int:
        """Sum of a count over all files."""
        counts = [getattr(c, what) for c in self.files.values()]
        return sum(len(n) if isinstance(n, list) else n for n in counts)


def load_answers(path: str | Path, benchmark: Benchmark, model: str = "") -> OfficialAnswers:
    """Read one model's answers and match them with the benchmark's items, by prompt.

    Args:
        path: a folder or ZIP of either layout, or a part of it.
        model: which model's, if there are several; else the name of the only one's row.

    Raises SettingsError: several models and none was named, or another one.
    """
    archive = Archive(path)
    runs = {
        name: parse_rows(archive.read(name), _RUN, name, remedy=FIX)
        for name in archive.names()
        if PurePosixPath(name).name == NEW
    }
    found, ignored = _find(archive, runs)
    chosen = _choose(found, model, path)
    folders = {PurePosixPath(p).parent for p in chosen["path"][chosen["layout"] == NEW]}
    given = OfficialAnswers(
        model=model or chosen["model"].iloc[0],
        layouts=tuple(sorted(set(chosen["layout"]))),
        digest=archive.digest(),
        settings={n: r.settings for n, r in runs.items() if PurePosixPath(n).parent in folders},
        ignored=ignored,
    )
    for file, paths in chosen.groupby("file")["path"]:
        parts = {p: parse_rows(archive.read(p), _ROWS, p, remedy=FIX) for p in paths}
        _fill(given, file, parts, benchmark[file])
    if not given.texts:
        raise SourceCorrupt(
            f"none of {given.total('rows')} rows in {path} meets a prompt of {benchmark.path}",
            remedy="give the benchmark they were made from",
        )
    return given


def _find(archive: Archive, runs: Mapping[str, RunFile]) -> tuple[pd.DataFrame, list[str]]:
    """Files of a known layout, of which there must be some: path, file of the benchmark, model,
    layout; and JSON files of none."""
    inside = archive.path.resolve()
    above = (inside if inside.is_dir() else inside.with_suffix("")).parts
    models = {PurePosixPath(p).parent: row_of(run.model) for p, run in runs.items()}
    found, ignored = [], []
    for path in (n for n in archive.names() if n.endswith(".json") and n not in runs):
        at = PurePosixPath(path)
        file, parts = _NAMES.get(at.stem.casefold()), (*above, *at.parts)
        if file and at.parent in models:
            found.append((path, file, models[at.parent], NEW))
        elif file and len(parts) > 3 and parts[-2].casefold() == file.split("/")[0]:
            found.append((path, file, parts[-3], OLD))
        else:
            ignored.append(path)
    if not found:
        raise SourceMissing(
            f"{archive.path} holds no answers of the trustllm package; found: "
            f"{', '.join(archive.names()[:4]) or 'nothing'}",
            remedy="expected generation_results/<model>/<section>/<file>.json, or run.json beside "
            "the files, with the names of the benchmark's files (safety/jailbreak.json ...)",
        )
    return pd.DataFrame(found, columns=["path", "file", "model", "layout"]), ignored


def row_of(model: str) -> str:
    """The model of a run.json as a row: the last part of a path, an id without its slash."""
    parts = [p for p in re.split(r"[/\\]", model.strip()) if p]
    is_path = len(parts) > 2 or re.match(r"[/\\.~]|[A-Za-z]:", model.strip())
    return re.sub(r"[^\w.@+-]+", "-", parts[-1] if parts and is_path else model.strip())


def _choose(found: pd.DataFrame, model: str, path: str | Path) -> pd.DataFrame:
    """The files of one model."""
    models = sorted(set(found["model"]))
    if len(models) == 1:
        return found
    if model not in models:
        which = f"none of them {model!r}" if model else "and none was chosen"
        raise SettingsError(
            f"{path} holds answers of {len(models)} models ({', '.join(models)}), {which}",
            remedy="name one with --model-name; each takes a run folder of its own",
        )
    return found[found["model"] == model]


def _fill(
    given: OfficialAnswers, file: str, parts: Mapping[str, list[Row]], questions: Sequence[Row]
) -> None:
    """Match the rows of all files that answer one benchmark file, and count what became of them."""
    places: dict[int, Place] = {}  # every row of a benchmark file is an item of one task
    for task in TASKS.values():
        if task.file == file and task.live and not task.answers_of:
            chosen = [i for i, question in enumerate(questions) if task.select(question)]
            places |= {row: (task.id, number) for number, row in enumerate(chosen)}
    rows = [(path, i, row) for path, part in parts.items() for i, row in enumerate(part)]
    prompts = {i: questions[i]["prompt"] for i in sorted(places)}
    matched = meet({at: row["prompt"] for at, (_, _, row) in enumerate(rows)}, prompts)
    known = set(prompts.values())
    given.files |= {path: RowCounts(file, len(part)) for path, part in parts.items()}
    for at, (path, number, row) in enumerate(rows):
        count = given.files[path]
        if at not in matched:
            (count.repeated if row["prompt"] in known else count.unmatched).append(number)
        elif "res" not in row:
            count.without_res += 1
        else:
            place, text, label = places[matched[at]], row["res"], row.get("eval_res")
            given.texts[place] = text
            count.answers += text is not None
            count.null += text is None
            count.empty += text is not None and not text.strip()
            if text is not None and TASKS[place[0]].judge == "refusal" and label in tuple(LABELS):
                given.labels[place] = LABELS[label]
                count.labels += 1
