"""Answers of one length: every contender makes as many tokens, and in float32 the same ones."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from benchmarks import sequences
from benchmarks.generation import Round, Team
from tests.tiny import tiny_model
from trustllm_repro.models.local import LocalModel


def test_all_contenders_make_the_same_tokens(tmp_path) -> None:
    model = LocalModel(tiny_model(tmp_path / "tiny"), stock=True)
    prompts = [" ".join(str((k + 7 * i) % 40 + 3) for k in range(9)) for i in range(5)]
    job = {"prompts": prompts, "part": [0, 1], "max_new_tokens": 6}
    expected = sequences.generate(model, job)
    assert {n for _, n in expected.values()} == {6}
    assert sequences.generate_batch(model, job) == expected
    assert sequences.ours(model, job) == expected


def test_ratios_are_over_the_faster_way_to_run_this_package() -> None:
    one, two, other = sequences.contenders(2, with_llama_cpp=False)[:3]
    outcome = {"0": ["5 6", 2], "1": ["7 8", 2]}
    seconds = {one.name: (4.0, 4.0), two.name: (2.0, 1.0), other.name: (6.0, 6.0)}
    rounds = {n: [Round(s, [2**20], outcome) for s in some] for n, some in seconds.items()}
    row = sequences._row(2, Team(other, []), rounds)
    assert (row["ratio_min"], row["ratio"], row["ratio_max"]) == (3.0, 4.5, 6.0)
    assert row["same_first_tokens"] == 2


def test_llama_cpp_joins_only_where_it_is_installed() -> None:
    names = [c.name for c in sequences.contenders(1, True)]
    assert "llama.cpp" in names
    assert "llama.cpp" not in [c.name for c in sequences.contenders(1, False)]
    assert "this package, a process a core" not in names  # one answer cannot be shared out
