"""The ledger: no text, stable bytes, and the selection of revisions."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.small import SmallWorld
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.published import MODELS
from trustllm_repro.data.recorded import load_recorded
from trustllm_repro.errors import SourceCorrupt
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import RULES, Rule
from trustllm_repro.scoring.ledger import ANSWER, Ledger


@pytest.fixture
def ledger(world: SmallWorld) -> Ledger:
    return Ledger.of(load_recorded(world.records, load_benchmark(world.benchmark, verify=False)))


def test_saved_and_loaded_is_the_same(ledger: Ledger, tmp_path: Path) -> None:
    ledger.save(tmp_path)
    again = Ledger.load(tmp_path)
    assert again.verdicts.equals(ledger.verdicts)
    assert again.items.equals(ledger.items)
    first = (tmp_path / "ledger.parquet").read_bytes()
    again.save(tmp_path)
    assert (tmp_path / "ledger.parquet").read_bytes() == first


def test_a_ledger_beside_other_items_is_noticed(ledger: Ledger, tmp_path: Path) -> None:
    """As after a kill between the two files of another run."""
    ledger.save(tmp_path)
    other = Ledger(ledger.items.slice(1), ledger.verdicts)
    other.save(tmp_path / "other")
    (tmp_path / "other" / "items.parquet").replace(tmp_path / "items.parquet")
    with pytest.raises(SourceCorrupt, match="belongs to other items"):
        Ledger.load(tmp_path)


def test_answers_carry_facets_and_what_was_expected(ledger: Ledger) -> None:
    a = ledger.answers("safety/jailbreak", "gpt-4", Rule.AUTHORS, ("published",))
    assert len(a) == a.attrs["asked"] == 12
    assert list(a.columns) == [*ANSWER, "source", "attack", "file"]
    assert a["item"].is_monotonic_increasing
    assert len(ledger.answers("safety/jailbreak", "nobody", Rule.AUTHORS, ("published",))) == 0


def test_later_editions_replace_earlier_ones(world: SmallWorld) -> None:
    world.copy_misuse()
    ledger = Ledger.of(load_recorded(world.records, load_benchmark(world.benchmark, verify=False)))
    for revisions, n in (
        (("published",), 60),
        (("published", "copy"), 90),
        (("published", "own"), 90),
    ):
        a = ledger.answers("safety/misuse", "mistral-7b", Rule.AUTHORS, revisions)
        assert len(a) == n
        assert a["item"].is_unique


def test_gold_answers_that_are_text_stay_out_of_the_committed_ledger() -> None:
    items = pq.read_table(data_dir() / "ledger" / "items.parquet").to_pandas()
    by_task = items.groupby("task", observed=True)["gold"].agg(lambda s: set(s.astype(str)))
    # Sentiments of reviews are labels, diagnoses are not.
    sentiments = {"positive", "negative", "neutral"}
    assert by_task["robustness/ood_generalisation"] == {"", *sentiments}
    assert by_task["truthfulness/internal"] <= {"", "0", "1", "2", "3"}


@pytest.mark.parametrize("name", ["ledger", "items"])
def test_the_committed_ledger_holds_no_text(name: str) -> None:
    path = data_dir() / "ledger" / f"{name}.parquet"
    table = pq.read_table(path)
    assert path.stat().st_size < 5_000_000
    words = {"label", "status", "gold"} & set(table.schema.names)
    for column in words:
        longest = max(map(len, table[column].unique().to_pylist()), default=0)
        assert longest <= 20, column  # anything longer would be text of an answer


def test_the_committed_ledger_has_every_rule_for_every_model() -> None:
    ledger = Ledger.load(data_dir() / "ledger")
    models = [m for m in ledger.models if m in MODELS]
    assert len(models) == 12
    for model in models:
        for rule in RULES:
            a = ledger.answers("safety/jailbreak", model, rule, ("published",))
            assert len(a) in (1300, 1400)
