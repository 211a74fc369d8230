"""Published numbers: the authors' result sheets and the public leaderboard, as committed facts.

data/published/cells.csv holds 2,158 cells with the repository, commit and file of each;
data/published/tables.csv names dimension, metric and direction of the 35 tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import pandas as pd

from trustllm_repro.data.registry import facts
from trustllm_repro.errors import SchemaError

# The 16 models of the paper, and how its text names them.
MODELS: dict[str, str] = {
    "gpt-4": "GPT-4",
    "chatgpt": "ChatGPT",
    "ernie": "ERNIE",
    "bison-001": "PaLM 2",
    "llama2-70b": "Llama2-70b",
    "llama2-13b": "Llama2-13b",
    "llama2-7b": "Llama2-7b",
    "mistral-7b": "Mistral-7b",
    "vicuna-33b": "Vicuna-33b",
    "vicuna-13b": "Vicuna-13b",
    "vicuna-7b": "Vicuna-7b",
    "wizardlm-13b": "WizardLM-13b",
    "koala-13b": "Koala-13b",
    "baichuan-13b": "Baichuan-13b",
    "chatglm2": "ChatGLM2",
    "oasst-12b": "Oasst-12b",
}
PROPRIETARY = ("gpt-4", "chatgpt", "ernie", "bison-001")
LATER = ("chatglm3", "llama3-8b", "llama3-70b", "glm4", "mixtral")  # leaderboard only


def label(model: str) -> str:
    """A model as the paper writes it."""
    return MODELS.get(model, model)


class Cell(NamedTuple):
    """One published number, and the repository, commit and file it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class Published:
    """All published cells by (table, row, column), in file order.

    `tables`: of each table its dimension, metric and direction (higher, lower or mixed).
    """

    cells: Mapping[tuple[str, str, str], Cell]
    tables: Mapping[str, Mapping[str, str]]

    def value(self, table: str, row: str, column: str) -> float | None:
        cell = self.cells.get((table, row, column))
        return cell.value if cell else None

    def column(self, table: str, column: str) -> pd.Series:
        """Values of the 16 models; NaN where none was published."""
        return pd.Series({m: self.value(table, m, column) for m in MODELS}, dtype=float)

    def rows(self, table: str) -> list[str]:
        return list(dict.fromkeys(row for t, row, _ in self.cells if t == table))

    def columns(self, table: str) -> list[str]:
        return list(dict.fromkeys(column for t, _, column in self.cells if t == table))


@cache
def published() -> Published:
    """The committed published numbers."""
    cells: dict[tuple[str, str, str], Cell] = {}
    for i, (*key, value, source) in enumerate(facts("published/cells").itertuples(index=False)):
        try:
            cell = Cell(float(value), source)
        except ValueError as e:
            raise SchemaError("data/published/cells.csv", i, "value", "a number expected") from e
        if cells.setdefault(tuple(key), cell) is not cell:
            raise SchemaError("data/published/cells.csv", i, "", f"cell {key} is there twice")
    return Published(cells, facts("published/tables").set_index("table").to_dict("index"))
