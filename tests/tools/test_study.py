"""What is kept of a long study is small, holds no text, and says what the whole of it says."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.online.studies.test_claims import BASE, scores
from tools.study import SCORES, main, thin
from trustllm_repro.online.studies.claims import examine
from trustllm_repro.online.studies.evaluate import COLUMNS, Study, open_study
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import read_object, write_json

KEPT = data_dir() / "online"


@pytest.fixture
def whole() -> pd.DataFrame:
    parts = [scores(t, BASE, p) for t in ("harm", "code") for p in ("real", "permuted")]
    other = parts[0].assign(monitor="another")
    frame = pd.concat([*parts, other], ignore_index=True)
    return frame.astype({c: np.float32 for c in COLUMNS["scores"] if frame[c].dtype == float})


def test_the_claims_find_in_the_kept_part_what_they_find_in_the_whole(whole) -> None:
    kept = thin(whole)
    assert set(kept["monitor"]) == set(BASE)
    assert set(SCORES) < set(kept)
    assert "at_64" not in kept
    found, again = (examine(SimpleNamespace(scores=f)) for f in (whole, kept))
    columns = ["id", "verdict", "placebo"]
    pd.testing.assert_frame_equal(found[columns], again[columns])


def test_a_run_is_put_in_the_place_of_its_models_and_tasks(whole, tmp_path, monkeypatch) -> None:
    whole_study, run, out = open_study(KEPT), Study(tmp_path / "run"), tmp_path / "out"
    for name in ("figures", "labels", "quality", "pilot", "scores"):
        frame = getattr(whole_study, name)
        few = frame["monitor"].isin(["words", "clock"]) if "monitor" in frame else slice(None)
        for folder in ("out", "kept"):
            Study(tmp_path / folder).store(name, frame[few])
    shutil.copy(KEPT / "provenance.json", out)
    kept = open_study(tmp_path / "kept")
    model, before = "smollm2-135m", read_object(KEPT / "provenance.json")
    new = whole[whole["task"] == "code"].assign(model=model)
    run.store("scores", pd.concat([new, new.assign(task="misuse")]))
    for name in ("figures", "labels", "quality", "pilot"):
        run.store(name, getattr(kept, name).query("task == 'harm'").assign(task="misuse"))
    write_json(run.path / "online" / model / "provenance.json", {"seconds": {"misuse": 3.0}})
    monkeypatch.setattr("sys.argv", ["study", str(run.path), "--out", str(out)])
    main()
    again, facts = open_study(out), read_object(out / "provenance.json")
    assert facts.keys() == before.keys()
    assert facts[model]["seconds"] == before[model]["seconds"] | {"misuse": 3.0}
    mine = again.scores.query("model == @model")
    assert set(mine["task"]) == {*kept.scores.query("model == @model")["task"], "misuse"}
    assert len(mine.query("task == 'code'")) == len(thin(new))
    rest = f"task != 'misuse' and not (model == '{model}' and task == 'code')"
    for name in ("figures", "scores"):
        one, two = (getattr(s, name).query(rest).reset_index(drop=True) for s in (again, kept))
        pd.testing.assert_frame_equal(one, two, check_dtype=False, check_categorical=False)


def test_the_committed_study_is_small_and_holds_no_text() -> None:
    files = sorted(KEPT.glob("online_*.parquet"))
    assert files
    assert sum(file.stat().st_size for file in files) < 3_000_000
    study = open_study(KEPT)
    for frame in (study.figures, study.labels, study.quality, study.pilot, study.scores):
        words = frame.select_dtypes(["category", "object", "string"])
        assert all(words[c].astype(str).str.len().max() < 200 for c in words)


def test_the_committed_study_has_three_models_and_a_placebo() -> None:
    kept = open_study(KEPT).scores
    assert kept["model"].nunique() == 3
    assert set(kept["permuted"]) == {False, True}
    assert kept.groupby("model", observed=True)["task"].nunique().min() >= 4
