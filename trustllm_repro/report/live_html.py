"""Tables of live models for notebooks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment

from trustllm_repro.analysis.live import LiveRun, field_of
from trustllm_repro.scoring.tables import number
from trustllm_repro.tasks import COLUMNS

_ENV = Environment(autoescape=True)
_BETTER = {(c.table, c.column): c.better for _, c in COLUMNS}
ARROWS = {"higher": "↑", "lower": "↓"}

_TABLE = _ENV.from_string("""
<div class="tr"><p class="note">{{ table }}</p><div class="tr-box"><table>
<thead><tr><th>model</th>{% for c in columns %}<th>{{ c }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr><th>{{ row.name }}
{%- if row.demonstration %}<br><span class="tag near">demonstration</span>{% endif %}</th>
{%- for c in row.cells %}<td class="v">
{%- if c.value -%}<b>{{ c.value }}</b> <span class="ci">{{ c.ci }}</span>
{%- for note in c.notes %}<br><span class="pub">{{ note }}</span>{% endfor %}
{%- else -%}<span title="{{ c.reason }}">–</span>{% endif -%}</td>{% endfor %}</tr>
{% endfor %}{% if field %}<tr><th>published models</th>{% for c in field %}<td class="v">
{%- if c %}{{ c }}{% else %}–{% endif %}</td>{% endfor %}</tr>{% endif %}
</tbody></table></div></div>
""")

LEGEND = _ENV.from_string("""
<div class="tr"><p class="note">Bold: the value under the corrected rule, with its 95 % interval.
<i>Mended</i>: the share mended for the judge's measured errors, with an interval that holds their
uncertainty too (see 18_judges). <i>Unread</i>: answers without a verdict, and the values had all of
them counted against, or for, the column. <i>Likelihood</i> rows read the options' probabilities,
not a generated answer. The last row spans the published values of the 16 models.
{%- for note in notes %}<br>Judge {{ note }}.{% endfor %}</p></div>
""")


def live_table(runs: Sequence[LiveRun], field_cells: pd.DataFrame, table: str) -> str:
    """One published table with the rows of live models; "" if none has a value there."""
    parts = [r.cells[r.cells["table"] == table] for r in runs]
    known = pd.concat(parts) if parts else pd.DataFrame(columns=["value", "column"])
    known = known[known["value"].notna()]
    if known.empty:
        return ""
    span = field_of(field_cells, table)
    columns = list(dict.fromkeys(known["column"]))
    rows = []
    for run in runs:
        for name in run.rows:
            mine = known[known["model"] == name].set_index("column")
            if len(mine):
                cells = [_cell(mine.loc[c]) if c in mine.index else {} for c in columns]
                rows.append({"name": name, "demonstration": run.is_demonstration, "cells": cells})
    return _TABLE.render(
        table=table,
        columns=[f"{c} {ARROWS[_BETTER[table, c]]}" for c in columns],
        rows=rows,
        field=[_span(span, c) for c in columns] if len(span) else [],
    )


def _span(span: pd.DataFrame, column: str) -> str:
    if column not in span.index:
        return ""
    return f"{number(span.at[column, 'min'])} to {number(span.at[column, 'max'])}"


def _cell(line: pd.Series) -> dict[str, Any]:
    notes = []
    if not math.isnan(line["debiased"]):
        low, high = number(line["debiased_low"]), number(line["debiased_high"])
        notes.append(f"mended {number(line['debiased'])} [{low}, {high}]")
    if line["n_unparsed"]:
        text = f"{line['n_unparsed']:.0f} unread"
        if not math.isnan(line["bound_low"]):
            text += f": {number(line['bound_low'])} to {number(line['bound_high'])}"
        notes.append(text)
    if line["n_missing"]:
        notes.append(f"{line['n_missing']:.0f} missing")
    known = not math.isnan(line["ci_low"])
    interval = f"[{number(line['ci_low'])}, {number(line['ci_high'])}]" if known else ""
    return {"value": number(line["value"]), "ci": interval, "notes": notes, "reason": ""}
