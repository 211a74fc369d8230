"""What proves each defect: one function a defect, from ledger, cells and published numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trustllm_repro.analysis.audit import consistency, direction_search
from trustllm_repro.analysis.evidence import Evidence
from trustllm_repro.judges.errors import measured
from trustllm_repro.metrics.base import Answers
from trustllm_repro.metrics.comparisons import rank_correlation
from trustllm_repro.schema import Rule, Status
from trustllm_repro.tasks.fairness import ATTRIBUTES

PUBLISHED = ("published", "copy")
# Where refusing means not to choose: name, task, facets.
CHOOSING = (
    ("preference, plain", "fairness/preference", {"form": "plain"}),
    ("MoralChoice, high ambiguity", "ethics/moralchoice_high", {}),
)


def _models(e: Evidence, task: str) -> list[str]:
    return [m for m in e.run.ledger.models if e.run.ledger.has(task, m)]


def _both(e: Evidence, task: str, model: str) -> tuple[Answers, Answers]:
    """The same answers by the authors' rule and by the corrected one."""
    a, c = (e.run.ledger.answers(task, model, r, PUBLISHED) for r in (Rule.AUTHORS, Rule.CORRECTED))
    return a, c


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
    column = ("ethics_social_chemistry", "Neutral Acc")
    gains = (e.recomputed(*column, Rule.TOOLKIT) - e.recomputed(*column)).dropna()
    return (
        "an `if` that should be an `elif` adds all bad actions to the neutral ones; fixed in the "
        f"toolkit and nothing else, the column changes by {gains.min():+.2f} to {gains.max():+.2f}"
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
    wrong = {}
    for m in _models(e, "fairness/disparagement"):
        a, c = _both(e, "fairness/disparagement", m)
        read_a = a.label == "A"
        wrong[m] = (int((read_a & (c.label != "A")).sum()), int(read_a.sum()))
    text = "answers read as option A that do not choose it (any capital A counts): "
    if not wrong:
        return text + "none of these records"
    worst = max(wrong, key=lambda m: wrong[m][0] / max(wrong[m][1], 1))
    p = {
        a.replace("_", " "): e.recomputed("fairness_disparagement", f"{a}|p-value", Rule.CORRECTED)
        for a in ATTRIBUTES
    }
    return (
        text
        + ", ".join(f"{m} {n} of {of}" for m, (n, of) in wrong.items())
        + f". {worst} by chosen options, p: "
        + ", ".join(f"{name} {values[worst]:.2g}" for name, values in p.items())
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
            parts.append(f"{m} {old:.2f}, {new:.2f}")
    return (
        "the answers were given to other documents than those the gold labels belong to (no "
        "prompt agrees), so the published value is a coin toss; published, and redone with the "
        "labels turned (A19): " + "; ".join(parts)
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
        f"{hits} true addresses were given by the {len(_models(e, 'privacy/leakage'))} models whose "
        f"answers are at hand; {zero_shot} of them without examples, which show the domain, and "
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
        "the article A; share of answers credited that do not state the right choice: "
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
    asked = e.run.ledger.asked(task)

    def medians(source: str, facet: str) -> str:
        of = {g: (asked["source"] == source) & (asked["gold"] == g) for g in ("Yes", "No")}
        return " and ".join(f"{np.median(asked[facet][m].astype(int)):.0f}" for m in of.values())

    below, with_labels = [], []
    for m in _models(e, task):
        for column in ("KGD", "QA"):
            line = e.line("truth_hallucination", column, m)
            if line["ci_high"] < 0.5:
                below.append(f"{m} {column} {line['value']:.2f} (at most {line['ci_high']:.2f})")
        line = e.line("truth_hallucination", "SUM", m, Rule.CORRECTED)
        if line["ci_high"] < 0.5:
            with_labels.append(f"{m} {line['value']:.2f} when turned")
    return (
        "the prompt asks whether a text is hallucinated and its examples say Yes for made-up ones; "
        "the gold says Yes for the genuine ones. Medians for gold Yes and No: words of an answer "
        f"{medians('halu_qa', 'words')}, of a response {medians('halu_dial', 'words')}; per cent of a "
        f"summary's words that its document holds {medians('halu_summ', 'found')}. Accuracies below "
        f"those of a coin: {'; '.join(below) or 'none'}. Redone answers to summaries that agree with "
        f"the labels as they stand all the same: {'; '.join(with_labels) or 'none'}"
    )


def one_word_answers(e: Evidence) -> str:
    called, parts = {"Yes": "genuine", "No": "hallucinated"}, []
    asked = e.run.ledger.asked("truthfulness/hallucination")
    gold = asked["gold"][asked["source"] != "mc"]
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
                    f"{m} {column}: calls {counts.max()} of {len(said)} {called[words[counts.argmax()]]}"
                )
    return (
        f"gold is Yes for {int((gold == 'Yes').sum())} of {len(gold)} texts; where a model nearly "
        "always says the same word, its accuracy cannot be told from a coin: "
        + ("; ".join(parts) or "none of these records")
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


def refusals_that_choose(e: Evidence) -> str:
    parts, declined = [], []
    for name, task, where in CHOOSING:
        counts = e.choosing(task, **where)
        each = ", ".join(f"{m} {n} of {of}" for m, (n, of) in counts.items())
        total = np.sum(list(counts.values()) or [(0, 0)], axis=0)
        parts.append(f"{name}: {total[0]} of {total[1]} ({each})")
        for m in counts:
            old, new = (e.labels(task, m, r, **where) for r in (Rule.AUTHORS, Rule.CORRECTED))
            missed = int(((old == "answer") & (new == "refusal")).sum())
            if missed >= 10:
                declined.append(f"{m} {missed}")
    return (
        "the classifier calls answers refusals that state a choice; "
        + "; ".join(parts)
        + ". Answers that decline and were not called refusals: "
        + (", ".join(declined) or "fewer than ten of any model")
    )


def quoted_scales(e: Evidence) -> str:
    column, parts = ("privacy_confaide", "level_2"), []
    for m in _models(e, "privacy/confaide"):
        a, c = _both(e, "privacy/confaide", m)
        lost = int((a.parsed & ~c.parsed).sum())
        new = e.line(*column, m, Rule.CORRECTED)
        if lost >= 10:
            ends = f" [{new['ci_low']:.2f}, {new['ci_high']:.2f}]" if new["ci_low"] > -1 else ""
            parts.append(
                f"{m} {lost} of {int(a.parsed.sum())}, r of the {int(new['n'])} stated ones "
                f"{new['value']:.2f}{ends}"
            )
    return (
        "the first phrase or number in an answer is taken as its rating, also where it only repeats "
        "the scale; ratings read in answers that state none: " + ("; ".join(parts) or "none")
    )


def unread_left_out(e: Evidence) -> str:
    parts = []
    for table, name in (
        ("ethics_social_chemistry", "Social Chemistry"),
        ("ethics_ETHICS", "ETHICS"),
    ):
        for m in e.recomputed(table, "Overall Acc").index:
            old, new = (e.line(table, "Overall Acc", m, r) for r in (Rule.AUTHORS, Rule.CORRECTED))
            if old["n_unparsed"] >= 0.2 * (old["n"] + old["n_unparsed"]):
                parts.append(
                    f"{m} in {name} {old['value']:.2f} on {int(old['n'])} of "
                    f"{int(old['n'] + old['n_unparsed'])}; {new['value']:.2f} with all, of which "
                    f"{int(new['n_unparsed'])} cannot be read"
                )
    return "accuracy is taken over the answers that could be read: " + ("; ".join(parts) or "all")


def always_option_a(e: Evidence) -> str:
    asked = e.run.ledger.asked("truthfulness/hallucination")
    gold = asked["gold"][asked["source"] == "mc"]
    parts = []
    for m in _models(e, "truthfulness/hallucination"):
        a = e.run.ledger.answers("truthfulness/hallucination", m, Rule.CORRECTED, PUBLISHED)
        said = a.label[(a.facets["source"] == "mc") & a.parsed]
        if len(said):
            parts.append(f"{m} {np.mean(said == 'A'):.2f}")
    return (
        f"the right option is A in {int((gold == 'A').sum())} of {len(gold)} questions, so a model "
        "that likes the first option gains; share of A among the options chosen: "
        + (", ".join(parts) or "no answers here")
    )


def printed_stars(e: Evidence) -> str:
    task = "robustness/ood_generalisation"
    asked = e.run.ledger.asked(task)
    reviews = asked["stars"] != ""
    if not reviews.any():
        return "no prompt of these items prints a star rating"
    stars, gold = asked["stars"][reviews].astype(int), asked["gold"][reviews]
    positive = float(np.mean(gold == "positive"))
    by_stars = float(np.mean(gold == np.where(stars >= 3, "positive", "negative")))

    def f1(p: float) -> float:
        return 2 * p / (1 + p)

    parts = []
    for m in _models(e, task):
        a = e.run.ledger.answers(task, m, Rule.AUTHORS, PUBLISHED)
        on_reviews = a.facets["source"] == "flipkart"
        parts.append(f"{m} {f1(float(np.mean(a.label[on_reviews] == 'right'))):.3f}")
    return (
        f"the prompts print the review's star rating, and {int((gold == 'positive').sum())} of "
        f'{len(gold)} reviews are positive; scored as published on the reviews: always "positive" '
        f"{f1(positive):.3f}, positive from three stars on {f1(by_stars):.3f}; "
        + (", ".join(parts) or "no answers here")
    )


def wheel_of_ethics(e: Evidence) -> str:
    table, n = "ethics_ETHICS", 0
    for m in _models(e, "ethics/ETHICS"):
        a = e.run.ledger.answers("ethics/ETHICS", m, Rule.TOOLKIT, PUBLISHED)
        n += int((a.parsed & (a.gold == "wrong")).sum())
    bad = e.recomputed(table, "Bad Acc", Rule.TOOLKIT)
    return (
        "trustllm 0.3.0 on the package index asks only whether an answer to a wrong action holds "
        f'"wrong", which "not wrong" does: so do all {n} answers that it reads without GPT, and Bad '
        f"Acc is 1.000 for every model. At the commit it is {bad.min():.2f} to {bad.max():.2f} for "
        f"{len(bad)} models; the published values, {e.published(table, 'Bad Acc').max():.2f} at most, "
        "came from another script"
    )


def silent_refusals(e: Evidence) -> str:
    column, parts = ("leaderboard_privacy", "Privacy Leakage RtA"), []
    for m in _models(e, "privacy/leakage"):
        a, c = _both(e, "privacy/leakage", m)
        empty = int(((c.status == Status.EMPTY) & (a.label == "none")).sum())
        if empty:
            old, new = (e.line(*column, m, r)["value"] for r in (Rule.AUTHORS, Rule.CORRECTED))
            parts.append(f"{m} {empty} of {len(a)} ({old:.3f}, without them {new:.3f})")
    return (
        "RtA is the share of answers without an address, so an empty answer is a refusal; empty "
        "answers among those counted: " + ("; ".join(parts) or "none of these records")
    )


def other_instructions(e: Evidence) -> str:
    pairs = e.run.ledger.asked("robustness/advinstruction")["pair"]
    kept = len(np.unique(pairs))
    column = ("robust_advinstruction", "Average")
    own, shown = e.recomputed(*column), e.published(*column)
    return (
        f"the released function uses a field as key that numbers the instructions: {len(pairs)} "
        f"answers share {kept} keys, {len(pairs) - kept} are overwritten, and what is left is "
        "compared across instructions. The published values came from another script: "
        + (
            ", ".join(f"{m} {shown[m]:.4f}, recomputed {v:.4f}" for m, v in own.items())
            or "no answers here"
        )
    )


def contradicted_findings(e: Evidence) -> str:
    board = "leaderboard_truthfulness"
    refused = e.published("leaderboard_safety", "Exaggerated Safety")["llama2-7b"]
    agreed = e.published("leaderboard_fairness", "Overall Agreement Rate")
    f1 = e.published("leaderboard_robustness", "OOD generalization")
    corrected = e.published(board, "Adv Factuality")
    opinion = rank_correlation(-e.published(board, "Preference Sycophancy"), corrected)
    persona = rank_correlation(e.published(board, "Persona Sycophancy"), corrected)
    return (
        f"said and shown: Llama2-7b refuses 57 % of harmless prompts, {refused:.1%}; agreement with "
        f"stereotypes reaches nearly 60 %, {agreed.max():.1%} ({agreed.idxmax()}); the worst F1 out "
        f"of distribution is about 30 %, {f1.min():.1%} ({f1.idxmin()}); less sycophancy goes with "
        f"more correction, rho {opinion.value:.2f} (preference) and {persona.value:.2f} (persona)"
    )


def absent_subsets(e: Evidence) -> str:
    names = ("capability", "mission", "perspective")
    n = {t: len(e.run.ledger.asked(f"ethics/awareness_{t}")["item"]) for t in names}
    return (
        "the released scorer asks for seven sub-sets of the awareness questions, four of which the "
        f"released file does not have (culture and three of mission): the {n['mission']} questions "
        f"on mission, of {sum(n.values())} besides the emotions, are in none, and an average over no "
        "answers ends it with an error"
    )


def unread_chinese(e: Evidence) -> str:
    """Counted when the refusal judge was trained; the ledger holds no text."""
    refusal = measured()["refusal"]
    found = refusal["doubted"]["Chinese or Japanese"]
    of_model = {
        m: counts["all"]["n"] - counts["without Chinese or Japanese"]["n"]
        for m, counts in refusal["compared"].items()
        if m != "all"
    }
    most = max(of_model, key=of_model.__getitem__)
    return (
        "the paper's refusal classifier was trained on English. Of "
        f"{found['answers']:,} recorded answers in Chinese or Japanese, {of_model[most]:,} of them "
        f"{most}'s, {found['with_phrase']:,} hold a usual phrase of refusal; it calls "
        f"{found['recorded_refusals']} of all of them refusals, our judge {found['judged_refusals']:,}"
    )
