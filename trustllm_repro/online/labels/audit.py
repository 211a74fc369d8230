"""The manual audit: a sheet of beginnings for two raters, and how far they and the judge agree.

The sheet holds text of a model, which may be harmful; it is written where the user asks for it and
nowhere else. Raters fill in the column `unsafe` with 1 or 0, each in a copy of their own: from
`smollm2-135m-harm.csv`, `smollm2-135m-harm.anna.csv` and `smollm2-135m-harm.ben.csv` are made.
"""

from __future__ import annotations

import csv
import glob
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trustllm_repro.errors import SchemaError, SourceMissing
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.labels.judges import JUDGES, agreement
from trustllm_repro.online.studies.pilot import length
from trustllm_repro.online.studies.study import Row, Study
from trustllm_repro.store.atomic import write_bytes

COLUMNS = ("row", "case", "tokens", "prompt", "beginning", "unsafe")
AT = (0.25, 0.5, 1.0)


def write_sheet(
    path: Path, cases: Sequence[Case], traces: Sequence[Trace], rows: int = 60, seed: int = 0
) -> Path:
    """Beginnings at a quarter, half and all of drawn answers, shuffled, labels blank.

    Raises:
        OutputError: the file cannot be written.
    """
    draw = np.random.default_rng(seed)
    some = [i for i, t in enumerate(traces) if len(t)]
    chosen = draw.permutation(some)[: -(-rows // len(AT))]
    places = [(int(i), length(traces[i], "share", q)) for i in chosen for q in AT]
    draw.shuffle(places)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for k, (i, n) in enumerate(places[:rows]):
        text = (cases[i].prompt, traces[i].prefix(n))
        writer.writerow([k, cases[i].number, n, *map(_plain, text), ""])
    return write_bytes(path, out.getvalue().encode("utf-8-sig", "surrogatepass"))


def audit(study: Study) -> list[Row]:
    """Write the blank sheet if there is none; kappa of the raters, and of each with the judge.

    No line where the user named no folder, or nobody has filled in a copy.

    Raises:
        SchemaError: a copy that is not filled in. OutputError: the sheet cannot be written.
    """
    if study.sheets is None:
        return []
    name = f"{study.answered.model}-{study.task.id}"
    blank = study.sheets / f"{name}.csv"
    traces = [s.trace for s in study.seen]
    if not blank.exists():
        write_sheet(blank, study.cases, traces)
    copies = sorted(study.sheets.glob(f"{glob.escape(name)}.*.csv"))
    sheets = {p.name[len(name) + 1 : -len(".csv")]: read_sheet(p) for p in copies}
    if not sheets:
        return []
    rows = {k: i for i, k in enumerate(c.number for c in study.cases)}
    asked = sorted({key for sheet in sheets.values() for key in sheet if key[0] in rows})
    chosen, judge = [rows[case] for case, _ in asked], JUDGES[study.task.prefixes_by]
    danger = judge.danger(
        [study.cases[i] for i in chosen],
        [traces[i].prefix(n) for i, (_, n) in zip(chosen, asked, strict=True)],
    )
    said = dict(zip(asked, judge.unsafe(danger).tolist(), strict=True))
    return compare_raters({**sheets, f"judge: {judge.name}": said})


def _plain(text: str) -> str:
    """A spreadsheet takes a cell that opens with one of these for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def read_sheet(path: Path) -> dict[tuple[int, int], bool]:
    """(case, tokens) -> unsafe, of one rater.

    Raises:
        SourceMissing: no file. SchemaError: a column is missing, or a label is neither 0 nor 1.
    """
    if not path.exists():
        raise SourceMissing(f"no sheet {path}", remedy="export one, and let a rater fill it in")
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    found = {}
    for i, row in enumerate(csv.DictReader(io.StringIO(text, newline=""))):
        if not {"case", "tokens", "unsafe"} <= set(row):
            raise SchemaError(path.name, i, "unsafe", f"the columns {', '.join(COLUMNS)} expected")
        if (row["unsafe"] or "").strip() not in ("0", "1"):
            raise SchemaError(path.name, i, "unsafe", "1 or 0 expected; fill in every row")
        try:
            key = int(row["case"]), int(row["tokens"])
        except (TypeError, ValueError) as e:
            raise SchemaError(path.name, i, "case", "the numbers of the export expected") from e
        found[key] = row["unsafe"].strip() == "1"
    return found


def compare_raters(
    sheets: Mapping[str, Mapping[tuple[int, int], bool]],
) -> list[dict[str, Any]]:
    """Agreement of every two raters (or a rater and a judge) over the rows both labelled."""
    names = list(sheets)
    found = []
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            both = sorted(set(sheets[one]) & set(sheets[two]))
            labels = [np.array([sheets[r][k] for k in both], dtype=bool) for r in (one, two)]
            found.append({"first": one, "second": two, **agreement(*labels)})
    return found
