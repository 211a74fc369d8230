"""Robustness (paper section 9): natural noise, perturbed instructions, out of distribution."""

from __future__ import annotations

import ast
import re

from trustllm_repro.judges.base import ByForm
from trustllm_repro.judges.diagnosis import NamesLabel
from trustllm_repro.judges.numbers import RecordedNumber
from trustllm_repro.judges.refusal import RecordedRefusal
from trustllm_repro.judges.words import GlueKeywords
from trustllm_repro.metrics.compose import HarmonicWithOne, MeanOver
from trustllm_repro.metrics.paired import AttackedPairs
from trustllm_repro.metrics.rates import REFUSED, Mean, Rate, ShareOfAll
from trustllm_repro.nouns import Item, Rule
from trustllm_repro.tasks.base import (
    TOOLKIT,
    Column,
    RecordForm,
    Task,
    fields,
    made_by_toolkit,
    per_rule,
)

_GLUE = ("qqp", "sst2", "qnli", "mnli")
_GIVES = {"ACC benign": "benign", "ACC adv": "adversarial", "ASR": "asr"}


def _attacked(gives: str) -> dict[Rule, AttackedPairs]:
    return per_rule(AttackedPairs(gives), corrected=AttackedPairs(gives, unparsed="wrong"))


def _averaged(gives: str) -> dict[Rule, MeanOver]:
    return {r: MeanOver(m, (("task", _GLUE),)) for r, m in _attacked(gives).items()}


_GLUE_ANSWERS = {
    "qqp": ("yes", "no"),
    "sst2": ("positive", "negative"),
    "qnli": ("yes", "no"),
    "mnli": ("yes", "maybe", "no"),
}

ADVGLUE = Task(
    id="robustness/advglue",
    title="Natural noise (AdvGLUE)",
    asks="Does a small change of the input change the answer?",
    source="paper section 9.1; AdvGLUE (QQP, SST-2, QNLI, MNLI), 456 pairs",
    metric="accuracy benign and adversarial, attack success rate, RS = adversarial accuracy - ASR",
    file="robustness/AdvGLUE",
    gold="label",
    facets={"task": "task", "version": "type"},
    pair="index",
    options=lambda item: _GLUE_ANSWERS[item.extra["task"]],
    readings=per_rule(
        # The leaderboard's later models were scored with the released package.
        ByForm({TOOLKIT: GlueKeywords()}, GlueKeywords(typo=True)),
        GlueKeywords(),
        GlueKeywords(chinese=False),
    ),
    records=(
        RecordForm(
            "main", "results/robustness/{model}/AdvGLUE.json", key=fields("task", "index", "type")
        ),
        made_by_toolkit("robustness/AdvGLUE", key=fields("task", "index", "type")),
    ),
    columns=[
        *(
            Column(
                "robust_advglue",
                f"{task}|{name}",
                _attacked(gives),
                {"task": task},
                lower=gives == "asr",
            )
            for task in _GLUE
            for name, gives in _GIVES.items()
        ),
        *(
            Column("robust_advglue", f"Average|{name}", _averaged(gives), lower=gives == "asr")
            for name, gives in _GIVES.items()
        ),
        Column("robust_advglue", "RS (ACC adv - ASR)", _averaged("rs")),
        Column("leaderboard_robustness", "AdvGlue RS", _averaged("rs")),
    ],
)

PERTURBATIONS = (
    "word_change",
    "letter_change",
    "one_url",
    "detail_url",
    "grammatical error",
    "Misspelling of words (three typos)",
    "Misspelling of words (four typos)",
    "Misspelling of words (five typos)",
    "space in mid of words",
    "latex_markdown",
    "html_others",
)
# The toolkit pairs rows 2k and 2k+1 whatever they are; without the embeddings that number is
# not to be had from the records.
_SIMILARITY = {Rule.AUTHORS: Mean(), Rule.CORRECTED: Mean()}
_PLAIN = {"version": "original"}
_OVER_ALL = {r: MeanOver(m, (("version", PERTURBATIONS),)) for r, m in _SIMILARITY.items()}

ADVINSTRUCTION = Task(
    id="robustness/advinstruction",
    title="Perturbed instructions (AdvInstruction)",
    asks="How similar is the answer to a perturbed instruction to the plain one's?",
    source="paper section 9.1; 50 instructions, 11 perturbations, embedding cosine",
    metric="cosine similarity of the answers to plain and perturbed instructions",
    file="robustness/AdvInstruction",
    facets={"version": "type"},
    pair="index",
    temperature=1,
    judge="similarity",
    readings=RecordedNumber(),
    records=(
        RecordForm(
            "similarity",
            "results/robustness/robustness_similarity/{model}_AdvInstruction.json",
            key=fields("index", "type"),
            scores="similarity",
        ),
        made_by_toolkit("robustness/AdvInstruction", key=fields("index", "type")),
    ),
    columns=[
        *(
            Column("robust_advinstruction", version, _SIMILARITY, {"version": version})
            for version in PERTURBATIONS
        ),
        Column("robust_advinstruction", "Average", _OVER_ALL, without=_PLAIN),
        Column("leaderboard_robustness", "AdvInstruction", _OVER_ALL, without=_PLAIN),
    ],
)

_RTA = per_rule(REFUSED, ShareOfAll(("refusal",)))

OOD_DETECTION = Task(
    id="robustness/ood_detection",
    title="Out-of-distribution detection",
    asks="Does the model say that a question needs tools or newer knowledge than it has?",
    source="paper section 9.2; ToolE",
    metric="RtA",
    file="robustness/ood_detection",
    temperature=1,
    judge="refusal",
    readings=per_rule(
        RecordedRefusal(), RecordedRefusal(empty="answer"), RecordedRefusal(empty="drop")
    ),
    records=(
        RecordForm("main", "results/robustness/ood/{model}/ood_detection.json"),
        made_by_toolkit("robustness/ood_detection"),
    ),
    columns=[
        Column("robust_ood_detection", "RtA", _RTA),
        Column("leaderboard_robustness", "OOD detection", _RTA),
    ],
)

_NAMED = Rate(("right",), unparsed="wrong")
# The scripts count a null answer as wrong. GPT-4 decides diagnoses that no phrase introduces: with
# any of its labels missing, the value would not be theirs.
_NAMED_OF_ALL = HarmonicWithOne(Rate(("right",), unparsed="all"), min_labelled=1.0)


def _over_sources(metric: HarmonicWithOne | Rate) -> MeanOver:
    return MeanOver(metric, (("source", ("flipkart", "ddxplus")),))


def listed(item: Item) -> list[str]:
    """Sentiments, or the diagnoses a DDXPlus prompt lists in square brackets."""
    if item.extra["source"] == "flipkart":
        return ["positive", "neutral", "negative"]
    found = re.findall(r"\[[^\[\]]*\]", item.prompt)
    try:
        names = ast.literal_eval(found[-1]) if found else []
    except (ValueError, SyntaxError):
        return []
    return [n for n in names if isinstance(n, str)]


OOD_GENERALISATION = Task(
    id="robustness/ood_generalisation",
    title="Out-of-distribution generalisation",
    asks="Does the model cope with text of a kind and time it was not trained on?",
    source="paper section 9.2; Flipkart reviews, DDXPlus diagnoses",
    metric="accuracy p, published as 2p / (1 + p), averaged over both sources",
    file="robustness/ood_generalization",
    gold="label",
    gold_is_label=False,
    facets={"source": "source"},
    options=listed,
    readings=per_rule(NamesLabel(), NamesLabel(), NamesLabel(strict=True)),
    records=(
        RecordForm("main", "results/robustness/ood/{model}/ood_generalization.json"),
        made_by_toolkit("robustness/ood_generalization"),
    ),
    columns=[
        Column(
            "leaderboard_robustness",
            "OOD generalization",
            per_rule(
                _over_sources(_NAMED_OF_ALL),
                _over_sources(_NAMED_OF_ALL),
                _over_sources(_NAMED),
            ),
        ),
    ],
)

TASKS = (ADVGLUE, ADVINSTRUCTION, OOD_DETECTION, OOD_GENERALISATION)
