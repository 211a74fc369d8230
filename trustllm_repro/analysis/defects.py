"""The defects found so far, each with the function that proves it from answers and numbers.

Adding one: a function of the evidence with `@defect` in front. Its docstring is the defect's title.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from trustllm_repro.analysis.compare import (
    AGREEMENT,
    CODAH,
    CONFAIDE,
    EMOTION,
    EXAGGERATED,
    LOWER,
    OOD,
    Evidence,
    Where,
    board,
    consistency,
    direction_search,
    known_dimension,
    listed,
)
from trustllm_repro.data.published import MODELS, published
from trustllm_repro.judges.registry import measured
from trustllm_repro.schema import Rule, Status
from trustllm_repro.scoring.run import Run
from trustllm_repro.tasks.fairness import ATTRIBUTES

MORAL_HIGH = ("ethics_moralchoice_high", "RtA")
LEAKAGE, HALLUCINATION = "privacy/leakage", "truthfulness/hallucination"
# Where refusing means not to choose: name, task, form of the prompt.
CHOOSING = (
    ("preference, plain", "fairness/preference", "plain"),
    ("MoralChoice, high ambiguity", "ethics/moralchoice_high", ""),
)


class Defect(NamedTuple):
    """What is wrong, what proves it, and the columns it touches."""

    id: str
    dimension: str
    defect: str
    evidence: Callable[[Evidence], str]
    listed_before: bool  # in the project's first inventory of the records
    columns: tuple[Where, ...]


DEFECTS: dict[str, Defect] = {}


def defect(
    id_: str, dimension: str, *columns: Where, known: bool = False
) -> Callable[[Callable[[Evidence], str]], Callable[[Evidence], str]]:
    """Register a function as the evidence of a defect; its docstring is the title."""

    def register(evidence: Callable[[Evidence], str]) -> Callable[[Evidence], str]:
        title = (evidence.__doc__ or id_).removesuffix(".")
        DEFECTS[id_] = Defect(id_, dimension, title, evidence, known, columns)
        return evidence

    return register


def defects(run: Run, dimension: str = "") -> pd.DataFrame:
    """Where published numbers of a dimension (all if empty) are not what their caption says.

    Columns: id, dimension, defect, evidence, largest_change (corrected less authors' value),
    models_moved (in rank), listed_before (in a first inventory of the records). Which table and
    column each touches: `before_after`.

    Raises SettingsError: there is no such dimension.
    """
    evidence, changes = Evidence(run), before_after(run)
    chosen = [d for d in DEFECTS.values() if d.dimension.startswith(known_dimension(dimension))]
    frame = pd.DataFrame(chosen).drop(columns="columns")
    frame["evidence"] = [d.evidence(evidence) for d in chosen]
    largest = changes.loc[changes["change"].abs().dropna().groupby(changes["id"]).idxmax()]
    moved = changes["model"].where(moved_in_rank(changes)).groupby(changes["id"]).nunique()
    frame.insert(4, "largest_change", frame["id"].map(largest.set_index("id")["change"]))
    frame.insert(5, "models_moved", frame["id"].map(moved))
    return frame


def before_after(run: Run) -> pd.DataFrame:
    """Numbers before and after each defect is corrected, a row a model.

    Columns: id (of the defect), model, table, column, published, authors, corrected, rank_before,
    rank_after (among the models with a value under both rules, not against published values that
    carry the defect), change.
    """
    cell, both = ["table", "column"], ["authors", "corrected"]
    values = run.cells.pivot(index=[*cell, "model"], columns="rule", values="value").reset_index()
    touched = [(d.id, *where) for d in DEFECTS.values() for where in d.columns]
    found = pd.DataFrame(touched, columns=["id", *cell]).merge(values, on=cell)
    found = found.dropna(how="all", subset=both).reset_index(drop=True)
    facts, places = published(), found[["table", "model", "column"]].to_numpy()
    found["published"] = [facts.value(*p) if p[1] in MODELS else math.nan for p in places]
    placed = found[both].mul(np.where(found["column"].isin(LOWER), 1, -1), axis=0).dropna()
    placed = placed.groupby([found[name] for name in ("id", *cell)]).rank(method="min")
    found[["rank_before", "rank_after"]] = placed
    found["change"] = found["corrected"] - found["authors"]
    return found[[
        "id", "model", *cell, "published", *both, "rank_before", "rank_after", "change",
    ]]  # fmt: skip


def moved_in_rank(changes: pd.DataFrame) -> pd.Series:
    """Which rows of `before_after` have another rank afterwards: a mask."""
    before, after = changes["rank_before"], changes["rank_after"]
    return before.notna() & (before != after)


def changed(changes: pd.DataFrame) -> pd.DataFrame:
    """The rows of `before_after` whose number or rank is another one afterwards."""
    return changes[(changes["change"].abs() > 0.0005) | moved_in_rank(changes)]


@defect("A1", "safety", ("safety_misuse", "additional"), *board("safety", "Misuse"), known=True)
def copied_misuse(e: Evidence) -> str:
    """Misuse: Mistral-7b scored on another model's answers."""
    parts = (e.run.answers("safety/misuse", Rule.AUTHORS, (n,)) for n in ("copy", "own"))
    copy, own = ((p["label"] == "refusal").groupby(p["model"]).agg(["size", "mean"]) for p in parts)
    form = (
        ": {size} published answers are another model's word for word; its own ({size_own:.0f} "
        "answers, another commit) refuse {mean_own:.3f} instead of {mean:.3f}"
    )
    return listed(copy.join(own.add_suffix("_own")), form, "; ")


@defect("A2", "truthfulness", CODAH, known=True)
def codah_numbering(e: Evidence) -> str:
    """CODAH: options from 1 against gold from 0."""
    answers = e.run.answers("truthfulness/internal", Rule.AUTHORS)
    read = (answers["status"] == Status.PARSED) & (answers["source"] == "codah")
    counts = read.groupby(answers["model"]).sum()
    return (
        "the records number options from 1, the gold file from 0; besides, a number found in "
        "longer text is stored as an integer and never equals the gold string. Answers of 100 that "
        f"could count at all: {listed(counts, ' {}')}"
    )


@defect("A3", "safety", ("safety_jailbreak", "jailbreak"), ("safety_jailbreak", "toxicity"))
def exchanged_jailbreak(e: Evidence) -> str:
    """Jailbreak: two columns exchanged for the first models."""
    tasks = ("safety/jailbreak", "safety/toxicity")
    answers, toxic = (e.run.answers(task, Rule.AUTHORS) for task in tasks)
    own = (answers["source"] == answers["file"]).groupby(answers["model"]).mean()
    sources = sorted(toxic.loc[toxic["status"] == Status.PARSED, "source"].unique())
    return (
        f"by prompt, the files QBB and ITC of {(own < 0.5).sum()} models hold the other half's "
        f"prompts, those of {', '.join(own.index[own >= 0.5]) or 'no model'} do not; the columns "
        "jailbreak and toxicity therefore compare different prompts. The toxicity scores, said to "
        f"differ in the same way, all belong to {' and '.join(sources)} prompts"
    )


@defect("A4", "ethics", *board("ethics", "Social Chemistry 101 Acc"), known=True)
def neutral_denominator(e: Evidence) -> str:
    """Social Chemistry: neutral includes the bad actions."""
    column = ("ethics_social_chemistry", "Neutral Acc")
    gains = e.change(*column, Rule.TOOLKIT)
    return (
        "an `if` that should be an `elif` adds all bad actions to the neutral ones; fixed in the "
        f"toolkit and nothing else, the column changes by {gains.min():+.2f} to {gains.max():+.2f}"
    )


@defect("A5", "ethics", EMOTION, known=True)
def bare_numbers(e: Evidence) -> str:
    """Emotional awareness: two scripts, two rules."""
    gain = e.change("ethics_emotional_awareness", "Acc", Rule.TOOLKIT).sort_values()[::-1]
    return (
        "the first script compares the wrong field and so never credits a bare option number, the "
        f"late one does; credited for all: {listed(gain.head(3), ' {:+.3f}')}"
    )


@defect("A6", "ethics", known=True)
def length_rule(e: Evidence) -> str:
    """MoralChoice, high ambiguity: unpublished length rule."""
    values = e.rules(*MORAL_HIGH).dropna(subset="authors")
    return (
        "only answers of more than five characters can be refusals, a rule stated nowhere: "
        + listed(values, " {authors:.3f} with it, {toolkit:.3f} without", "; ")
    )


@defect("A7", "fairness", *board("fairness", "Disparagement Sex", "Disparagement Race"), known=True)
def capital_a(e: Evidence) -> str:
    """Disparagement: any capital A is option A."""
    text = "answers read as option A that do not choose it (any capital A counts): "
    read = e.readings("fairness/disparagement").query("label == 'A'")
    if read.empty:
        return text + "none of these records"
    wrong = (read["label_then"] != "A").groupby(read["model"]).agg(["sum", "size", "mean"])
    worst = wrong["mean"].idxmax()
    columns = {a.replace("_", " "): ("fairness_disparagement", f"{a}|p-value") for a in ATTRIBUTES}
    p = {name: e.recomputed(*c, Rule.CORRECTED)[worst] for name, c in columns.items()}
    return f"{text}{listed(wrong, ' {sum} of {size}')}. {worst} by chosen options, p: " + listed(
        pd.Series(p), " {:.2g}"
    )


@defect("A8", "truthfulness", *board("truthfulness", "External"), known=True)
def parsed_only(e: Evidence) -> str:
    """External: unparsed answers left out of F1."""
    part = e.run.cells.query("table == 'truth_external' and rule == 'authors' and value.notna()")
    worst = part.loc[part["n_unparsed"].idxmax()]
    return (
        f"F1 is taken over the answers that could be read; of {worst['model']} in {worst['column']} "
        f"that leaves out {int(worst['n_unparsed'])} of 100"
    )


@defect("A9", "truthfulness", ("truth_hallucination", "SUM"), known=True)
def other_summaries(e: Evidence) -> str:
    """Hallucination SUM: answers and gold of different documents."""
    redone = e.run.answers(HALLUCINATION, Rule.AUTHORS, ("redo",))["model"].unique()
    values = e.rules("truth_hallucination", "SUM").loc[redone]
    return (
        "the answers were given to other documents than those the gold labels belong to (no "
        "prompt agrees), so the published value is a coin toss; published, and redone with the "
        "labels turned (A19): " + listed(values, " {authors:.2f}, {corrected:.2f}", "; ")
    )


@defect("A10", "robustness", OOD)
def ood_f1(e: Evidence) -> str:
    """OOD generalisation: F1 that cannot miss."""
    values, f = e.rules(*OOD).dropna(subset="authors"), e.published(*OOD)
    return (
        "f1_score gets the verdicts as truth and the constant 'correct' as prediction, so it is "
        f"2p/(1+p) of the accuracy p; every published value is too high, by up to "
        f"{(f - f / (2 - f)).max():.2f}. "
        + listed(values, " {authors:.3f}, accuracy {corrected:.3f}")
    )


@defect("A11", "privacy", *board("privacy", "Privacy Awareness Correlation"), known=True)
def dropped_zeros(e: Evidence) -> str:
    """ConfAIde: ratings of zero dropped."""
    answers = e.run.answers("privacy/confaide", Rule.AUTHORS)
    counts = pd.crosstab(answers["model"], answers["status"]).sort_values("parsed", kind="stable")
    return (
        "a rating of 0 is false in Python and is dropped; what the correlation rests on: "
        + listed(counts.head(3), " {parsed} of 196 answers ({dropped} zeros)", "; ")
    )


@defect("A12", "privacy", *board("privacy", "Privacy Leakage CD"))
def empty_cells(e: Evidence) -> str:
    """Leakage CD: empty cells count as zero."""
    answers = e.run.answers(LEAKAGE, Rule.AUTHORS)
    shown = answers["label"].isin(["true", "other"])
    sizes = shown.groupby([answers[n] for n in ("model", "shots", "template")]).sum()
    return (
        f"CD is a share of the answers that show an address; {(sizes == 0).sum()} of {len(sizes)} "
        f"cells have none and count as 0, {(sizes < 10).sum()} rest on fewer than ten, and all weigh "
        "the same in the mean"
    )


@defect("A13", "privacy")
def guessed_addresses(e: Evidence) -> str:
    """Leakage TD: true addresses that can be guessed."""
    hits, zero_shot, unguessable = e.leaked()
    kinds = e.run.ledger.asked(LEAKAGE)["address"]
    return (
        f"{hits} true addresses were given by the {e.run.answers(LEAKAGE)['model'].nunique()} models whose "
        f"answers are at hand; {zero_shot} of them without examples, which show the domain, and "
        f"{unguessable} whose local part is not a plain form of the name, although "
        f"{int((kinds == 'other').sum())} of {len(kinds)} addresses are of that kind. TD measures "
        "guessing a shown pattern, not memory"
    )


@defect("A14", "ethics", *board("ethics", "MoralChoice Acc"))
def both_letters(e: Evidence) -> str:
    """MoralChoice: answers naming both options are right."""
    read = e.readings("ethics/moralchoice_low")
    credited = (read["label"] == "right") & (read["label_then"] != "right")
    shares = credited.groupby(read["model"]).mean().sort_values(ascending=False, kind="stable")
    return (
        "an answer counts as right if the letter stands anywhere, also beside the other one or as "
        "the article A; share of answers credited that do not state the right choice: "
        + listed(shares.head(3), " {:.2f}")
    )


@defect("A15", "overall")
def backward_rank(e: Evidence) -> str:
    """Average rank: one p-value ranked backwards."""
    found = direction_search()
    natural, best = found.set_index("turned").loc["none", "deviation"], found.iloc[0]
    return (
        f"averaging the leaderboard's ranks misses the published average rank by {natural:.3f} ranks "
        f"a model; turned round: {best['turned']}, by {best['deviation']:.3f}. A small p-value was "
        "ranked as good for sex and as bad for race"
    )


@defect("A16", "overall")
def board_and_sheets(e: Evidence) -> str:
    """Leaderboard and sheets disagree."""
    form = " {column} {leaderboard:.3f}, sheet {sheet:.3f}"
    cells = listed(consistency().set_index("model"), form, "; ")
    return f"leaderboard cells that contradict their own sheet: {cells}"


@defect("A17", "safety", known=True)
def few_scored(e: Evidence) -> str:
    """Toxicity: means over few answers."""
    few = e.cells("safety_toxicity", "average").sort_values(["n", "model"]).head(3)
    few = few.assign(width=few["ci_high"] - few["ci_low"])
    return "the mean rests on the answers that were scored and did not refuse: " + listed(
        few, " {n} answers (interval {width:.2f} wide)"
    )


@defect("A18", "safety", known=True)
def judged_empty(e: Evidence) -> str:
    """Misuse: empty answers counted as refusals."""
    tasks = ("safety/jailbreak", "safety/misuse", "robustness/ood_detection")
    read = pd.concat([e.readings(t, Rule.TOOLKIT) for t in tasks])
    refused = read[(read["label"] == "refusal") & (read["status_then"] == Status.EMPTY)]
    counts = refused["model"].value_counts(sort=False)
    return (
        "the classifier calls an empty answer a refusal, and the misuse sheet counts it as one; "
        "empty answers so labelled among these records: " + listed(counts, " {}")
    )


@defect("A19", "truthfulness", *(("truth_hallucination", c) for c in ("KGD", "QA", "SUM")))
def turned_gold(e: Evidence) -> str:
    """Hallucination: gold labels answer the opposite question."""
    asked = e.run.ledger.asked(HALLUCINATION)

    def medians(source: str, facet: str) -> str:
        part = asked[asked["source"] == source].astype({facet: int})
        found = part.groupby("gold")[facet].median()
        return f"{found['Yes']:.0f} and {found['No']:.0f}"

    low = e.run.cells.query("table == 'truth_hallucination' and ci_high < 0.5")
    low = low.set_index(["model", "column"]).sort_index()
    below = low.query("rule == 'authors' and column in ['KGD', 'QA']")
    turned = low.query("rule == 'corrected' and column == 'SUM'").droplevel("column")
    return (
        "the prompt asks whether a text is hallucinated and its examples say Yes for made-up ones; "
        "the gold says Yes for the genuine ones. Medians for gold Yes and No: words of an answer "
        f"{medians('halu_qa', 'words')}, of a response {medians('halu_dial', 'words')}; per cent of a "
        f"summary's words that its document holds {medians('halu_summ', 'found')}. Accuracies below "
        f"those of a coin: {listed(below, ' {value:.2f} (at most {ci_high:.2f})', '; ')}. Redone "
        "answers to summaries that agree with the labels as they stand all the same: "
        + listed(turned, " {value:.2f} when turned", "; ")
    )


@defect("A20", "truthfulness")
def one_word_answers(e: Evidence) -> str:
    """Hallucination: accuracy of a constant answer."""
    asked = e.run.ledger.asked(HALLUCINATION)
    gold = asked["gold"][asked["source"] != "mc"]
    answers = e.run.answers(HALLUCINATION)
    answers = answers[answers["status"] == Status.PARSED]
    columns = answers["source"].map({"halu_dial": "KGD", "halu_qa": "QA", "halu_summ": "SUM"})
    said = pd.crosstab([answers["model"], columns.rename("column")], answers["label"])
    called = said.idxmax(axis=1).map({"Yes": "genuine", "No": "hallucinated"})
    said = said.assign(most=said.max(axis=1), of=said.sum(axis=1), called=called)
    cells = e.run.cells.query("table == 'truth_hallucination' and rule == 'corrected'")
    same = said.join(cells.set_index(["model", "column"]))
    same = same.query("most >= 0.8 * of and ci_low <= 0.5 <= ci_high")
    return (
        f"gold is Yes for {int((gold == 'Yes').sum())} of {len(gold)} texts; where a model nearly "
        "always says the same word, its accuracy cannot be told from a coin: "
        + listed(same, ": calls {most} of {of} {called}", "; ")
    )


@defect("A21", "fairness", ("fairness_preference_plain", "total"), MORAL_HIGH)
def refusals_that_choose(e: Evidence) -> str:
    """Preference, MoralChoice: refusals that choose."""
    parts, declined = [], []
    for name, task, form in CHOOSING:
        counts = e.choosing(task, form)
        each, total = listed(counts, " {chosen} of {refused}"), counts.sum()
        parts.append(f"{name}: {total['chosen']} of {total['refused']} ({each})")
        declined.append(counts["declined"])
    many = pd.concat(declined)
    return (
        f"the classifier calls answers refusals that state a choice; {'; '.join(parts)}. Answers that "
        "decline and were not called refusals: " + listed(many[many >= 10], " {}")
    )


@defect("A22", "privacy", CONFAIDE)
def quoted_scales(e: Evidence) -> str:
    """ConfAIde: ratings read in a repeated scale."""
    read = e.readings("privacy/confaide").query("status == 'parsed'")
    lost = (read["status_then"] != Status.PARSED).groupby(read["model"]).agg(["sum", "size"])
    found = lost[lost["sum"] >= 10].join(e.cells(*CONFAIDE, Rule.CORRECTED))
    ends = found[["ci_low", "ci_high"]].to_numpy()
    found["ends"] = [f" [{low:.2f}, {high:.2f}]" if low > -1 else "" for low, high in ends]
    form = " {sum} of {size}, r of the {n:.0f} stated ones {value:.2f}{ends}"
    return (
        "the first phrase or number in an answer is taken as its rating, also where it only repeats "
        f"the scale; ratings read in answers that state none: {listed(found, form, '; ')}"
    )


@defect("A23", "ethics", *board("ethics", "Social Chemistry 101 Acc", "ETHICS Acc"))
def unparsed_left_out(e: Evidence) -> str:
    """Social Chemistry, ETHICS: unparsed answers left out."""
    parts = []
    tables = {"ethics_social_chemistry": "Social Chemistry", "ethics_ETHICS": "ETHICS"}
    for table, name in tables.items():
        column = (table, "Overall Acc")
        both = e.cells(*column).join(e.cells(*column, Rule.CORRECTED).add_suffix("_new"))
        parts.append(both.assign(name=name, asked=both["n"] + both["n_unparsed"]))
    found = pd.concat(parts).query("n_unparsed >= 0.2 * asked")
    form = (
        " in {name} {value:.2f} on {n} of {asked}; {value_new:.2f} with all, of which "
        "{n_unparsed_new:.0f} cannot be read"
    )
    return f"accuracy is taken over the answers that could be read: {listed(found, form, '; ')}"


@defect("A24", "truthfulness")
def always_option_a(e: Evidence) -> str:
    """TruthfulQA: the right option is always A."""
    asked = e.run.ledger.asked(HALLUCINATION)
    gold = asked["gold"][asked["source"] == "mc"]
    said = e.run.answers(HALLUCINATION).query("source == 'mc' and status == 'parsed'")
    shares = (said["label"] == "A").groupby(said["model"]).mean()
    return (
        f"the right option is A in {int((gold == 'A').sum())} of {len(gold)} questions, so a model "
        "that likes the first option gains; share of A among the options chosen: "
        + listed(shares, " {:.2f}")
    )


@defect("A25", "robustness")
def printed_stars(e: Evidence) -> str:
    """OOD reviews: the prompt prints the rating."""
    task = "robustness/ood_generalisation"
    reviews = e.run.ledger.asked(task).query("stars != ''")
    if reviews.empty:
        return "no prompt of these items prints a star rating"
    positive = reviews["gold"] == "positive"
    starred = np.where(reviews["stars"].astype(int) >= 3, "positive", "negative")
    by_stars = reviews["gold"] == starred

    answers = e.run.answers(task, Rule.AUTHORS).query("source == 'flipkart'")
    right = (answers["label"] == "right").groupby(answers["model"]).mean()
    f1 = {n: 2 * p / (1 + p) for n, p in (("all", positive.mean()), ("stars", by_stars.mean()))}
    return (
        f"the prompts print the review's star rating, and {positive.sum()} of {len(reviews)} reviews "
        'are positive; scored as published on the reviews: always "positive" '
        f"{f1['all']:.3f}, positive from three stars on {f1['stars']:.3f}; "
        + listed(2 * right / (1 + right), " {:.3f}")
    )


@defect("A26", "ethics")
def wheel_of_ethics(e: Evidence) -> str:
    """Released wheel, ETHICS: “not wrong” is “wrong”."""
    answers = e.run.answers("ethics/ETHICS", Rule.TOOLKIT)
    n = len(answers.query("status == 'parsed' and gold == 'wrong'"))
    column = ("ethics_ETHICS", "Bad Acc")
    bad = e.recomputed(*column, Rule.TOOLKIT)
    return (
        "trustllm 0.3.0 on the package index asks only whether an answer to a wrong action holds "
        f'"wrong", which "not wrong" does: so do all {n} answers that it reads without GPT, and Bad '
        f"Acc is 1.000 for every model. At the commit it is {bad.min():.2f} to {bad.max():.2f} for "
        f"{len(bad)} models; the published values, {e.published(*column).max():.2f} at most, "
        "came from another script"
    )


@defect("A27", "privacy")
def silent_refusals(e: Evidence) -> str:
    """Leakage RtA: empty answers are refusals."""
    column = ("leaderboard_privacy", "Privacy Leakage RtA")
    read = e.readings(LEAKAGE)
    empty = (read["status_then"] == Status.EMPTY) & (read["label"] == "none")
    counts = empty.groupby(read["model"]).agg(["sum", "size"])
    found = counts[counts["sum"] > 0].join(e.rules(*column))
    form = " {sum} of {size} ({authors:.3f}, without them {corrected:.3f})"
    return (
        "RtA is the share of answers without an address, so an empty answer is a refusal; empty "
        f"answers among those counted: {listed(found, form, '; ')}"
    )


@defect("A28", "robustness")
def other_instructions(e: Evidence) -> str:
    """Released AdvInstruction compares other instructions."""
    pairs = e.run.ledger.asked("robustness/advinstruction")["pair"]
    kept = len(np.unique(pairs))
    column = ("robust_advinstruction", "Average")
    values = e.rules(*column).dropna(subset="authors")
    return (
        f"the released function uses a field as key that numbers the instructions: {len(pairs)} "
        f"answers share {kept} keys, {len(pairs) - kept} are overwritten, and what is left is "
        "compared across instructions. The published values came from another script: "
        + listed(values, " {published:.4f}, recomputed {authors:.4f}")
    )


@defect("A29", "overall")
def contradicted_findings(e: Evidence) -> str:
    """Findings that the leaderboard contradicts."""
    refused, agreed = e.published(*EXAGGERATED)["llama2-7b"], e.published(*AGREEMENT)
    f1 = e.published(*OOD)
    names = ("Preference Sycophancy", "Persona Sycophancy", "Adv Factuality")
    *kinds, corrected = (e.published(*c) for c in board("truthfulness", *names))
    opinion, persona = (stats.spearmanr(kind, corrected).statistic for kind in kinds)
    return (
        f"said and shown: Llama2-7b refuses 57 % of harmless prompts, {refused:.1%}; agreement with "
        f"stereotypes reaches nearly 60 %, {agreed.max():.1%} ({agreed.idxmax()}); the worst F1 out "
        f"of distribution is about 30 %, {f1.min():.1%} ({f1.idxmin()}); less sycophancy goes with "
        f"more correction, rho {-opinion:.2f} (preference) and {persona:.2f} (persona)"
    )


@defect("A30", "ethics")
def absent_subsets(e: Evidence) -> str:
    """Released awareness scorer: sub-sets nobody has."""
    names = ("capability", "mission", "perspective")
    n = {t: len(e.run.ledger.asked(f"ethics/awareness_{t}")) for t in names}
    return (
        "the released scorer asks for seven sub-sets of the awareness questions, four of which the "
        f"released file does not have (culture and three of mission): the {n['mission']} questions "
        f"on mission, of {sum(n.values())} besides the emotions, are in none, and an average over no "
        "answers ends it with an error"
    )


@defect("A31", "safety")
def chinese_refusals(e: Evidence) -> str:
    """Refusals in Chinese counted as answers."""
    refusal = measured()["refusal"]  # counted when the judge was trained; the ledger holds no text
    found = refusal["doubted"]["Chinese or Japanese"]
    compared = pd.DataFrame(refusal["compared"]).drop(columns="all")
    n = compared.loc[["all", "without Chinese or Japanese"]].map(lambda counts: counts["n"])
    of_model = n.iloc[0] - n.iloc[1]
    most = of_model.idxmax()
    return (
        "the paper's refusal classifier was trained on English. Of "
        f"{found['answers']:,} recorded answers in Chinese or Japanese, {of_model[most]:,} of them "
        f"{most}'s, {found['with_phrase']:,} hold a usual phrase of refusal; it calls "
        f"{found['recorded_refusals']} of all of them refusals, our judge {found['judged_refusals']:,}"
    )
