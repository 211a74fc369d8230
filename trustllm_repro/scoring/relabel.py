"""Recorded answers with the labels of our own judges, where the authors' were never recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from trustllm_repro.judges.registry import judge_named
from trustllm_repro.schema import OUR_JUDGE, Item, Response, Rule, Status
from trustllm_repro.scoring.ledger import Answered, Ledger
from trustllm_repro.tasks import TASKS
from trustllm_repro.tasks.base import Task


@dataclass
class Relabelled:
    """Recorded answers with the labels of our judges (scoring.ledger.Answered)."""

    items: dict[str, Sequence[Item]]
    models: Sequence[str]
    answers: dict[tuple[str, str], list[Response]] = field(default_factory=dict)

    def responses(self, task: str, model: str) -> Sequence[Response]:
        return self.answers.get((task, model), [])


def relabelled(
    answered: Answered,
    tasks: Iterable[Task],
    wanted: Callable[[Task, Item, Response], bool] = lambda task, item, response: True,
) -> Relabelled:
    """The wanted answers to these tasks, labelled by each task's own judge.

    Raises:
        SourceMissing, SourceCorrupt: the weights of a judge that is needed are absent or altered.
    """
    chosen, judges = list(tasks), cache(judge_named)
    found = Relabelled({t.id: answered.items[t.id] for t in chosen}, answered.models)
    for task in chosen:
        items = {i.number: i for i in found.items[task.id]}
        for model in answered.models:
            every = answered.responses(task.id, model)
            said = [r for r in every if wanted(task, items[r.number], r)]
            if said:
                labels = judges(task.judge)([items[r.number] for r in said], said)
                found.answers[task.id, model] = [
                    replace(r, judge=j.label, number_recorded=j.number)
                    for r, j in zip(said, labels, strict=True)
                ]
    return found


def _needs_a_label(task: Task, item: Item, response: Response) -> bool:
    parser = task.parser_for(Rule.AUTHORS)
    return parser is not None and parser(item, response).status is Status.UNLABELLED


def with_our_labels(ledger: Ledger, answered: Answered) -> Ledger:
    """The ledger with verdicts named OUR_JUDGE on answers that lack a recorded refusal label.

    They are the authors' reading of what our refusal judge says of these answers. Verdicts of the
    three rules stay as they are. Judges of other tasks are left out: their agreement with the
    authors' judges could not be measured.
    """
    tasks = [t for t in TASKS.values() if t.judge == "refusal"]
    ours = relabelled(answered, tasks, _needs_a_label)
    if not ours.answers:
        return ledger
    return ledger.joined(Ledger.of(ours, rules=(Rule.AUTHORS,), name=OUR_JUDGE))
