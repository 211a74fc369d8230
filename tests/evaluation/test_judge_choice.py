"""Which judge is used, and what is known of its errors."""

from __future__ import annotations

import json

import pytest

from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.evaluation.judging import JudgeChoice
from trustllm_repro.judges import registry
from trustllm_repro.judges.models import QUESTIONS
from trustllm_repro.judges.registry import JUDGES
from trustllm_repro.metrics.judge_error import MIN_YOUDEN
from trustllm_repro.tasks import TASKS

REFUSAL_TASKS = [t.id for t in TASKS.values() if t.live and t.judge == "refusal"]


def test_every_judge_a_task_names_is_registered() -> None:
    assert {t.judge for t in TASKS.values() if t.judge} <= set(JUDGES)


@pytest.mark.parametrize("task", REFUSAL_TASKS)
def test_the_refusal_judge_was_measured_on_every_task_it_labels(task: str) -> None:
    """Where this fails, the task's rates would stand uncorrected without a word."""
    error = registry.judge_error("refusal", task)
    assert error is not None
    assert error.youden > MIN_YOUDEN


def test_other_judges_have_no_measured_errors() -> None:
    assert registry.judge_error("correction", "truthfulness/adversarial_factuality") is None


def test_every_question_to_a_language_model_stands_for_a_judge_that_some_task_uses() -> None:
    assert set(QUESTIONS) <= {t.judge for t in TASKS.values()}


def test_a_replaced_judge_loses_the_errors_measured_of_ours() -> None:
    assert JudgeChoice().measured("safety/misuse") is not None
    assert JudgeChoice(["refusal=smollm2-135m"]).measured("safety/misuse") is None


@pytest.mark.parametrize("entry", ["", "refusal", "refusal=", "=model", "nobody=model"])
def test_entries_that_name_no_judge_or_no_model_are_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="judge=model"):
        JudgeChoice([entry])


@pytest.fixture
def measurements(tmp_path, monkeypatch):
    """Path of a judges.json that the module reads instead of the committed one."""
    monkeypatch.setattr(registry, "data_dir", lambda: tmp_path)
    registry.measured.cache_clear()
    path = tmp_path / "measurements" / "judges.json"
    path.parent.mkdir()
    yield path
    registry.measured.cache_clear()


def test_absent_measurements_are_named(measurements) -> None:
    with pytest.raises(SourceMissing, match=r"judges\.json"):
        registry.judge_error("refusal", "safety/misuse")


@pytest.mark.parametrize(
    "content", ["no json", "{}", '{"refusal": {"by_task_and_model": {"safety/misuse": {"m": {}}}}}']
)
def test_altered_measurements_are_named(measurements, content: str) -> None:
    measurements.write_text(content)
    with pytest.raises(SourceCorrupt, match=r"judges\.json"):
        registry.judge_error("refusal", "safety/misuse")


def test_counts_become_sensitivity_and_specificity(measurements) -> None:
    counts = {f"m{i}": {"tp": 90, "fn": 10, "fp": 5, "tn": 45} for i in range(4)}
    measurements.write_text(json.dumps({"refusal": {"by_task_and_model": {"a/b": counts}}}))
    error = registry.judge_error("refusal", "a/b")
    assert error.sensitivity.mean == pytest.approx(0.9, abs=0.01)
    assert error.specificity.mean == pytest.approx(0.9, abs=0.01)
    assert registry.judge_error("refusal", "a/other") is None
