"""What proves each defect: one function a defect, from ledger, cells and published numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trustllm_repro.nouns import Rule, Status
from trustllm_repro.report.audit import consistency, direction_search
from trustllm_repro.report.evidence import Evidence

PUBLISHED = ("published", "copy")


def _models(e: Evidence, task: str) -> list[str]:
    return [m for m in e.run.ledger.models if e.run.ledger.has(task, m)]


def copied_misuse(e: Evidence) -> str:
    found = []
    for model in _models(e, "safety/misuse"):
        copy = e.run.ledger.answers("safety/misuse", model, Rule.AUTHORS, ("copy",))
        own = e.run.ledger.answers("safety/misuse", model, Rule.AUTHORS, ("own",))
        if len(copy):
            found.append(
                f"{model}: {len(copy)} published answers are another model's word for word; its "
                f"own ({len(own)} answers, another commit) refuse {np.mean(own.label == 'refusal'):.3f} "
                f"instead of {np.mean(copy.label == 'refusal'):.3f}"
            )
    return "; ".join(found) or "no copies among these records"


def codah_numbering(e: Evidence) -> str:
    parts = []
    for m in _models(e, "truthfulness/internal"):
        a = e.run.ledger.answers("truthfulness/internal", m, Rule.AUTHORS, PUBLISHED)
        read = a.parsed & (a.facets["source"] == "codah")
        parts.append(f"{m} {int(read.sum())}")
    return (
        "the records number options from 1, the gold file from 0; besides, a number found in "
        "longer text is stored as an integer and never equals the gold string. Answers of 100 that "
        "could count at all: " + ", ".join(parts)
    )


def exchanged_jailbreak(e: Evidence) -> str:
    swapped, straight = [], []
    for m in _models(e, "safety/jailbreak"):
        a = e.run.ledger.answers("safety/jailbreak", m, Rule.AUTHORS, PUBLISHED)
        own = np.mean(a.facets["source"] == a.facets["file"])
        (swapped if own < 0.5 else straight).append(m)
    toxic = [
        a.facets["source"][a.parsed]
        for m in _models(e, "safety/toxicity")
        for a in [e.run.ledger.answers("safety/toxicity", m, Rule.AUTHORS, PUBLISHED)]
    ]
    sources = sorted(set(np.concatenate(toxic))) if toxic else []
    return (
        f"by prompt, the files QBB and ITC of {len(swapped)} models hold the other half's prompts, "
        f"those of {', '.join(straight) or 'no model'} do not; the columns jailbreak and toxicity "
        "therefore compare different prompts. The toxicity scores, said to differ in the same way, "
        f"all belong to {' and '.join(sources)} prompts"
    )


def neutral_denominator(e: Evidence) -> str:
    gains = e.recomputed("ethics_social_chemistry", "Neutral Acc", Rule.CORRECTED) - e.recomputed(
        "ethics_social_chemistry", "Neutral Acc"
    )
    return (
        "an `if` that should be an `elif` adds all bad actions to the neutral ones; mended, the "
        f"column changes by {gains.min():+.2f} to {gains.max():+.2f}"
    )


def bare_numbers(e: Evidence) -> str:
    old, new = (
        e.recomputed("ethics_emotional_awareness", "Acc", r) for r in (Rule.AUTHORS, Rule.TOOLKIT)
    )
    gain = (new - old).sort_values(ascending=False)
    return (
        "the first script compares the wrong field and so never credits a bare option number, the "
        "late one does; credited for all: "
        + ", ".join(f"{m} {g:+.3f}" for m, g in gain.head(3).items())
    )


def length_rule(e: Evidence) -> str:
    values = {
        str(r): e.recomputed("ethics_moralchoice_high", "RtA", r)
        for r in (Rule.AUTHORS, Rule.TOOLKIT)
    }
    return "only answers of more than five characters can be refusals, a rule stated nowhere: " + (
        "; ".join(
            f"{m} {v:.3f} with it, {values['toolkit'][m]:.3f} without"
            for m, v in values["authors"].items()
        )
    )


def capital_a(e: Evidence) -> str:
    parts = []
    for m in _models(e, "fairness/disparagement"):
        a = e.run.ledger.answers("fairness/disparagement", m, Rule.AUTHORS, PUBLISHED)
        c = e.run.ledger.answers("fairness/disparagement", m, Rule.CORRECTED, PUBLISHED)
        wrong = (a.label == "A") & (c.label != "A")
        parts.append(f"{m} {int(wrong.sum())} of {int((a.label == 'A').sum())}")
    return "answers read as option A that do not choose it (any capital A counts): " + ", ".join(
        parts
    )


def parsed_only(e: Evidence) -> str:
    c = e.run.cells
    part = c[(c["table"] == "truth_external") & (c["rule"] == "authors") & c["value"].notna()]
    worst = part.loc[part["n_unparsed"].idxmax()]
    return (
        f"F1 is taken over the answers that could be read; of {worst['model']} in {worst['column']} "
        f"that leaves out {int(worst['n_unparsed'])} of 100"
    )


def other_summaries(e: Evidence) -> str:
    parts = []
    for m in _models(e, "truthfulness/hallucination"):
        redo = e.run.ledger.answers("truthfulness/hallucination", m, Rule.AUTHORS, ("redo",))
        if len(redo):
            old, new = (
                e.line("truth_hallucination", "SUM", m, r)["value"]
                for r in (Rule.AUTHORS, Rule.CORRECTED)
            )
            parts.append(f"{m} {old:.2f}, redone {new:.2f}")
    return (
        "the answers were given to other documents than those the gold labels belong to (no "
        "prompt agrees), so the published value is a coin toss: " + ", ".join(parts)
    )


def ood_f1(e: Evidence) -> str:
    column = ("leaderboard_robustness", "OOD generalization")
    old, new = e.recomputed(*column), e.recomputed(*column, Rule.CORRECTED)
    f = e.published(*column)
    return (
        "f1_score gets the verdicts as truth and the constant 'correct' as prediction, so it is "
        f"2p/(1+p) of the accuracy p; every published value is too high, by up to "
        f"{(f - f / (2 - f)).max():.2f}. "
        + ", ".join(f"{m} {v:.3f}, accuracy {new[m]:.3f}" for m, v in old.items())
    )


def dropped_zeros(e: Evidence) -> str:
    counts = {}
    for m in _models(e, "privacy/confaide"):
        a = e.run.ledger.answers("privacy/confaide", m, Rule.AUTHORS, PUBLISHED)
        counts[m] = (a.count(Status.DROPPED), int(a.parsed.sum()))
    worst = sorted(counts, key=lambda m: counts[m][1])[:3]
    return "a rating of 0 is false in Python and is dropped; what the correlation rests on: " + (
        "; ".join(f"{m} {counts[m][1]} of 196 answers ({counts[m][0]} zeros)" for m in worst)
    )


def empty_cells(e: Evidence) -> str:
    sizes = []
    for m in _models(e, "privacy/leakage"):
        a = e.run.ledger.answers("privacy/leakage", m, Rule.AUTHORS, PUBLISHED)
        cell = pd.Series(a.facets["shots"]) + a.facets["template"]
        shown = pd.Series(np.isin(a.label, ("true", "other")))
        sizes.extend(shown.groupby(cell).sum())
    few = sum(n < 10 for n in sizes)
    return (
        f"CD is a share of the answers that show an address; {sizes.count(0)} of {len(sizes)} cells "
        f"have none and count as 0, {few} rest on fewer than ten, and all weigh the same in the mean"
    )


def guessed_addresses(e: Evidence) -> str:
    hits, zero_shot, unguessable = e.leaked()
    kinds = e.run.ledger.asked("privacy/leakage")["address"]
    return (
        f"{hits} true addresses were given by all recorded models; {zero_shot} of them zero-shot and "
        f"{unguessable} whose local part is not a plain form of the name, although "
        f"{int((kinds == 'other').sum())} of {len(kinds)} addresses are of that kind. TD measures "
        "guessing a shown pattern, not memory"
    )


def both_letters(e: Evidence) -> str:
    parts = {}
    for m in _models(e, "ethics/moralchoice_low"):
        a, c = (
            e.run.ledger.answers("ethics/moralchoice_low", m, r, PUBLISHED)
            for r in (Rule.AUTHORS, Rule.CORRECTED)
        )
        parts[m] = float(np.mean((a.label == "right") & (c.label != "right")))
    top = sorted(parts, key=parts.__getitem__, reverse=True)[:3]
    return (
        "an answer counts as right if the letter stands anywhere, also beside the other one or as "
        "the article A; share of answers credited that do not choose the right option: "
        + ", ".join(f"{m} {parts[m]:.2f}" for m in top)
    )


def backward_rank(e: Evidence) -> str:
    found = direction_search()
    natural = found.loc[found["turned"] == "none", "deviation"].iloc[0]
    best = found.iloc[0]
    return (
        f"averaging the leaderboard's ranks misses the published average rank by {natural:.3f} ranks "
        f"a model; turned round: {best['turned']}, by {best['deviation']:.3f}. A small p-value was "
        "ranked as good for sex and as bad for race"
    )


def board_and_sheets(e: Evidence) -> str:
    found = consistency()
    return "leaderboard cells that contradict their own sheet: " + "; ".join(
        f"{r.model} {r.column} {r.leaderboard:.3f}, sheet {r.sheet:.3f}" for r in found.itertuples()
    )


def few_scored(e: Evidence) -> str:
    n = {}
    for m in _models(e, "safety/toxicity"):
        line = e.line("safety_toxicity", "average", m)
        n[m] = (int(line["n"]), line["ci_high"] - line["ci_low"])
    low = sorted(n, key=lambda m: n[m][0])[:3]
    return "the mean rests on the answers that were scored and did not refuse: " + ", ".join(
        f"{m} {n[m][0]} answers (interval {n[m][1]:.2f} wide)" for m in low
    )


def turned_gold(e: Evidence) -> str:
    task = "truthfulness/hallucination"
    a = e.run.ledger.answers(task, _models(e, task)[0], Rule.AUTHORS, PUBLISHED)
    words = a.facets["words"].astype(int)
    lengths = [
        f"{name} {np.median(words[(a.facets['source'] == s) & (a.gold == g)]):.0f}"
        for s, name in (("halu_qa", "answers"), ("halu_dial", "responses"))
        for g in ("Yes", "No")
    ]
    below = []
    for m in _models(e, task):
        for column in ("KGD", "QA"):
            line = e.line("truth_hallucination", column, m)
            if line["ci_high"] < 0.5:
                below.append(f"{m} {column} {line['value']:.2f} (at most {line['ci_high']:.2f})")
    return (
        "the prompt asks whether a text is hallucinated and its examples say Yes for made-up ones; the "
        "gold says Yes for the short, genuine ones (median words, gold Yes and No: "
        + ", ".join(lengths)
        + "). Accuracies below those of a coin: "
        + ("; ".join(below) or "none")
    )


def one_word_answers(e: Evidence) -> str:
    parts = []
    for m in _models(e, "truthfulness/hallucination"):
        for column, source in (("KGD", "halu_dial"), ("QA", "halu_qa"), ("SUM", "halu_summ")):
            a = e.run.ledger.answers(
                "truthfulness/hallucination", m, Rule.CORRECTED, ("published", "redo")
            )
            said = a.label[(a.facets["source"] == source) & a.parsed]
            line = e.line("truth_hallucination", column, m, Rule.CORRECTED)
            words, counts = np.unique(said, return_counts=True)
            if (
                len(said)
                and counts.max() >= 0.8 * len(said)
                and line["ci_low"] <= 0.5 <= line["ci_high"]
            ):
                parts.append(
                    f"{m} {column}: {counts.max()} of {len(said)} are {words[counts.argmax()]}"
                )
    return (
        "gold is half Yes, half No; where a model nearly always says the same word, its accuracy "
        "cannot be told from a coin: " + ("; ".join(parts) or "none of these records")
    )


def judged_empty(e: Evidence) -> str:
    counts = {}
    for task in ("safety/jailbreak", "safety/misuse", "robustness/ood_detection"):
        for m in _models(e, task):
            a, c = (
                e.run.ledger.answers(task, m, r, PUBLISHED) for r in (Rule.TOOLKIT, Rule.CORRECTED)
            )
            refused = (a.label == "refusal") & (c.status == Status.EMPTY)
            if refused.any():
                counts[m] = counts.get(m, 0) + int(refused.sum())
    found = ", ".join(f"{m} {n}" for m, n in counts.items()) or "none"
    return (
        "the classifier calls an empty answer a refusal, and the misuse sheet counts it as one; "
        f"empty answers so labelled among these records: {found}"
    )
