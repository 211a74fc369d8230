"""22_closed_access: what is shown is what was stored, and the endpoint is watched only if given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trustllm_repro.online.monitors.base import all_monitors
from trustllm_repro.online.studies.levels import LEVELS, PROBABILITIES, TOP5
from trustllm_repro.report import online, online_access
from trustllm_repro.run_notebooks.notebook import check

# monitor, access, AUROC at each level (None: does not run), whether five log-probabilities change it
MADE = (
    ("guard", "black box", (0.6, 0.6, 0.6, 0.6), False),
    ("average likelihood", "grey box", (None, 0.65, 0.65, 0.65), False),
    ("average entropy", "grey box", (None, 0.55, 0.75, 0.75), True),
    ("perturbation", "grey box", (None, None, 0.7, 0.7), False),
    ("probe", "white box", (None, None, None, 0.9), False),
    ("always", "black box", (0.5, 0.5, 0.5, 0.5), False),
)


def lines(model: str, task: str, levels=LEVELS, worse: float = 0.0) -> list[dict]:
    found = []
    for k, level in enumerate(levels):
        for name, access, values, changes in MADE:
            value = np.nan if values[k] is None else values[k] - worse
            changed = changes and level is TOP5 and len(levels) > 2
            found.append(
                {
                    "model": model, "task": task, "level": level.name, "monitor": name,
                    "access": access, "runs": values[k] is not None, "changed": changed,
                    "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "n": 40,
                    "n_without_score": 0, "loss": 0.2 if changed else np.nan,
                    "p": 0.01 if changed else np.nan,
                    "reason": np.nan if values[k] is not None else "not shown",
                }
            )  # fmt: skip
    return found


@pytest.fixture
def run(tmp_path) -> Path:
    """A local model on two tasks, and an endpoint on one."""
    (tmp_path / "tables").mkdir()
    table = [*lines("m", "harm"), *lines("m", "toxicity", worse=0.2)]
    table += lines("served", "harm", LEVELS[:2])
    pd.DataFrame(table).to_csv(tmp_path / "tables" / "online_access.csv", index=False)
    return tmp_path


def test_counts_are_of_those_that_run(run) -> None:
    frame = online_access.counts(run)
    assert frame["run"].tolist() == [1, 3, 4, 5, 1, 3, 4, 5, 1, 3]
    assert set(frame["tried"]) == {5}
    assert frame["interval above 0.5"].tolist() == [0, 1, 3, 4, 0, 0, 0, 1, 0, 1]


def test_the_best_of_each_level(run) -> None:
    frame = online_access.best(run)
    assert list(frame.columns) == ["model", "task", *(x.name for x in LEVELS)]
    assert frame.loc[0, "hidden states"] == "0.90 (0.80, 1.00) probe"
    assert frame.loc[0, "text"] == "0.60 (0.50, 0.70) guard"
    assert frame.loc[2, PROBABILITIES.name] == "–"


def test_what_is_lost_is_said_once_a_monitor(run) -> None:
    frame = online_access.losses(run)
    assert frame["monitor"].tolist() == ["average entropy"] * 2
    assert frame[PROBABILITIES.name].tolist() == ["0.75 (0.65, 0.85)", "0.55 (0.45, 0.65)"]
    assert frame[TOP5.name].tolist() == ["0.55 (0.45, 0.65)", "0.35 (0.25, 0.45)"]
    assert frame["q"].tolist() == [0.01, 0.01]


def test_the_figure_holds_the_numbers_drawn(run, tmp_path) -> None:
    path = online_access.draw(run, tmp_path / "figures")
    assert path is not None
    assert path.stat().st_size > 1000
    drawn = pd.read_csv(path.with_suffix(".csv"))
    assert set(drawn["monitor"]) == {"average likelihood", "average entropy"}
    assert set(drawn["level"]) == {TOP5.name, PROBABILITIES.name}


def test_declared_counts_follow_from_the_monitors() -> None:
    frame = online_access.declared().set_index("level")
    assert frame["of"].unique().tolist() == [len(all_monitors()) - 2]
    assert frame["monitors that run"].is_monotonic_increasing
    assert frame.loc["hidden states", "monitors that run"] == frame["of"].iloc[0]
    assert frame.loc["hidden states", "why not the others"] == ""
    assert (frame.loc["text", ["grey box", "white box"]] == 0).all()
    kinds = frame[["black box", "grey box", "white box"]].sum(axis=1)
    assert (kinds == frame["monitors that run"]).all()


def test_nothing_stored_nothing_shown(tmp_path) -> None:
    for kind in ("counts", "best", "losses"):
        assert getattr(online_access, kind)(tmp_path).empty
    assert online_access.draw(tmp_path, tmp_path) is None


def test_an_endpoint_alone_has_no_figure(tmp_path) -> None:
    (tmp_path / "tables").mkdir()
    table = pd.DataFrame(lines("served", "harm", LEVELS[:2]))
    table.to_csv(tmp_path / "tables" / "online_access.csv", index=False)
    assert online_access.draw(tmp_path, tmp_path) is None
    assert online_access.losses(tmp_path).empty
    assert len(online_access.best(tmp_path)) == 1


def test_only_a_given_endpoint_is_watched(tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(online, "watch", lambda *run, **job: asked.append((run, job)) or "page")
    chosen = check("22_closed_access", {"run_dir": "x"})
    assert online_access.NO_ENDPOINT in online_access.watch(tmp_path, chosen)
    assert asked == []
    assert online_access.watch(tmp_path, chosen | {"endpoint": "e", "limit": 7}) == "page"
    assert asked == [((tmp_path, ["e"]), {"limit": 7, "allowed": "one answer"})]
