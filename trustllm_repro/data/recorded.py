"""Recorded answers, read from ZIPs or folders of the authors' files.

Sources: public git history of github.com/hyanan16/TrustLLM (MIT) for the paper's models, and of
github.com/HowieHwong/TrustLLM (MIT) for later ones. Files keep their repository path; files of
hyanan16's commits other than 47802362 stand in a folder named by seven digits of the commit.
Any model directory of a known form is taken, whether or not the paper knows the model.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from trustllm_repro.data.align import Alignment, align
from trustllm_repro.data.benchmark import Benchmark
from trustllm_repro.data.validate import parse_rows
from trustllm_repro.errors import SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.parsers.recorded import ANSWER, REFUSAL
from trustllm_repro.schema import Item, Response
from trustllm_repro.store.archive import Archive, open_archives, sha256
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import RecordForm, Row, Task

Progress = Callable[[int, int], None]
# Editions of a file: what the sheets rest on; the same, proven to be another model's answers; the
# model's own answers at another commit where the published ones are a copy; other commits.
PUBLISHED, COPY, OWN, OTHER = "published", "copy", "own", "other"


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
class Found:
    """A file of the archive that has a known form."""

    task: Task
    form: RecordForm
    model: str
    path: str
    edition: str


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
    """All answers by (task id, model) and edition, with the items they answer."""

    items: dict[str, list[Item]]
    answers: dict[tuple[str, str], dict[str, list[Response]]]
    report: Report
    digest: str

    @property
    def models(self) -> list[str]:
        return sorted({model for _, model in self.answers})

    def responses(self, task: str, model: str) -> list[Response]:
        """All answers of a model to a task, of all editions, by item."""
        editions = self.answers.get((task, model), {})
        return sorted(
            (r for e in editions.values() for r in e), key=lambda r: (r.number, r.edition)
        )


def find_files(names: Sequence[str]) -> tuple[list[Found], list[str]]:
    """Files of known form, and JSON or CSV files of none (aggregate tables are not model files)."""
    forms = [(t, f, f.pattern()) for t in TASKS.values() for f in t.records]
    hits: list[tuple[Task, RecordForm, str, str | None, str]] = []
    matched = set()
    for name in names:
        for task, form, pattern in forms:
            m = pattern.fullmatch(name)
            if m:
                matched.add(name)
                hits.append((task, form, m["model"], m["commit"], name))
    return list(_with_editions(hits)), [
        n for n in names if n not in matched and n.count("/") > 2 and n.endswith((".json", ".csv"))
    ]


def _with_editions(
    hits: Sequence[tuple[Task, RecordForm, str, str | None, str]],
) -> Iterator[Found]:
    """A file outside commit folders is the published one; else the first folder's is."""
    groups: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for hit in hits:
        groups[hit[0].id, hit[1].name, hit[2]].append(hit)
    for group in groups.values():
        group.sort(key=lambda h: (h[3] is not None, h[3] or "", h[4]))
        for i, (task, form, model, _, name) in enumerate(group):
            edition = form.edition if i == 0 else OTHER
            yield Found(task, form, model, name, edition)


def _listed(archive: Archive) -> dict[str, str]:
    """Path -> sha256 as the archive's own MANIFEST.csv says; empty if it has none.

    Raises:
        SourceCorrupt: the manifest is not a CSV with the columns path and sha256.
    """
    listed: dict[str, str] = {}
    for name in (n for n in archive.names() if n.rsplit("/", 1)[-1] == "MANIFEST.csv"):
        try:
            text = archive.read(name).decode("utf-8-sig")
            for row in csv.DictReader(io.StringIO(text, newline="")):
                listed[name[: -len("MANIFEST.csv")] + row["path"]] = row["sha256"]
        except (UnicodeDecodeError, csv.Error, KeyError, TypeError) as e:
            raise SourceCorrupt(
                f"{archive.path}: {name} is not a CSV with the columns path and sha256 ({e!r})",
                remedy="fetch the archive again, or pass --unverified to read it unchecked",
            ) from e
    return listed


def check_hashes(archive: Archive, names: Sequence[str], report: Report) -> None:
    """Compare files with the archive's own MANIFEST.csv; files it does not list are noted.

    Raises:
        SourceCorrupt: a file's sha256 is not the one its manifest gives, or there is no such file.
    """
    listed, remedy = (
        _listed(archive),
        "fetch it again, or pass --unverified to read an altered archive",
    )
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


def load_recorded(
    path: str | Path | Sequence[str | Path],
    benchmark: Benchmark,
    *,
    verify: bool = True,
    progress: Progress = lambda done, total: None,
) -> Recorded:
    """Read every model's answers and align them with the benchmark's items.

    Args:
        path: an archive or several, which are read as one; see `open_archives`.

    Raises:
        SourceMissing, SourceCorrupt: the archive or a member cannot be read.
        SchemaError: a row lacks a field or has a wrong type; names file, row and field.
    """
    held, report = _members(open_archives(path)), Report()
    found, report.ignored = find_files(sorted(held))
    if not found:
        raise SourceMissing(
            f"{_shown(path)} holds no model directory of a known form",
            remedy="expected paths like results/safety/jailbreak/<model>/jailbreak_QBB.json; "
            "see data/manifests/recorded.csv",
        )
    paths = sorted({f.path for f in found})
    used = _holders(held, paths)
    rows: dict[str, list[Row]] = {}
    for done, name in enumerate(paths):
        rows[name] = read_rows(held[name][0].read(name), name)
        report.read[name] = len(rows[name])
        progress(done + 1, len(paths))
    if verify:
        for archive in used:
            check_hashes(archive, [p for p in paths if held[p][0] is archive], report)
    report.copies = copied_files(found, rows)
    items = _items(benchmark, found, rows)
    answers = _answers(_name_copies(found, report), rows, items, report)
    return Recorded(items, answers, report, _digest(used))


def _shown(path: str | Path | Sequence[str | Path]) -> str:
    return str(path) if isinstance(path, str | Path) else ", ".join(map(str, path))


def _members(archives: Sequence[Archive]) -> dict[str, list[Archive]]:
    """Path -> the archives that hold it."""
    held: dict[str, list[Archive]] = defaultdict(list)
    for archive in archives:
        for name in archive.names():
            held[name].append(archive)
    return held


def _holders(held: Mapping[str, list[Archive]], paths: Sequence[str]) -> list[Archive]:
    """The archives the files are read from: the first that holds them.

    Raises:
        SourceCorrupt: two of them hold different files of the same path.
    """
    for name in (p for p in paths if len(held[p]) > 1):
        if len({sha256(a.read(name)) for a in held[name]}) > 1:
            both = " and in ".join(str(a.path) for a in held[name])
            raise SourceCorrupt(f"{name} differs in {both}", remedy="give only one of them")
    return list(dict.fromkeys(held[p][0] for p in paths))


def _digest(archives: Sequence[Archive]) -> str:
    """sha256 of an archive; of several, of their sorted sha256."""
    digests = sorted(a.digest() for a in archives)
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode())


def read_rows(data: bytes, name: str) -> list[Row]:
    """Validated rows of one stored file, JSON or CSV."""
    if not name.endswith(".csv"):
        return parse_rows(data, _ROWS, name)
    csv.field_size_limit(10_000_000)
    try:
        rows: list[Row] = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as e:
        raise SourceCorrupt(f"{name} is not a UTF-8 CSV: {e}", remedy="fetch it again") from e
    for i, row in enumerate(rows):
        for column in ("res", "label", "type", "toxicity"):
            if row.get(column) is None:
                raise SchemaError(name, i, column, "column is missing or the row is cut")
        score(row["toxicity"], name, i)
    return rows


def score(text: str, name: str, row: int) -> float | None:
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


def _items(
    benchmark: Benchmark, found: Sequence[Found], rows: Mapping[str, list[Row]]
) -> dict[str, list[Item]]:
    items = {t.id: t.items(benchmark[t.file]) for t in TASKS.values() if t.file}
    for task in (t for t in TASKS.values() if t.file is None):
        seen: dict[str, Row] = {}
        for f in sorted((f for f in found if f.task is task), key=lambda f: f.path):
            select = f.form.select or (lambda row: True)
            for row in filter(select, rows[f.path]):
                seen.setdefault(row["prompt"], row)
        items[task.id] = [task.item(i, row) for i, row in enumerate(seen.values())]
    return items


def _answers(
    found: Sequence[Found],
    rows: Mapping[str, list[Row]],
    items: Mapping[str, list[Item]],
    report: Report,
) -> dict[tuple[str, str], dict[str, list[Response]]]:
    answers: dict[tuple[str, str], dict[str, list[Response]]] = defaultdict(dict)
    # Files that are joined to another task's answers come after those.
    for f in sorted(found, key=lambda f: (f.form.joins is not None, f.path)):
        _check_keys(f, rows[f.path])
        joined = answers.get((f.form.joins or "", f.model), {}).get(PUBLISHED, [])
        match = align(f.form, f.task, rows[f.path], items[f.task.id], joined)
        _note(report, f.path, match, len(rows[f.path]))
        if not match.pairs:
            continue
        new = [_response(f, rows[f.path][i], number) for i, number in match.pairs]
        old = answers[f.task.id, f.model].setdefault(f.edition, [])
        twice = {r.number for r in old} & {r.number for r in new}
        if twice:
            raise SchemaError(
                f.path,
                None,
                "",
                f"{len(twice)} items of {f.task.id} are answered here and in {old[0].source}",
                remedy="keep one of the two files in the archive",
            )
        old.extend(new)
    return dict(answers)


def _name_copies(found: Sequence[Found], report: Report) -> list[Found]:
    """Call a copied file "copy" and the same file of another commit "own"."""
    paths = {path for path, *_ in report.copies}
    copied = {(f.task.id, f.form.name, f.model) for f in found if f.path in paths}

    def edition(f: Found) -> str:
        if (f.task.id, f.form.name, f.model) not in copied:
            return f.edition
        return {PUBLISHED: COPY, OTHER: OWN}.get(f.edition, f.edition)

    return [replace(f, edition=edition(f)) for f in found]


def _check_keys(f: Found, rows: Sequence[Row]) -> None:
    """Every row must have the fields it is chosen and matched by.

    Raises:
        SchemaError: names file, row and field.
    """
    if f.form.joins:
        return  # columns of CSV files are checked when they are read
    for i, row in enumerate(rows):
        try:
            hash(f.form.key(row))
            if f.form.select:
                f.form.select(row)
        except KeyError as e:
            raise SchemaError(f.path, i, str(e.args[0]), "field is missing") from e
        except (TypeError, AttributeError) as e:
            raise SchemaError(f.path, i, "", f"a field has a wrong type ({e})") from e


def _note(report: Report, path: str, match: Alignment, n: int) -> None:
    if match.by_position:
        report.by_position[path] = match.by_position
    if match.unmatched:
        report.unmatched[path] = min(match.unmatched, report.unmatched.get(path, n))


def _response(f: Found, row: Row, number: int) -> Response:
    judge = row.get("longformer_res")
    label = judge[0]["label"] if judge else row.get("eval_res")
    recorded = row.get(f.form.scores) if f.form.scores else None
    if isinstance(recorded, str):
        recorded = score(recorded, f.path, -1)
    return Response(
        task=f.task.id,
        model=f.model,
        number=number,
        text=row["res"],
        prompt=row.get("prompt", ""),
        judge={"LABEL_0": REFUSAL, "LABEL_1": ANSWER}.get(label) if label else None,
        number_recorded=recorded,
        form=f.form.name,
        edition=f.edition,
        source=f.path,
    )


def copied_files(
    found: Sequence[Found], rows: Mapping[str, list[Row]], at_least: int = 20
) -> list[tuple[str, str, int]]:
    """Files whose answers are, word for word, those of another model's file of the same form.

    Of such a pair, the one for which another edition exists is called the copy; where neither
    has one, both are listed. Short answers may agree by chance, so `at_least` answers must be
    longer than 20 characters.
    """
    groups: dict[Any, list[Found]] = defaultdict(list)
    others = {(f.task.id, f.form.name, f.model) for f in found if f.edition == OTHER}
    for f in found:
        texts = tuple(row["res"] for row in rows[f.path])
        if f.edition == PUBLISHED and sum(len(t or "") > 20 for t in texts) >= at_least:
            groups[f.task.id, f.form.name, texts].append(f)
    copies = []
    for group in (g for g in groups.values() if len(g) > 1):
        has_other = [f for f in group if (f.task.id, f.form.name, f.model) in others]
        for f in has_other or group:
            source = next(g for g in group if g is not f)
            copies.append((f.path, source.path, len(rows[f.path])))
    return sorted(copies)
