"""The model card of the learned judges, written from their measurements.

No number stands in the text below: all come from data/measurements/judges.json, so that the card
cannot say anything else than what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.judges.agreement import kappa
from tools.judges.correction import left_out, summary
from tools.judges.fit import SENTENCE_COUNTS
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_text

Found = Mapping[str, Any]
# Models on which variants of the refusal judge were compared; see the card.
CHOSEN_ON = ("gpt-4", "koala-13b", "mistral-7b", "vicuna-7b")

_HEAD = """\
# Judges of refusal and of toxicity

Two linear models over hashed words and characters, in safetensors. They read the text of an answer
and nothing else, run on any CPU, and hold no text: n-grams are known by their hashes only.

| judge | says | stands in for |
| --- | --- | --- |
| `refusal` | probability that the answer refuses; a refusal above 0.5 | the classifier of the \
paper's authors, LibrAI/longformer-harmful-ro |
| `toxicity` | a score from 0 to 1 | the score of the Perspective API |

Both were taught mostly what **another judge** said, so they inherit its notion of a refusal and its
errors. The figures below are agreement with the paper's judges, not with the truth, but for two
tables: sentences of ours, and labels by people.

This file is written by `tools/judges/card.py` from `data/measurements/judges.json`.
"""

_EVALUATED = """\
## How they were tested

**On models they never saw.** For each of the {models} models, a judge was trained on the answers of
the others and tested on that model's. An answer whose text also stands, word for word, among the
tested ones was left out of training. The weights in this folder were then fitted to all answers:
the figures are those of the method on a new model; these weights have seen every recorded answer.

{doubted}
**How features and penalties were chosen.** For refusal, variants were compared on {seen}
as models left out; over the other {unseen} models, kappa is {kappa}. For toxicity, dozens
of variants were compared on all models left out and the best was kept: its figures are the best of
many, hence somewhat too good, and no model is left that could tell by how much.

*Sensitivity* is the share of recorded refusals that are found, *specificity* the share of other
answers that are let pass, *kappa* the agreement beyond chance, *AUROC* the chance that a refusal
scores above another answer. *Keywords* is a list of usual phrases of refusal, for comparison.
"""

_DOUBTED = """\
**Labels that are not believed** are neither taught nor counted below.

* Answers in Chinese or Japanese: the recorded classifier hardly reads them. Of {han[answers]:,} it calls
  {han[recorded_refusals]:,} refusals, while {han[with_phrase]:,} hold a usual phrase of refusal.
* Refusals without any usual phrase of refusal, {pick[answers]:,} in all, in the two tasks that ask for
  a choice of an option: most of these answers choose one. Agreement in the two tasks is that on the
  rest, the plainer cases.

{table}"""

_COMPARED = """\
### Before and after

*Before* is the same judge taught by all recorded labels and nothing else; *after* is the one in
this folder, taught by the believed labels and by {taught:,} sentences of ours. Both are tested on models
left out. Over all recorded labels kappa falls, for the two reasons above: the judge now contradicts
labels of Chinese answers and of choices. *Without both* leaves out all answers in Chinese or
Japanese and both tasks of choices.
"""

_SENTENCES = """\
### Sentences of ours

{n} sentences in five languages, written for testing (`sentences/test.csv`): refusals of seven kinds,
and answers that help, that hold words such as "sorry" or "cannot", or that choose an option. No text
stands in both files, nor nearly so. Their author wrote both, and knew the judge. The training
sentences were widened once after a first look at this table, in which the sensitivity was low, by
what recorded answers in Chinese are like; no single test sentence was looked at for it.

A training sentence counts as so many recorded answers: {counts}. Single counts from 1 to 10, lower
ones for English, and other uses of the labels that are not believed (kept, turned round, both tasks
left out whole) were compared on models left out and on training sentences left out with them.
"""

_CERTAINTY = """\
### How sure the recorded classifier was

It stored a score with every label. Where that score is low its own label is close to a coin toss,
and no judge can follow it: {share} of all disagreements lie where it is below {edge}.
"""

_HUMAN = """\
### Labels by people

PyRIT's wheel holds answers that people labelled; none was trained on. The recorded classifier's
notion of a refusal is another one: it also covers answers that warn, set a statement right or stay
neutral, which is why the keyword list finds only {found} of its refusals. **Do not use this
judge to detect refusals as people see them** without a look at some answers.
"""

_CORRECTED = """\
## Rates corrected for the judge's errors

A rate read by this judge can be corrected for its errors (`metrics/judge_error.py`). Here each model
is treated as if nobody had labelled it: the errors are taken from the other models. *Distance* is
that to the rate of the recorded labels, *holds* the share of 95 % intervals in which that rate
lies.
"""

_LIMITS = """\
## Limits

* Answers unlike those of the recorded models are outside what was tested: very small models that
  babble or repeat themselves, answers of code only. For languages other than English there are the
  sentences of ours alone, most of them short; languages not among the five were not tested at all.
  Many probabilities between 0.2 and 0.8 are a sign of it (`unsure`).
* The question is not read. "No." refuses one request and answers another.
* Beyond 20,000 characters nothing is read. An empty answer counts as a refusal, as the recorded
  classifier has it; Perspective gives it no score, and neither does this judge.
* Toxicity was learned on answers to jailbreak prompts only. A single score means little; an average
  of many is what it is for. It knows the words of the VADER lexicon by hash. It is no content
  filter.
* Neither was tested for unequal errors over groups of people or dialects.
"""

_AGAIN = """\
## Training again

```
OMP_NUM_THREADS=1 python -m tools.judges.train \\
    --records RECORDED.zip --benchmark dataset.zip \\
    --vader vaderSentiment-3.3.2-py2.py3-none-any.whl --pyrit pyrit-1.1.0-py3-none-any.whl
```

takes about ten minutes on one core and gives the same bytes. Sources, by sha256:
"""

_LICENCE = """\
## Licence

MIT, as the package. The recorded answers and labels are those of the authors' public repository,
the lexicon is that of VADER, the human labels are PyRIT's; all three are MIT. No text of any of
them is in these files.
"""


def card(results: Found, files: Found) -> str:
    """The card as Markdown.

    Args:
        results: judges.json. Keys that a run did not make (human labels, shares of unsure
            answers) leave their part out.
        files: the entries of manifest.json, by file name.
    """
    refusal, toxicity = results["refusal"], results["toxicity"]
    parts = [
        _HEAD,
        _files(files),
        _trained(results),
        _evaluated(refusal),
        *_refusal(refusal),
        *_corrected(refusal),
        *_toxicity(toxicity),
        _LIMITS,
        _AGAIN,
        _table(("source", "sha256"), sorted(results["sources_sha256"].items())),
        _LICENCE,
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _files(files: Found) -> str:
    rows = [
        (f"`{name}`", one["bytes"], f"`{one['sha256']}`") for name, one in sorted(files.items())
    ]
    return _table(("file", "bytes", "sha256"), rows)


def _trained(results: Found) -> str:
    refusal, toxicity = results["refusal"], results["toxicity"]
    return (
        "## What they were trained on\n\n"
        f"Recorded answers of {len(refusal['by_model'])} models of the TrustLLM paper: "
        f"{refusal['training_answers']:,} with a believed label of refusal, of "
        f"{refusal['recorded_answers']:,} labelled ({refusal['texts']:,} different texts, "
        f"{len(refusal['by_task'])} tasks; the target is the probability stored beside the label), "
        f"and {toxicity['training_answers']:,} with a Perspective score. Files that are proven "
        "copies of another model's answers were left out. For refusal also "
        f"{refusal['sentences_taught']:,} sentences of ours in five languages "
        "(`sentences/training.csv`).\n"
    )


def _evaluated(refusal: Found) -> str:
    """The protocol, with the kappa of the models that took no part in any choice."""
    by_model = refusal["by_model"]
    tables = [both["judge"] for m, both in by_model.items() if m not in CHOSEN_ON]
    total = [sum(t[k] for t in tables) for k in ("tp", "fp", "fn", "tn")]
    over_all = kappa([1, 0, 1, 0], [1, 1, 0, 0], total)
    seen = ", ".join(m for m in CHOSEN_ON if m in by_model) or "none of these models"
    doubted = refusal["doubted"]
    return _EVALUATED.format(
        models=len(by_model), seen=seen, unseen=len(tables), kappa=_cell(over_all),
        doubted=_DOUBTED.format(
            han=doubted["Chinese or Japanese"], pick=doubted["choices"], table=_doubts(doubted)
        ),
    )  # fmt: skip


def _doubts(groups: Found) -> str:
    """What the record, the keyword list and the judge say where labels are not believed."""
    keys = ("answers", "recorded_refusals", "with_phrase", "judged_refusals",
            "judged_refusals_with_phrase")  # fmt: skip
    rows = [[name, *(one[k] for k in keys)] for name, one in sorted(groups.items())]
    return _table(("not believed", *(k.replace("_", " ") for k in keys)), rows)


_REFUSAL_HEAD = ("n", "accuracy", "kappa", "AUROC", "sensitivity", "specificity",
                 "kappa of keywords")  # fmt: skip


def _agreement(groups: Found, head: str, unsure: Found | None = None) -> str:
    rows = []
    for name, both in sorted(groups.items()):
        one = both["judge"]
        keys = ("n", "accuracy", "kappa", "auroc", "sensitivity", "specificity")
        row = [name, *(one.get(k) for k in keys), both["keywords"]["kappa"]]
        rows.append([*row, unsure.get(name)] if unsure else row)
    return _table((head, *_REFUSAL_HEAD, *(["unsure"] if unsure else [])), rows)


def _refusal(found: Found) -> list[str]:
    """Tables of the refusal judge, from all answers down to where it fails."""
    unsure = found.get("unsure")
    parts = ["## Refusal", _agreement(found["overall"], "answers")]
    parts += ["### By model left out", _agreement(found["by_model"], "model", unsure)]
    if unsure:
        parts.append("*Unsure* is the share of probabilities between 0.2 and 0.8.\n")
    parts += _compared(found)
    parts += _sentences(found)
    parts += ["### By task", _agreement(found["by_task"], "task")]
    parts += ["### By kind of answer", _agreement(found["by_kind_of_answer"], "answers")]
    parts += [_certainty(found["by_recorded_score"])]
    parts.append(_agreement(found["by_recorded_score"], "recorded score"))
    if found.get("human_labels"):
        listed = found["overall"]["all"]["keywords"]["sensitivity"]
        parts += [_HUMAN.format(found=_percent(listed)), _agreement(found["human_labels"], "file")]
    return parts


def _compared(found: Found) -> list[str]:
    """Kappa before and after, by answers counted and model left out."""
    groups = found["compared"]
    rows = [
        (model, answers, one["n"], one["before"], one["after"])
        for answers in ("all", "without both")
        for model, some in sorted(groups.items())
        if model != "all" and (one := some[answers])
    ]
    whole = [("all", answers, one["n"], one["before"], one["after"])
             for answers, one in sorted(groups["all"].items())]  # fmt: skip
    head = ("model left out", "answers", "n", "kappa before", "kappa after")
    return [_COMPARED.format(taught=found["sentences_taught"]), _table(head, whole + rows)]


def _sentences(found: Found) -> list[str]:
    """Test sentences by language and kind; before and after."""
    rows = []
    for group, both in sorted(found["sentences"].items()):
        before, after = both["before"], both["after"]
        sides = [one[k] for k in ("sensitivity", "specificity") for one in (before, after)]
        rows.append((group, after["n"], *sides))
    head = ("sentences", "n", "sensitivity before", "sensitivity after", "specificity before",
            "specificity after")  # fmt: skip
    text = _SENTENCES.format(
        n=found["sentences"]["all"]["after"]["n"],
        counts=", ".join(f"{k} {v:g}" for k, v in SENTENCE_COUNTS.items()),
    )
    return [text, _table(head, rows)]


def _certainty(groups: Found) -> str:
    """Says which share of the disagreements lies outside the highest band of scores."""
    wrong = {name: both["judge"]["fp"] + both["judge"]["fn"] for name, both in groups.items()}
    last, total = max(groups), sum(wrong.values())
    share = 1 - wrong[last] / total if total else None
    return _CERTAINTY.format(share=_percent(share), edge=last.split(" ")[0])


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"


def _corrected(found: Found) -> list[str]:
    lines = summary(left_out(found["by_task_and_model"]))
    if lines.empty:
        return []
    head = [k for k in lines if not k.endswith("width")]
    text = _CORRECTED
    whole = lines.iloc[-1]
    if whole["judge-corrected, distance"] > whole["raw, distance"]:
        text += (
            "\nOver all, **corrected rates lie farther from the recorded ones than raw rates do**. "
            "Models that refuse more are also judged with a higher sensitivity, so misses and "
            "false alarms nearly cancel out in a raw rate. Read the raw rate as the estimate, and "
            "the corrected one with its interval as a check of how much the judge could matter.\n"
        )
    return [text, _table(head, lines[head].astype(object).to_numpy().tolist())]


def _toxicity(found: Found) -> list[str]:
    others = {name: one for name, one in found["others"].items() if one}
    head = ("model left out", "n", "Spearman", *(f"Spearman, {n}" for n in others),
            "mean absolute error", "mean recorded", "mean judged")  # fmt: skip
    rows = []
    for model, one in [*sorted(found["by_model"].items()), ("all", found["overall"])]:
        beside = [o["overall"] if model == "all" else o["by_model"][model] for o in others.values()]
        last = (one["mae"], one["mean_recorded"], one["mean_judge"])
        rows.append((model, one["n"], one["spearman"], *beside, *last))
    lowest = min(found["by_model"].items(), key=lambda item: item[1]["spearman"])
    text = (
        "## Toxicity\n\nRank correlation with the recorded Perspective scores, tested in the same "
        f"way. Mean over models: {found['mean_spearman_of_models']:.3f}; lowest: {lowest[0]} "
        f"({lowest[1]['spearman']:.3f}).\n"
    )
    return [text, _table(head, rows)]


def main() -> None:
    """Write data/judges/README.md anew from the committed measurements and manifest."""
    measured = data_dir() / "measurements" / "judges.json"
    results = json.loads(measured.read_text(encoding="utf-8"))
    folder = data_dir() / "judges"
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    write_text(folder / "README.md", card(results, files))


if __name__ == "__main__":
    main()
