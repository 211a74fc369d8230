"""Safety (paper section 7): jailbreak, toxicity, misuse, exaggerated safety."""

from __future__ import annotations

from trustllm_repro.metrics.measures import NOT_REFUSED, REFUSED, RTA, Maximum, Mean, Rate
from trustllm_repro.parsers.base import DROPS_EMPTY, recorded_number, recorded_refusal
from trustllm_repro.tasks.base import Column, RecordFormat, Row, Task, per_rule

# Labels of the benchmark that the published table spells otherwise.
_SHOWN = {
    "Refusal sentence prohibition": "refusal prohibition",
    "json_format": "json format",
    "no_long_word": "no long word",
    "no_punctuation": "no punctuation",
    "url_encode": "url encode",
    "without_the": "without the",
}


def attack(row: Row, number: int) -> str:
    """Attack type as the published table spells it ("cou" is in no table)."""
    label = row["label"][0]
    return _SHOWN.get(label, label)


# The sheet takes its column "jailbreak" from the file jailbreak_QBB and "toxicity" from
# jailbreak_ITC. Those files of the first models hold the other half's prompts, as a comparison
# with the official file shows, so their two columns are exchanged. The corrected rule goes by prompt.
_COLUMNS = {
    "jailbreak": per_rule({"file": "QBB"}, corrected={"source": "QBB"}),
    "toxicity": per_rule({"file": "ITC"}, corrected={"source": "ITC"}),
    "overall": {},
}
_NO_COU = {"attack": "cou"}
_BY_ATTACK = "safety_jailbreak_by_attack"
_TOOLKIT_ANSWERED = Rate(("answer",), nothing=1.0)  # 1 - RtA
# The pooled table divides by all answers, null ones included.
_POOLED = per_rule(Rate(("answer",), unparsed="all"), _TOOLKIT_ANSWERED, NOT_REFUSED)

JAILBREAK = Task(
    id="safety/jailbreak",
    title="Jailbreak",
    asks="Does the model refuse harmful requests wrapped in an attack?",
    source="paper section 7.1; 14 attack types on 50 ITC and 50 QBB prompts",
    file="safety/jailbreak",
    facets={"source": "source", "attack": attack},
    temperature=1,
    judge="refusal",
    parsers=per_rule(DROPS_EMPTY, recorded_refusal, DROPS_EMPTY),
    records=tuple(
        RecordFormat(f"results/safety/jailbreak/{{model}}/jailbreak_{side}.json", side)
        for side in ("QBB", "ITC")
    ),
    columns=[
        *(
            Column("safety_jailbreak", name, RTA, where, _NO_COU)
            for name, where in _COLUMNS.items()
        ),
        Column("leaderboard_safety", "Jailbreak", RTA, {}, _NO_COU),
        *(
            Column(_BY_ATTACK, name, _POOLED, where, _NO_COU, pooled="attack", lower=True)
            for name, where in _COLUMNS.items()
        ),
    ],
)

TOXICITY = Task(
    id="safety/toxicity",
    title="Toxicity",
    asks="How toxic are the answers that did not refuse a jailbreak prompt?",
    source="paper section 7.3; Perspective API",
    file="safety/jailbreak",
    answers_of="safety/jailbreak",
    facets={"source": "source", "attack": attack},
    temperature=1,
    judge="toxicity",
    parsers=recorded_number,
    records=(
        RecordFormat(
            "results/safety/toxicity/case_toxicity/{model}_toxic.csv", "csv", scores="toxicity"
        ),
    ),
    columns=[
        Column("safety_toxicity", "average", Mean(), lower=True),
        Column("safety_toxicity", "maximum", Maximum(), lower=True),
        Column("leaderboard_safety", "Toxicity", Mean(), lower=True),
    ],
)

_MISUSES = {
    "do_not_answer": "do not answer",
    "misuse_add": "additional",
    "Do-anything-now": "do anything now",
}

MISUSE = Task(
    id="safety/misuse",
    title="Misuse",
    asks="Does the model refuse requests that are plainly harmful?",
    source="paper section 7.4; Do-Not-Answer, Do-Anything-Now, additional prompts",
    file="safety/misuse",
    facets={"source": "source"},
    temperature=1,
    judge="refusal",
    parsers=per_rule(recorded_refusal, corrected=DROPS_EMPTY),
    records=tuple(
        RecordFormat(f"results/safety/misuse/{{model}}/{name}.json", name, {"source": name})
        for name in _MISUSES
    ),
    columns=[
        *(Column("safety_misuse", name, RTA, {"source": s}) for s, name in _MISUSES.items()),
        Column("safety_misuse", "overall", RTA),
        Column("leaderboard_safety", "Misuse", RTA),
    ],
)

_EXAGGERATED = per_rule(REFUSED, _TOOLKIT_ANSWERED, REFUSED)

EXAGGERATED = Task(
    id="safety/exaggerated_safety",
    title="Exaggerated safety",
    asks="Does the model refuse harmless prompts that only sound harmful?",
    source="paper section 7.2; XSTest",
    file="safety/exaggerated_safety",
    facets={"type": "type"},
    temperature=1,
    judge="refusal",
    parsers=per_rule(recorded_refusal, corrected=DROPS_EMPTY),
    records=(RecordFormat("results/safety/exaggerated_safety/{model}/XSTest.json"),),
    columns=[
        Column("safety_exaggerated", "RtA", _EXAGGERATED, lower=True),
        Column("leaderboard_safety", "Exaggerated Safety", _EXAGGERATED, lower=True),
    ],
)

TASKS = (JAILBREAK, TOXICITY, MISUSE, EXAGGERATED)
