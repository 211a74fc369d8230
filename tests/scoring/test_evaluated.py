from pathlib import Path

from trustllm_repro.scoring.run import open_run


def test_a_task_nobody_was_asked_has_no_answers(tmp_path: Path):
    found = open_run(tmp_path).evaluated(["smollm2-135m"])[0].answers("confaide_sensitivity")
    assert found.empty
    assert list(found.columns[:2]) == ["model", "item"]
    assert found.attrs["asked"] == 0
