"""Recorded answers, read from ZIPs or folders of the authors' files.

Sources: public git history of github.com/hyanan16/TrustLLM (MIT) for the paper's models, and of
github.com/HowieHwong/TrustLLM (MIT) for later ones. Files keep their repository path; files of
hyanan16's commits other than 47802362 stand in a folder named by seven digits of the commit.
Any model directory of a known form is taken, whether or not the paper knows the model.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NotRequired

import pandas as pd
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from trustllm_repro.data.align import align
from trustllm_repro.data.benchmark import Benchmark
from trustllm_repro.data.validate import parse_rows
from trustllm_repro.errors import SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.schema import Item, Response
from trustllm_repro.store.archive import Archive, open_archives, sha256
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import RecordFormat, Row, Task

# Revisions of a file: what the sheets rest on; the same, proven to be another model's answers; the
# model's own answers at another commit where the published ones are a copy; other commits.
PUBLISHED, COPY, OWN, OTHER = "published", "copy", "own", "other"

LABELS = {"LABEL_0": REFUSAL, "LABEL_1": ANSWER}  # of the paper's Longformer


class JudgeLabel(TypedDict):
    label: Literal["LABEL_0", "LABEL_1"]
    score: NotRequired[float]


class RecordRow(TypedDict):
    """One stored answer; further fields are kept as they are."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    prompt: str
    res: str | None
    longformer_res: NotRequired[list[JudgeLabel] | None]
    eval_res: NotRequired[str | None]
    similarity: NotRequired[float | None]


_ROWS: TypeAdapter[list[Any]] = TypeAdapter(list[RecordRow])


@dataclass(frozen=True)
class MatchedFile:
    """A file of the archive that has a known form."""

    task: Task
    record_format: RecordFormat
    model: str
    path: str
    revision: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What the same file of several commits has in common."""
        return self.task.id, self.record_format.name, self.model


@dataclass
class Report:
    """What the importer met, for the audit. Paths are those inside the archive."""

    read: dict[str, int] = field(default_factory=dict)  # path -> rows
    ignored: list[str] = field(default_factory=list)  # model files of no known form
    by_position: dict[str, int] = field(default_factory=dict)  # path -> rows matched by place
    unmatched: dict[str, int] = field(default_factory=dict)  # path -> rows that meet no item
    copies: list[tuple[str, str, int]] = field(default_factory=list)  # path, same answers as, n
    unverified: list[str] = field(default_factory=list)  # paths without a known sha256


@dataclass
class Recorded:
    """All answers by (task id, model) and revision, with the items they answer."""

    items: dict[str, list[Item]]
    answers: dict[tuple[str, str], dict[str, list[Response]]]
    report: Report
    digest: str

    @property
    def models(self) -> list[str]:
        return sorted({model for _, model in self.answers})

    def responses(self, task: str, model: str) -> list[Response]:
        """All answers of a model to a task, of all revisions, by item."""
        revisions = self.answers.get((task, model), {})
        return sorted(
            (r for e in revisions.values() for r in e), key=lambda r: (r.number, r.revision)
        )


def load_recorded(
    path: str | Path | Sequence[str | Path],
    benchmark: Benchmark,
    *,
    verify: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recorded:
    """Read every model's answers and align them with the benchmark's items.

    Args:
        path: an archive or several, which are read as one; see `open_archives`.

    Raises:
        SourceMissing, SourceCorrupt: the archive or a member cannot be read.
        SchemaError: a row lacks a field or has a wrong type; names file, row and field.
    """
    archives, report = open_archives(path), Report()
    holders: dict[str, list[Archive]] = defaultdict(list)
    for archive in archives:
        for name in archive.names():
            holders[name].append(archive)
    found, report.ignored = find_files(sorted(holders))
    if not found:
        raise SourceMissing(
            f"{', '.join(str(a.path) for a in archives)} holds no model directory of a known form",
            remedy="expected paths like results/safety/jailbreak/<model>/jailbreak_QBB.json; "
            "see data/manifests/recorded.csv",
        )
    rows: dict[str, list[Row]] = {}
    paths = sorted({f.path for f in found})
    for done, name in enumerate(paths):
        rows[name] = read_rows(_only(holders[name], name), name)
        progress(done + 1, len(paths))
    report.read = {name: len(rows[name]) for name in paths}
    used = list(dict.fromkeys(holders[name][0] for name in paths))
    if verify:
        for archive in used:
            check_hashes(archive, [p for p in paths if holders[p][0] is archive], report)
    report.copies = copied_files(found, rows)
    items = _items(benchmark, found, rows)
    answers = _answers(_name_copies(found, report), rows, items, report)
    digests = sorted(a.digest() for a in used)
    digest = digests[0] if len(digests) == 1 else sha256("".join(digests).encode())
    return Recorded(items, answers, report, digest)


def _only(holders: Sequence[Archive], name: str) -> bytes:
    """A file, which is the same in all archives that hold it."""
    first, *others = (a.read(name) for a in holders)
    if any(data != first for data in others):
        both = " and in ".join(str(a.path) for a in holders)
        raise SourceCorrupt(f"{name} differs in {both}", remedy="give only one of them")
    return first


def find_files(names: Sequence[str]) -> tuple[list[MatchedFile], list[str]]:
    """Files of known form, and JSON or CSV files of none (aggregate tables are not model files).

    A file outside commit folders is the published one; else the first folder's is.
    """
    forms = [(t, f, f.pattern()) for t in TASKS.values() for f in t.records]
    hits = [
        (m["commit"] or "", MatchedFile(task, form, m["model"], name, OTHER))
        for name in names
        for task, form, pattern in forms
        if (m := pattern.fullmatch(name))
    ]
    first: dict[Any, MatchedFile] = {}
    for _, f in sorted(hits, key=lambda hit: (hit[0], hit[1].path)):
        first.setdefault(f.key, f)
    found = [
        replace(f, revision=f.record_format.revision) if first[f.key] is f else f for _, f in hits
    ]
    matched = {f.path for f in found}
    models = [n for n in names if n.count("/") > 2 and n.endswith((".json", ".csv"))]
    return found, [n for n in models if n not in matched]


def check_hashes(archive: Archive, names: Sequence[str], report: Report) -> None:
    """Compare files with the archive's own MANIFEST.csv; files it does not list are noted.

    Raises:
        SourceCorrupt: a file's sha256 is not the one its manifest gives, or there is no such file.
    """
    listed = _listed(archive)
    remedy = "fetch it again, or pass --unverified to read an altered archive"
    absent = sorted(listed.keys() - set(archive.names()))
    if absent:
        raise SourceCorrupt(
            f"{archive.path}: {absent[0]} stands in MANIFEST.csv, but is not there "
            f"({len(absent)} such files)",
            remedy=remedy,
        )
    for name in names:
        if name not in listed:
            report.unverified.append(name)
        elif sha256(archive.read(name)) != listed[name]:
            raise SourceCorrupt(
                f"{archive.path}: {name} does not have the sha256 its MANIFEST.csv gives",
                remedy=remedy,
            )


def _listed(archive: Archive) -> dict[str, str]:
    """Path -> sha256 as the archive's own MANIFEST.csv says; empty if it has none."""
    listed: dict[str, str] = {}
    for name in (n for n in archive.names() if n.rsplit("/", 1)[-1] == "MANIFEST.csv"):
        try:
            table = _read_csv(archive.read(name))[["path", "sha256"]]
        except (ValueError, KeyError) as e:
            raise SourceCorrupt(
                f"{archive.path}: {name} is not a CSV with the columns path and sha256 ({e!r})",
                remedy="fetch the archive again, or pass --unverified to read it unchecked",
            ) from e
        folder = name.removesuffix("MANIFEST.csv")
        listed |= {folder + path: digest for path, digest in table.itertuples(index=False)}
    return listed


def _read_csv(data: bytes) -> pd.DataFrame:
    """All text as it stands; NaN only where a row is cut, which pandas' other engine hides."""
    return pd.read_csv(
        io.BytesIO(data), dtype=object, keep_default_na=False, encoding="utf-8-sig", engine="python"
    )


def read_rows(data: bytes, name: str) -> list[Row]:
    """Validated rows of one stored file, JSON or CSV."""
    if not name.endswith(".csv"):
        return parse_rows(data, _ROWS, name)
    try:
        table = _read_csv(data)
    except ValueError as e:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise SourceCorrupt(f"{name} is not a UTF-8 CSV: {e}", remedy="fetch it again") from e
    rows: list[Row] = table.to_dict("records")
    for i, row in enumerate(rows):
        for column in ("res", "label", "type", "toxicity"):
            if not isinstance(row.get(column), str):
                raise SchemaError(name, i, column, "column is missing or the row is cut")
        row["toxicity"] = _share(row["toxicity"], name, i)
    return rows


def _share(text: str, name: str, row: int) -> float | None:
    """Perspective toxicity, 0 to 1; None where the call failed ("error") or was not made."""
    if text.strip() in ("", "error"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise SchemaError(
            name, row, "toxicity", f"a number from 0 to 1 or 'error' expected, not {text!r}"
        )
    return value


def copied_files(
    found: Sequence[MatchedFile], rows: Mapping[str, list[Row]], at_least: int = 20
) -> list[tuple[str, str, int]]:
    """Files whose answers are, word for word, those of another model's file of the same form.

    Of such a pair, the one for which another revision exists is called the copy; where neither
    has one, both are listed. Short answers may agree by chance, so `at_least` answers must be
    longer than 20 characters.
    """
    groups: dict[Any, list[MatchedFile]] = defaultdict(list)
    others = {f.key for f in found if f.revision == OTHER}
    for f in found:
        texts = tuple(row["res"] for row in rows[f.path])
        if f.revision == PUBLISHED and sum(len(t or "") > 20 for t in texts) >= at_least:
            groups[f.task.id, f.record_format.name, texts].append(f)
    copies = []
    for group in (g for g in groups.values() if len(g) > 1):
        for f in [f for f in group if f.key in others] or group:
            source = next(g for g in group if g is not f)
            copies.append((f.path, source.path, len(rows[f.path])))
    return sorted(copies)


def _name_copies(found: Sequence[MatchedFile], report: Report) -> list[MatchedFile]:
    """Call a copied file "copy" and the same file of another commit "own"."""
    paths = {path for path, *_ in report.copies}
    copied = {f.key for f in found if f.path in paths}
    names = {PUBLISHED: COPY, OTHER: OWN}
    return [
        replace(f, revision=names.get(f.revision, f.revision)) if f.key in copied else f
        for f in found
    ]


def _items(
    benchmark: Benchmark, found: Sequence[MatchedFile], rows: Mapping[str, list[Row]]
) -> dict[str, list[Item]]:
    """Items of all tasks; those without a benchmark file are asked in the records only."""
    items = {t.id: t.items(benchmark[t.file]) for t in TASKS.values() if t.file}
    for task in (t for t in TASKS.values() if t.file is None):
        asked: dict[str, Row] = {}
        for f in sorted((f for f in found if f.task is task), key=lambda f: f.path):
            for row in filter(f.record_format.select, rows[f.path]):
                asked.setdefault(row["prompt"], row)
        items[task.id] = [task.item(i, row) for i, row in enumerate(asked.values())]
    return items


def _answers(
    found: Sequence[MatchedFile],
    rows: Mapping[str, list[Row]],
    items: Mapping[str, list[Item]],
    report: Report,
) -> dict[tuple[str, str], dict[str, list[Response]]]:
    answers: dict[tuple[str, str], dict[str, list[Response]]] = defaultdict(dict)
    # Files that are joined to another task's answers come after those.
    for f in sorted(found, key=lambda f: (f.record_format.joins is not None, f.path)):
        here = rows[f.path]
        joined = answers.get((f.record_format.joins or "", f.model), {}).get(PUBLISHED, [])
        match = align(f.record_format, f.task, here, items[f.task.id], joined, f.path)
        if match.by_position:
            report.by_position[f.path] = match.by_position
        if match.unmatched:
            report.unmatched[f.path] = min(match.unmatched, report.unmatched.get(f.path, len(here)))
        if not match.pairs:
            continue
        new = [_response(f, here[i], number) for i, number in match.pairs]
        old = answers[f.task.id, f.model].setdefault(f.revision, [])
        if twice := {r.number for r in old} & {r.number for r in new}:
            raise SchemaError(
                f.path,
                None,
                "",
                f"{len(twice)} items of {f.task.id} are answered here and in {old[0].source}",
                remedy="keep one of the two files in the archive",
            )
        old.extend(new)
    return dict(answers)


def _response(f: MatchedFile, row: Row, number: int) -> Response:
    judge = row.get("longformer_res")
    label = judge[0]["label"] if judge else row.get("eval_res")
    return Response(
        task=f.task.id,
        model=f.model,
        number=number,
        text=row["res"],
        prompt=row.get("prompt", ""),
        judge=LABELS.get(label or ""),
        number_recorded=row.get(f.record_format.scores) if f.record_format.scores else None,
        record_format=f.record_format.name,
        revision=f.revision,
        source=f.path,
    )
