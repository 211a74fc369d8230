"""Claims and defects: complete, computed, and able to come out otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trustllm_repro.analysis import defects as proof
from trustllm_repro.analysis.claims import ARTEFACT, CLAIMS, REFUTED, SUPPORTED, UNDECIDED
from trustllm_repro.analysis.claims import claims as claims_of
from trustllm_repro.analysis.compare import (
    LOWER,
    Evidence,
    consistency,
    direction_search,
    leaderboard,
    rank_intervals,
    ranks,
)
from trustllm_repro.analysis.defects import (
    DEFECTS,
    before_after,
    changed,
    defects,
    moved_in_rank,
)
from trustllm_repro.data.published import MODELS
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.run import Run, replay_ledger


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return replay_ledger(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def claims(run: Run) -> pd.DataFrame:
    return claims_of(run)


def test_every_claim_of_the_paper_is_examined(claims: pd.DataFrame) -> None:
    want = [
        *(f"O{i}" for i in range(1, 5)), *(f"T{i}" for i in range(1, 6)),
        *(f"S{i}" for i in range(1, 4)), *(f"F{i}" for i in range(1, 5)),
        *(f"R{i}" for i in range(1, 4)), *(f"P{i}" for i in range(1, 4)), "E1", "E2",
    ]  # fmt: skip
    assert claims["id"].tolist() == want
    assert set(claims["verdict"]) <= {SUPPORTED, REFUTED, ARTEFACT, UNDECIDED}
    assert claims["evidence"].str.len().gt(20).all()


def test_q_values_follow_from_p_values(claims: pd.DataFrame) -> None:
    tested = claims.dropna(subset=["p"])
    assert (tested["q"] >= tested["p"]).all()
    assert claims.loc[claims["p"].isna(), "q"].isna().all()


def test_codah_claim_falls_with_the_records_and_not_by_decree(run: Run) -> None:
    """With corrected answers at chance, the same claim is supported."""
    evidence = Evidence(run)
    assert CLAIMS["T2"].examine(evidence).verdict == ARTEFACT
    cells = run.cells.copy()
    mask = (cells["column"] == "CODAH") & (cells["rule"] == "corrected") & cells["value"].notna()
    cells.loc[mask, ["value", "ci_low"]] = [0.25, 0.17]
    other = Run(run.path)
    object.__setattr__(other, "__dict__", {**other.__dict__, "path": run.path, "cells": cells})
    assert CLAIMS["T2"].examine(Evidence(other)).verdict == SUPPORTED


def test_leaked_addresses_can_refute_the_artefact(run: Run) -> None:
    """Turn zero-shot answers into true addresses: the claim is then supported."""
    verdicts = run.ledger.verdicts.to_pandas()
    items = run.ledger.items.to_pandas()
    zero = items[(items["task"] == "privacy/leakage") & items["facets"].str.startswith("zero")][
        "item"
    ]
    hit = (verdicts["task"] == "privacy/leakage") & verdicts["item"].isin(zero)
    verdicts["label"] = verdicts["label"].astype(str).where(~hit, "true")
    table = pa.Table.from_pandas(verdicts, preserve_index=False)
    columns = [table[n].cast(pa.string()) if n == "label" else table[n] for n in table.schema.names]
    table = pa.Table.from_arrays(columns, table.schema.names).cast(run.ledger.verdicts.schema)
    other = Run(run.path)
    changed = replace(run.ledger, verdicts=table)
    object.__setattr__(other, "__dict__", {"path": run.path, "cells": run.cells, "ledger": changed})
    assert isinstance(changed, Ledger)
    assert CLAIMS["P3"].examine(Evidence(other)).verdict == SUPPORTED
    assert CLAIMS["P3"].examine(Evidence(run)).verdict == ARTEFACT


def test_every_defect_has_evidence_and_a_dimension(run: Run) -> None:
    found = defects(run)
    assert found["id"].tolist() == list(DEFECTS)
    assert found["evidence"].str.len().gt(40).all()
    assert set(found["dimension"]) <= {
        "truthfulness", "safety", "fairness", "robustness", "privacy", "ethics", "overall",
    }  # fmt: skip


def relabelled(run: Run, task: str, rule: str, change) -> Run:
    """The run with other labels of one task: `change` gets and gives the label of every verdict."""
    verdicts = run.ledger.verdicts.to_pandas()
    mask = (verdicts["task"] == task) & (verdicts["rule"] == rule)
    verdicts["label"] = verdicts["label"].astype(str)
    verdicts.loc[mask, "label"] = verdicts.loc[mask, "label"].map(change)
    table = pa.Table.from_pandas(verdicts, preserve_index=False)
    columns = [table[n].cast(pa.string()) if n == "label" else table[n] for n in table.schema.names]
    table = pa.Table.from_arrays(columns, table.schema.names).cast(run.ledger.verdicts.schema)
    other = Run(run.path)
    ledger = replace(run.ledger, verdicts=table)
    object.__setattr__(other, "__dict__", {"path": run.path, "cells": run.cells, "ledger": ledger})
    return other


def test_refusals_that_choose_are_counted_and_can_be_absent(run: Run) -> None:
    evidence = Evidence(run)
    counts = evidence.choosing("ethics/moralchoice_high")
    assert set(counts.index) == {"mistral-7b"}
    assert counts.loc["mistral-7b", "chosen"] > 400
    plain = evidence.choosing("fairness/preference", "plain")
    # Its answers weigh both sides and take none.
    assert plain.loc["gpt-4", ["chosen", "refused"]].tolist() == [0, 120]
    assert plain.loc["mistral-7b", "chosen"] > 90
    same = relabelled(run, "fairness/preference", "corrected", lambda x: "refusal")
    none = Evidence(same).choosing("fairness/preference", "plain")
    assert (none["chosen"] == 0).all()
    assert none["refused"].equals(plain["refused"])


def test_what_the_items_themselves_show(run: Run) -> None:
    halu, ood = (
        run.ledger.asked(t) for t in ("truthfulness/hallucination", "robustness/ood_generalisation")
    )
    assert set(halu["gold"][halu["source"] == "mc"]) == {"A"}
    found = {
        g: halu["found"][(halu["source"] == "halu_summ") & (halu["gold"] == g)].astype(int)
        for g in ("Yes", "No")
    }
    assert {g: len(x) for g, x in found.items()} == {"Yes": 50, "No": 50}
    assert np.median(found["Yes"]) > np.median(found["No"]) + 10
    reviews = ood["source"] == "flipkart"
    assert set(ood["stars"][reviews]) == set("12345")
    assert set(ood["stars"][~reviews]) == set(ood["gold"][~reviews]) == {""}  # no diagnosis is kept
    assert np.mean(ood["gold"][reviews] == "positive") == pytest.approx(334 / 400)
    index = run.ledger.asked("robustness/advinstruction")["pair"]
    assert len(index) == 12 * len(set(index))


def test_evidence_says_none_where_there_is_none(run: Run) -> None:
    """The defects of single answers disappear with the answers that show them."""
    task = "privacy/leakage"
    verdicts = run.ledger.verdicts
    keep = [t != task for t in verdicts["task"].to_pylist()]
    other = Run(run.path)
    ledger = replace(run.ledger, verdicts=verdicts.filter(pa.array(keep)))
    object.__setattr__(other, "__dict__", {"path": run.path, "cells": run.cells, "ledger": ledger})
    assert DEFECTS["A27"].evidence(Evidence(other)).endswith("among those counted: none")
    assert "baichuan-13b 19 of 400" in DEFECTS["A27"].evidence(Evidence(run))


def test_the_model_that_answers_in_chinese_follows_from_the_measurements(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"all": {"n": 9}, "without Chinese or Japanese": {"n": 2}}
    few = {"all": {"n": 9}, "without Chinese or Japanese": {"n": 6}}
    counts = dict.fromkeys(("answers", "with_phrase", "recorded_refusals", "judged_refusals"), 10)
    refusal = {
        "doubted": {"Chinese or Japanese": counts},
        "compared": {"all": both, "koala-13b": both, "gpt-4": few},
    }
    monkeypatch.setattr(proof, "measured", lambda: {"refusal": refusal})
    found = proof.chinese_refusals(Evidence(run))
    assert "10 recorded answers in Chinese or Japanese, 7 of them koala-13b's" in found


def test_a_model_without_both_values_has_not_moved(run: Run) -> None:
    """Llama3-70b has corrected values only in some columns; no rank of it can change."""
    frame = before_after(run)
    table = defects(run).set_index("id")
    known = frame[frame["rank_before"].notna()]
    for id_, part in known.groupby("id"):
        moved = part.loc[moved_in_rank(part), "model"].nunique()
        assert table.loc[id_, "models_moved"] == moved


def test_ranks_are_among_the_models_with_both_values(run: Run) -> None:
    frame = before_after(run)
    for _, part in frame.groupby(["id", "table", "column"]):
        known = part["authors"].notna() & part["corrected"].notna()
        assert (part["rank_before"].notna() == known).all()
        assert part["rank_after"].max() <= known.sum() or not known.any()
    misuse = frame[(frame["id"] == "A1") & (frame["model"] == "mistral-7b")]
    assert (misuse["rank_after"] > misuse["rank_before"]).all()


def test_the_average_rank_is_explained_by_one_reversed_column() -> None:
    found = direction_search()
    assert found["turned"].iloc[0] == "Disparagement Sex"
    # The next best explanation is several times worse, so this is no matter of taste.
    assert found["deviation"].iloc[1] > 5 * found["deviation"].iloc[0]


def test_contradictions_are_between_published_numbers_only() -> None:
    found = consistency()
    assert ((found["leaderboard"] - found["sheet"]).abs() > 0.005).all()
    assert "bison-001" in set(found["model"])


def test_ranks() -> None:
    table = pd.DataFrame(
        {("b", "Jailbreak"): [0.1, 0.9, 0.9], ("b", "Toxicity"): [0.1, 0.2, math.nan]}
    )
    got = ranks(table)
    assert got[("b", "Jailbreak")].tolist() == [3, 1, 1]
    assert got[("b", "Toxicity")].tolist()[:2] == [1, 2]
    assert "Toxicity" in LOWER


def test_rank_intervals_are_reproducible_and_hold_the_fixed_models(run: Run) -> None:
    a = rank_intervals(run, Rule.CORRECTED, 200)
    pd.testing.assert_frame_equal(a, rank_intervals(run, Rule.CORRECTED, 200))
    assert set(a["model"]) == set(MODELS)
    assert (a["low"] <= a["high"]).all()
    assert leaderboard().shape == (16, 31)


def test_changes_of_a_defect_are_those_of_its_columns(run: Run) -> None:
    found = before_after(run).query("id == 'A3'")
    assert set(found["column"]) == {"jailbreak", "toxicity"}
    assert 0 < len(changed(found)) <= len(found)
    left_out = found.drop(changed(found).index)
    assert (left_out["change"].fillna(0).abs() <= 0.0005).all()
    assert len(before_after(run)) > len(found)
