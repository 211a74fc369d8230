"""18_judges: tables and figure come from the stored measurements, and say what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustllm_repro.analysis import judges
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.judges import registry
from trustllm_repro.judges.registry import measured
from trustllm_repro.tasks import TASKS


@pytest.mark.parametrize(
    "by", ["overall", "by_model", "by_task", "by_kind_of_answer", "by_recorded_score"]
)
def test_every_group_has_its_figures(by: str) -> None:
    frame = judges.refusal_table(by)
    assert len(frame) == len(measured()["refusal"][by])
    assert frame["accuracy"].between(0, 1).all()
    assert frame["n"].gt(0).all()


def test_counts_of_a_task_add_up_and_give_its_figures() -> None:
    frame = judges.refusal_table("by_task").set_index("task")
    counts = measured()["refusal"]["by_task"]
    assert set(frame.index) == set(counts)
    for task, line in frame.iterrows():
        said = counts[task]["judge"]
        assert sum(said[k] for k in ("tp", "fp", "fn", "tn")) == line["n"]
        assert said["tp"] / (said["tp"] + said["fn"]) == pytest.approx(
            line["sensitivity"], abs=1e-3
        )


def test_counts_by_model_add_up_to_those_of_the_task() -> None:
    """These correct the rates; they must be the ones shown."""
    found = measured()["refusal"]
    for task, models in found["by_task_and_model"].items():
        for name in ("tp", "fp", "fn", "tn"):
            total = sum(one[name] for one in models.values())
            assert total == found["by_task"][task]["judge"][name]


def test_the_judge_beats_the_keyword_list_on_every_model_left_out() -> None:
    frame = judges.refusal_table("by_model")
    assert (frame["kappa"] > frame["kappa, keywords"]).all()


def test_the_kappas_compared_are_those_of_the_training() -> None:
    found = measured()["refusal"]
    compared = found["compared"]["all"]
    assert compared["all"]["n"] == found["recorded_answers"]
    assert compared["believed"]["n"] == found["training_answers"]
    assert compared["believed"]["after"] == found["overall"]["all"]["judge"]["kappa"]


def test_errors_are_those_of_live_tasks_the_refusal_judge_labels() -> None:
    frame = judges.error_table()
    labelled = {t.title for t in TASKS.values() if t.live and t.judge == "refusal"}
    assert set(frame["task"]) == labelled
    assert frame.filter(like="spread").gt(0).all().all()


def test_absent_and_altered_measurements_are_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "data_dir", lambda: tmp_path)
    with pytest.raises(SourceMissing, match=r"other\.json"):
        measured("other")
    (tmp_path / "measurements").mkdir()
    (tmp_path / "measurements" / "other.json").write_text("{")
    with pytest.raises(SourceCorrupt, match=r"other\.json"):
        measured("other")
