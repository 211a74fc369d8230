"""Which judge labels what in a live run: ours, or a language model the user names."""

from __future__ import annotations

from collections.abc import Sequence

from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.errors import judge_error
from trustllm_repro.judges.judge import Judge
from trustllm_repro.judges.registry import JUDGES, judge_named
from trustllm_repro.metrics.judge_error import JudgeError
from trustllm_repro.tasks import TASKS

HUB = "hub:"  # before the folder or hub id of a classifier


class JudgeChoice:
    """From a judge's name to the judge, as evaluation.judging.judged wants it.

    Args:
        replaced: "judge=model" each, e.g. "refusal=http://localhost:8000/v1#name" for a language
            model or "refusal=hub:FOLDER" for a classifier.

    Raises:
        SettingsError: not of that form, or no such judge.
    """

    def __init__(self, replaced: Sequence[str] = ()) -> None:
        self.replaced: dict[str, str] = {}
        for entry in replaced:
            name, _, spec = entry.partition("=")
            if name not in JUDGES or not spec:
                raise SettingsError(
                    f"cannot read the judge {entry!r}",
                    remedy=f"write judge=model, with one of the judges {', '.join(JUDGES)}",
                )
            self.replaced[name] = spec

    def __call__(self, name: str) -> Judge:
        if name not in self.replaced:
            return judge_named(name)
        spec = self.replaced[name]
        if spec.startswith(HUB):
            from trustllm_repro.judges.hub import hub_judge_for

            return hub_judge_for(name, spec.removeprefix(HUB))
        from trustllm_repro.judges.llm import llm_judge_for

        return llm_judge_for(name, spec)

    def measured(self, task: str) -> JudgeError | None:
        """Errors of the judge of a task's answers; None where it was replaced or never measured."""
        name = TASKS[task].judge
        return None if name in self.replaced else judge_error(name, task)
