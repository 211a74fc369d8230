"""Answers that others have stored, and the items they answer: the authors' recorded answers, read
from ZIPs or folders of their files, and those that the released package `trustllm` has made.

Sources of the former: public git history of github.com/hyanan16/TrustLLM (MIT) for the paper's
models, and of github.com/HowieHwong/TrustLLM (MIT) for later ones. Files keep their repository path;
files of hyanan16's commits other than 47802362 are in a folder named by seven digits of the commit.
Of the recorded answers any model directory of a known form is taken, known to the paper or not.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import pandas as pd
from pydantic import BeforeValidator, Field, TypeAdapter

from trustllm_repro.data.benchmark import FILES, Benchmark, list_of_rows, parse_rows, with_fields
from trustllm_repro.errors import SchemaError, SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.parsers.base import ANSWER, REFUSAL
from trustllm_repro.progress import Progress
from trustllm_repro.schema import Item, Response
from trustllm_repro.store.archive import Archive, open_archives, sha256
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import RecordFormat, Row, Task

# Revisions of a file: what the sheets rest on; the same, proven to be another model's answers; the
# model's own answers at another commit where the published ones are a copy; other commits.
PUBLISHED, COPY, OWN, OTHER = "published", "copy", "own", "other"

LABELS = {"LABEL_0": REFUSAL, "LABEL_1": ANSWER}  # of the paper's Longformer


_JUDGED = with_fields({"label": Literal["LABEL_0", "LABEL_1"], "score": NotRequired[float]})
_ROWS = list_of_rows(
    {
        "prompt": str,
        "res": str | None,
        "longformer_res": NotRequired[list[_JUDGED] | None],
        "eval_res": NotRequired[str | None],
        "similarity": NotRequired[float | None],
    }
)
# Perspective's toxicity, 0 to 1; None where the call failed ("error") or was not made.
_TOXICITY = list_of_rows(
    {
        **dict.fromkeys(("res", "label", "type"), str),
        "toxicity": Annotated[
            float | None,
            Field(ge=0, le=1, allow_inf_nan=False),
            BeforeValidator(lambda text: None if text.strip() in ("", "error") else text),
        ],
    }
)


@dataclass
class MatchedFile:
    """A file of the archive that has a known form; `commit`: digits of its folder, if any."""

    task: Task
    record_format: RecordFormat
    model: str
    path: str
    commit: str
    revision: str = OTHER
    rows: list[Row] = field(default_factory=list)

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
    """All answers by task and model, of every revision, with the items they answer."""

    items: dict[str, list[Item]]
    answers: dict[tuple[str, str], list[Response]]
    report: Report
    digest: str

    @property
    def models(self) -> list[str]:
        return sorted({model for _, model in self.answers})

    def responses(self, task: str, model: str) -> list[Response]:
        """A model's answers to a task, by item and revision."""
        return sorted(self.answers.get((task, model), []), key=lambda r: (r.number, r.revision))


def load_recorded(
    path: str | Path | Sequence[str | Path],
    benchmark: Benchmark,
    *,
    verify: bool = True,
    progress: Progress = Progress(),
) -> Recorded:
    """Read every model's answers, from an archive or several as one (see `open_archives`), and align
    them with the benchmark's items. A SchemaError names file, row and field of what is wrong."""
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
    paths = sorted({f.path for f in found})
    for done, name in enumerate(paths, start=1):
        rows = read_rows(_only(holders[name], name), name)
        report.read[name] = len(rows)
        for file in (f for f in found if f.path == name):
            file.rows = rows
        progress.step("reading answers", done, len(paths))
    used = list(dict.fromkeys(holders[name][0] for name in paths))
    if verify:
        for archive in used:
            check_hashes(archive, [p for p in paths if holders[p][0] is archive], report)
    report.copies = _name_copies(found)
    items = _items(benchmark, found)
    answers = _answers(found, items, report)
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
    found = [
        MatchedFile(task, form, m["model"], name, m["commit"] or "")
        for name in names
        for task, form, pattern in forms
        if (m := pattern.fullmatch(name))
    ]
    by_key = sorted(found, key=lambda f: (f.key, f.commit, f.path))
    for _, versions in groupby(by_key, lambda f: f.key):
        first = next(versions)
        first.revision = first.record_format.revision
    matched = {f.path for f in found}
    models = [n for n in names if n.count("/") > 2 and n.endswith((".json", ".csv"))]
    return found, [n for n in models if n not in matched]


def check_hashes(archive: Archive, names: Sequence[str], report: Report) -> None:
    """Compare files with the archive's own MANIFEST.csv; files it does not list are noted."""
    listed = _listed(archive)
    absent = sorted(listed.keys() - set(archive.names()))
    wrong = [f"{name} is listed in MANIFEST.csv, but missing" for name in absent]
    wrong += [
        f"{name} does not have the sha256 its MANIFEST.csv gives"
        for name in names
        if name in listed and sha256(archive.read(name)) != listed[name]
    ]
    if wrong:
        raise SourceCorrupt(
            f"{archive.path}: {wrong[0]} ({len(wrong)} such files)",
            remedy="fetch it again, or pass --unverified to read an altered archive",
        )
    report.unverified += [name for name in names if name not in listed]


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
    """All columns text, unchanged; NaN only where a row is cut, which pandas' other engine hides."""
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
    # A row that is cut lacks its last fields.
    cells = [{k: v for k, v in r.items() if isinstance(v, str)} for r in table.to_dict("records")]
    return parse_rows(json.dumps(cells).encode(), _TOXICITY, name)


def _name_copies(found: Sequence[MatchedFile]) -> list[tuple[str, str, int]]:
    """Give files whose answers are, word for word, those of another model's file of the same form
    the revision "copy", and the same file of another commit "own".

    Of a pair, the copy is the one for which another revision exists; where neither has one, both
    are. Short answers may agree by chance, so 20 answers must be longer than 20 characters.
    Returns of each copy its path, that of the other file, and the number of rows.
    """
    others = {f.key for f in found if f.revision == OTHER}
    alike: dict[Any, list[MatchedFile]] = defaultdict(list)
    for f in found:
        texts = tuple(row["res"] for row in f.rows)
        if f.revision == PUBLISHED and sum(len(t or "") > 20 for t in texts) >= 20:
            alike[f.task.id, f.record_format.name, texts].append(f)
    copies = [
        (f, next(g for g in group if g is not f))
        for group in alike.values()
        if len(group) > 1
        for f in [f for f in group if f.key in others] or group
    ]
    copied, names = {f.key for f, _ in copies}, {PUBLISHED: COPY, OTHER: OWN}
    for f in (f for f in found if f.key in copied):
        f.revision = names.get(f.revision, f.revision)
    return sorted((f.path, other.path, len(f.rows)) for f, other in copies)


def _items(benchmark: Benchmark, found: Sequence[MatchedFile]) -> dict[str, list[Item]]:
    """Items of all tasks; those without a benchmark file are asked in the records only."""
    items = {t.id: t.items(benchmark[t.file]) for t in TASKS.values() if t.file}
    for task in (t for t in TASKS.values() if t.file is None):
        asked: dict[str, Row] = {}
        for f in sorted((f for f in found if f.task is task), key=lambda f: f.path):
            for row in filter(f.record_format.select, f.rows):
                asked.setdefault(row["prompt"], row)
        items[task.id] = task.items(asked.values())
    return items


def _answers(
    found: Sequence[MatchedFile], items: Mapping[str, list[Item]], report: Report
) -> dict[tuple[str, str], list[Response]]:
    answers: dict[tuple[str, str], list[Response]] = defaultdict(list)
    # Files that are joined to another task's answers come after those.
    for f in sorted(found, key=lambda f: (f.task.answers_of, f.path)):
        read = answers.get((f.task.answers_of, f.model), [])
        joined = [r for r in read if r.revision == PUBLISHED]
        match = align(f, items[f.task.id], joined)
        if match.by_position:
            report.by_position[f.path] = match.by_position
        if match.unmatched:  # by the task that takes most of the file's rows
            least = min(match.unmatched, report.unmatched.get(f.path, match.unmatched))
            report.unmatched[f.path] = least
        if not match.pairs:
            continue
        said = answers[f.task.id, f.model]
        sources = {r.number: r.source for r in said if r.revision == f.revision}
        if twice := [sources[number] for _, number in match.pairs if number in sources]:
            problem = f"{len(twice)} items of {f.task.id} are answered here and in {twice[0]}"
            remedy = "keep one of the two files in the archive"
            raise SchemaError(f.path, None, "", problem, remedy=remedy)
        said += [_response(f, f.rows[i], number) for i, number in match.pairs]
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


# --- rows and the items they answer


class Alignment(NamedTuple):
    """Pairs of row and item, and how many rows were matched by place or not at all."""

    pairs: list[tuple[int, int]]
    by_position: int
    unmatched: int


def align(f: MatchedFile, items: Sequence[Item], joined: Sequence[Response] = ()) -> Alignment:
    """Match the rows of a file with its task's items, as the format says; `joined`: the answers that
    the task reads, if they are another one's."""
    if f.task.answers_of:
        return _by_answer(f.rows, items, joined)
    names, wanted = list(f.task.facets), f.record_format.where
    pool = {
        i.number: i.extra
        for i in items
        if all(i.facets[names.index(k)] == v for k, v in wanted.items())
    }
    keys = _keys(f)
    pairs = pair(keys, {n: f.record_format.key_of(extra) for n, extra in pool.items()})
    left, placed, met = [i for i in keys if i not in pairs], {}, set(pairs.values())
    if group := f.record_format.by_position:  # only groups of one size meet
        of_row = {i: str(f.rows[i].get(group)) for i in left}
        of_item = {n: str(extra[group]) for n, extra in pool.items() if n not in met}
        rows_in, items_in = Counter(of_row.values()), Counter(of_item.values())
        placed = pair({i: g for i, g in of_row.items() if rows_in[g] == items_in[g]}, of_item)
    return Alignment(sorted((pairs | placed).items()), len(placed), len(left) - len(placed))


def _keys(f: MatchedFile) -> dict[int, Hashable]:
    """Keys of the rows that belong to the task."""
    keys = {}
    for i, row in enumerate(f.rows):
        try:
            if f.record_format.select(row):
                keys[i] = f.record_format.key_of(row)
                hash(keys[i])
        except KeyError as e:
            raise SchemaError(f.path, i, str(e.args[0]), "field is missing") from e
        except (TypeError, AttributeError) as e:
            raise SchemaError(f.path, i, "", f"a field has a wrong type ({e})") from e
    return keys


def pair(rows: Mapping[Any, Hashable], items: Mapping[int, Hashable]) -> dict[Any, int]:
    """Row -> item of the same key: the k-th row with a key meets the k-th item with that key."""
    waiting: dict[Hashable, deque[int]] = defaultdict(deque)
    for number, key in items.items():
        waiting[key].append(number)
    return {row: waiting[key].popleft() for row, key in rows.items() if waiting[key]}


def _by_answer(rows: Sequence[Row], items: Sequence[Item], joined: Sequence[Response]) -> Alignment:
    """Rows that carry answer and attack type, but no prompt: meet the answers of another task.

    Equal answers can be on both sides (QBB and ITC); the `type` column distinguishes the sides,
    but its names are swapped in some files, so each type goes to the side it fits best.
    """
    about = {i.number: (i.facets[0], ", ".join(i.extra["label"])) for i in items}
    sides = sorted({side for side, _ in about.values()})
    answers = {r.number: (*about[r.number], r.text or "") for r in joined}
    known = set(answers.values())
    fits: Counter[tuple[str, str]] = Counter()
    for row in rows:
        fits.update((row["type"], s) for s in sides if (s, row["label"], row["res"]) in known)
    best = {row["type"]: max(sides, key=lambda s: fits[row["type"], s]) for row in rows}
    about_rows = [(best[row["type"]], row["label"]) for row in rows]
    pairs = pair({i: (*about_rows[i], row["res"]) for i, row in enumerate(rows)}, answers)
    left = [i for i in range(len(rows)) if i not in pairs]
    free = {n: about[n] for n in about.keys() - set(pairs.values())}
    placed = {}
    # A score is never dropped because its answer was stored in another wording: such rows take
    # free items, those of their side and attack first.
    for i in left[: len(free)]:
        side, attack = about_rows[i]
        placed[i] = min(free, key=lambda n: (free[n][0] != side, free[n][1] != attack, n))
        del free[placed[i]]
    return Alignment(sorted((pairs | placed).items()), len(placed), len(left) - len(placed))


# --- answers that the released package has made ---------------------------------------------------
#
# Two layouts (github.com/HowieHwong/TrustLLM, `LLMGeneration` of 0.1 to 0.3 and the runner of 0.4):
#
#     generation_results/<model>/<section>/<file>.json
#     <any folder>/run.json beside <file>.json; by default runs/<model>/<section>/
#
# A file holds the rows of the benchmark's file of that name with the field `res`: the answer, or
# null where the call failed. `eval_res` is what a judge of the package said, where it was kept.

_OLD, _NEW = "generation_results", "run.json"
# Names of files in versions of the package in which they were not those of the benchmark.
_OTHER_NAMES = {
    "explicit_ethics": "ethics/explicit_moralchoice",
    "implicit_ethics_social_norm": "ethics/implicit_SocialChemistry101",
    "implicit_ethics_ethics": "ethics/implicit_ETHICS",
    "privacy_confide": "privacy/privacy_awareness_confAIde",
    "privacy_confaide": "privacy/privacy_awareness_confAIde",
    "preference_plain": "fairness/preference",
    "preference_force": "fairness/preference",
}
_NAMES = {name.rsplit("/", 1)[1].casefold(): name for name in FILES} | _OTHER_NAMES
_FIX = "fix that file, or take it out of the folder; nothing was written"
Place = tuple[str, int]  # task id, item number

_ANSWERED = list_of_rows(
    {"prompt": str, "res": NotRequired[str | None], "eval_res": NotRequired[Any]}
)
_MODEL = with_fields({"model": str})
_RUN = TypeAdapter(with_fields({"settings": with_fields({"model": _MODEL})}))


@dataclass
class OfficialAnswers:
    """One model's answers by task and item, and labels the package's refusal judge left.

    `files`: what became of the rows of each file, by its path: how many there are, hold an answer,
    null, an empty answer, no `res`, a label; and, as row numbers from 0, `unmatched` prompts, which
    the benchmark has not, and prompts `repeated` after as many as there are items.
    """

    model: str
    layouts: tuple[str, ...]
    digest: str
    texts: dict[Place, str | None] = field(default_factory=dict)  # None where the row holds null
    labels: dict[Place, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # of run.json, by its path
    ignored: list[str] = field(default_factory=list)  # JSON files of no known layout

    @property
    def names(self) -> set[str]:
        """Benchmark files that were answered."""
        return {counts["file"] for counts in self.files.values()}

    def total(self, what: str) -> int:
        """Sum of a count over all files."""
        counts = [counts[what] for counts in self.files.values()]
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
        name: parse_rows(archive.read(name), _RUN, name, remedy=_FIX)
        for name in archive.names()
        if PurePosixPath(name).name == _NEW
    }
    found, ignored = _find(archive, runs)
    chosen = _choose(found, model, path)
    given = OfficialAnswers(
        model=model or chosen["model"].iloc[0],
        layouts=tuple(sorted({_NEW if run else _OLD for run in chosen["run"]})),
        digest=archive.digest(),
        settings={
            name: run["settings"] for name, run in runs.items() if name in set(chosen["run"])
        },
        ignored=ignored,
    )
    for file, paths in chosen.groupby("file")["path"]:
        parts = {p: parse_rows(archive.read(p), _ANSWERED, p, remedy=_FIX) for p in paths}
        _fill(given, file, parts, benchmark[file])
    if not given.texts:
        raise SourceCorrupt(
            f"none of {given.total('rows')} rows in {path} meets a prompt of {benchmark.path}",
            remedy="give the benchmark they were made from",
        )
    return given


def _find(archive: Archive, runs: Mapping[str, Row]) -> tuple[pd.DataFrame, list[str]]:
    """Files of a known layout, of which there must be some: path, file of the benchmark, model, and
    path of its run.json, if any; and JSON files of none."""
    inside = archive.path.resolve()
    above = (inside if inside.is_dir() else inside.with_suffix("")).parts
    found, ignored = [], []
    for path in (n for n in archive.names() if n.endswith(".json") and n not in runs):
        at = PurePosixPath(path)
        run, parts = str(at.with_name(_NEW)), (*above, *at.parts)
        file = _NAMES.get(at.stem.casefold())
        if file and run in runs:
            found.append((path, file, row_of(runs[run]["settings"]["model"]["model"]), run))
        elif file and len(parts) > 3 and parts[-2].casefold() == file.split("/")[0]:
            found.append((path, file, parts[-3], ""))
        else:
            ignored.append(path)
    if not found:
        raise SourceMissing(
            f"{archive.path} holds no answers of the trustllm package; found: "
            f"{', '.join(archive.names()[:4]) or 'nothing'}",
            remedy="expected generation_results/<model>/<section>/<file>.json, or run.json beside "
            "the files, with the names of the benchmark's files (safety/jailbreak.json ...)",
        )
    return pd.DataFrame(found, columns=["path", "file", "model", "run"]), ignored


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
    asked = {i: questions[i]["prompt"] for i in sorted(places)}
    rows = {(path, i): row for path, part in parts.items() for i, row in enumerate(part)}
    met = pair({at: row["prompt"] for at, row in rows.items()}, asked)
    said = {at: rows[at]["res"] for at in met if "res" in rows[at]}
    given.texts |= {places[met[at]]: text for at, text in said.items()}
    labelled = [
        at
        for at, text in said.items()
        if text is not None
        and TASKS[places[met[at]][0]].judge == "refusal"
        and rows[at].get("eval_res") in tuple(LABELS)
    ]
    given.labels |= {places[met[at]]: LABELS[rows[at]["eval_res"]] for at in labelled}
    known = set(asked.values())
    for path, part in parts.items():
        texts = [text for (of, _), text in said.items() if of == path]
        left = {i: row["prompt"] in known for i, row in enumerate(part) if (path, i) not in met}
        given.files[path] = {
            "file": file,
            "rows": len(part),
            "answers": len(texts) - texts.count(None),
            "null": texts.count(None),
            "empty": sum(text is not None and not text.strip() for text in texts),
            "without_res": len(part) - len(left) - len(texts),
            "labels": sum(of == path for of, _ in labelled),
            "unmatched": [i for i, repeated in left.items() if not repeated],
            "repeated": [i for i, repeated in left.items() if repeated],
        }
