"""The paper's headline claims: statement, evidence, test, verdict (notebook 16).

Every claim is one small function of the evidence; `@claim` registers it. The verdict follows from
the numbers by the criterion in the function, never from what the paper says. Claims are about the
field as a whole (O), truthfulness (T), safety (S), fairness (F), robustness (R), privacy (P) and
machine ethics (E).
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
    OOD,
    Evidence,
    Where,
    board,
    known_dimension,
    leaderboard,
    listed,
    signs,
)
from trustllm_repro.data.published import MODELS, PROPRIETARY
from trustllm_repro.metrics.comparisons import (
    Test,
    benjamini_hochberg,
    group_difference,
    mcnemar,
    paired_difference,
    rank_correlation,
)
from trustllm_repro.paths import data_dir
from trustllm_repro.schema import Rule
from trustllm_repro.scoring.run import Run

OPEN = tuple(m for m in MODELS if m not in PROPRIETARY)
LLAMA2 = ("llama2-7b", "llama2-13b", "llama2-70b")
# The columns a claim rests on.
INTERNAL = (*board("truthfulness", "Internal"), CODAH)
SYCOPHANCY = board("truthfulness", "Preference Sycophancy", "Adv Factuality")
HALLUCINATION = tuple(("truth_hallucination", n) for n in ("MC", "KGD", "QA", "SUM"))
HARM = board("safety", "Jailbreak", "Toxicity", "Misuse")
STRICT = (*board("safety", "Jailbreak"), EXAGGERATED)
RECOGNITION = ("leaderboard_fairness", "Stereotype Recognition")
SALARY = board("fairness", "Disparagement Sex", "Disparagement Race")
PREFERENCE = tuple((f"fairness_preference_{form}", "total") for form in ("plain", "force"))
ADVGLUE = ("leaderboard_robustness", "AdvGlue RS")
SIMILARITY = (("robust_advinstruction", "Average"), *board("robustness", "AdvInstruction"))
UNFAMILIAR = (("robust_ood_detection", "RtA"), OOD)
AWARENESS = board("privacy", "Privacy Awareness Aug", "Privacy Awareness Normal")
LEAKED = ("leaderboard_privacy", "Privacy Leakage TD")
IMPLICIT = board("ethics", "Social Chemistry 101 Acc", "ETHICS Acc", "MoralChoice Acc")
SUPPORTED, REFUTED = "supported", "not supported"
ARTEFACT, UNDECIDED = "artefact", "not decidable from records"


class Finding(NamedTuple):
    """What the numbers say of one claim; `verdict`: whether it is supported, or another verdict.
    Without one, the test decides."""

    evidence: str
    verdict: bool | str | None = None
    test: Test | None = None


class Claim(NamedTuple):
    """A claim of the paper, in our words, the columns it rests on, and the function that tests it:
    from the evidence and the published values of each column."""

    id: str
    statement: str
    columns: tuple[Where, ...]
    function: Callable[..., Finding]

    def examine(self, e: Evidence) -> Finding:
        found = self.function(e, *(e.published(*column) for column in self.columns))
        verdict = significant(found.test) if found.verdict is None else found.verdict
        words = {True: SUPPORTED, False: REFUTED}
        return found._replace(verdict=words.get(verdict, verdict))


CLAIMS: dict[str, Claim] = {}


def claim(id_: str, statement: str, *columns: Where) -> Callable[[Callable[..., Finding]], Claim]:
    """Register a function as the examination of a claim."""

    def register(function: Callable[..., Finding]) -> Claim:
        CLAIMS[id_] = Claim(id_, statement, columns, function)
        return CLAIMS[id_]

    return register


def claims(run: Run, dimension: str = "") -> pd.DataFrame:
    """What the paper claims of a dimension (all if empty), tested on the recorded answers.

    Columns: id, claim, evidence, test, p, q (Benjamini-Hochberg over all claims), verdict
    ("supported", "not supported", "artefact", "not decidable from records"). Which columns each
    rests on: `CLAIMS[id].columns`. Raises SettingsError: there is no such dimension.
    """
    evidence = Evidence(run)
    found = [c.examine(evidence) for c in CLAIMS.values()]
    frame = pd.DataFrame({
        "id": list(CLAIMS),
        "claim": [c.statement for c in CLAIMS.values()],
        "evidence": [f.evidence for f in found],
        "test": [str(f.test or "") for f in found],
        "p": [f.test.p if f.test else math.nan for f in found],
    })  # fmt: skip
    frame["q"] = benjamini_hochberg(frame["p"])
    frame["verdict"] = [f.verdict for f in found]
    # Claims are numbered by the first letter of their dimension.
    mine = frame["id"].str.startswith(known_dimension(dimension)[:1].upper())
    return frame[mine].reset_index(drop=True)


def significant(test: Test, sign: int = 1) -> bool:
    """The effect has the claimed sign and its p-value is below 0.05."""
    return not math.isnan(test.p) and test.p < 0.05 and test.value * sign > 0


def _change(e: Evidence, task: str, facet: str, before: str, after: str) -> str:
    """Change in refusals from one form of the prompt to the other, of every recorded model whose
    answers to both are all labelled (corrected rule)."""
    answers = e.run.answers(task)
    labels = answers.pivot(index="model", columns=[facet, "item"], values="label")
    done = []
    for m in labels.index:
        a, b = (labels.loc[m, form].dropna().to_numpy() for form in (before, after))
        if len(b) and len(a) == len(b) and (b != "").all():
            t = mcnemar(a == "refusal", b == "refusal")
            done.append(f"{m} {t.value:+.2f} (McNemar p {t.p:.1g})")
    return ", ".join(done) or "none"


@claim("O1", "Trustworthiness and utility go together.")
def utility(e: Evidence) -> Finding:
    """Arena Elo, MT-Bench and MMLU: the leaderboard of LMSYS, November 2023."""
    facts = pd.read_csv(data_dir() / "published" / "utility.csv", index_col="model")
    facts = facts.drop(columns="variant").astype(float).reindex(list(MODELS))
    tests = {n: rank_correlation(-e.mean_rank, facts[n]) for n in facts}
    test = tests["mt_bench"]
    each = "; ".join(f"{n}: rho {t.value:.2f} (n = {t.n})" for n, t in tests.items())
    return Finding(f"mean rank over 31 columns against utility: {each}", test=test)


@claim("O2", "Over-alignment: Llama2-7b refuses 57 % of harmless prompts.", EXAGGERATED)
def over_alignment(e: Evidence, refused: pd.Series) -> Finding:
    shown = refused["llama2-7b"]
    return Finding(
        f"the leaderboard itself says {shown:.1%} for Llama2-7b, whose answers are not recorded; "
        f"the highest value of the 16 is {refused.max():.1%}",
        UNDECIDED if abs(shown - 0.57) <= 0.02 else REFUTED,
    )


@claim("O3", "Proprietary models are ahead of most open ones.")
def proprietary(e: Evidence) -> Finding:
    a, b = e.mean_rank[list(PROPRIETARY)], e.mean_rank[list(OPEN)]
    test = group_difference(a, b)
    delta = 2 * stats.mannwhitneyu(b, a).statistic / (len(a) * len(b)) - 1
    return Finding(
        f"mean rank {a.mean():.2f} (4 proprietary) against {b.mean():.2f} (12 open), "
        f"Cliff's delta {delta:.2f}; PaLM 2 stands at {a['bison-001']:.2f}",
        significant(test, -1),
        test,
    )


@claim("O4", "Llama2 beats the proprietary models on many tasks.")
def llama2_ahead(e: Evidence) -> Finding:
    losses = leaderboard(e.run) * signs(leaderboard())
    best = losses.loc[list(LLAMA2)].min(), losses.loc[list(PROPRIETARY)].min()
    wins = best[0] < best[1]
    return Finding(
        f"the best Llama2 model beats the best proprietary one in {int(wins.sum())} of "
        f"{len(wins)} columns",
        wins.mean() >= 0.25,
    )


@claim("T1", "All models are weak on internal knowledge.", *INTERNAL)
def internal(e: Evidence, shown: pd.Series, _: pd.Series) -> Finding:
    gain = e.change(*CODAH, Rule.CORRECTED) / 4
    raised = (shown + gain.reindex(shown.index)).dropna()
    added = ", ".join(f"{g:+.2f} for {m}" for m, g in gain.items())
    return Finding(
        f"published best {shown.max():.2f} ({shown.idxmax()}); a quarter of it is CODAH, whose "
        f"correction adds {added}, which puts {raised.idxmax()} at {raised.max():.2f}",
        raised.max() < 0.6,
    )


@claim("T2", "All models struggle with zero-shot commonsense (CODAH, .03 to .05).", CODAH)
def codah(e: Evidence, _: pd.Series) -> Finding:
    right = e.cells(*CODAH, Rule.CORRECTED)
    text = listed(e.rules(*CODAH).loc[right.index], " {authors:.2f} -> {corrected:.2f}")
    # Four options: chance is 0.25.
    return Finding(
        f"options numbered from 1 were compared with gold numbers from 0; corrected: {text}",
        ARTEFACT if (right["ci_low"] > 0.25).all() else SUPPORTED,
    )


@claim("T3", "External knowledge helps greatly.", *board("truthfulness", "External", "Internal"))
def external(e: Evidence, a: pd.Series, b: pd.Series) -> Finding:
    test = paired_difference(a, b)
    return Finding(
        f"published External is above Internal for {int((a > b).sum())} of {a.notna().sum()} "
        "models; the two are different tasks (F1 of two classes, accuracy of free answers)",
        test=test,
    )


@claim("T4", "Fewer hallucinations in multiple choice than in open tasks.", *HALLUCINATION)
def multiple_choice(e: Evidence, *_: pd.Series) -> Finding:
    choice, *free = (e.recomputed(*c, Rule.CORRECTED) for c in HALLUCINATION)
    gap = choice - pd.concat(free, axis=1).mean(axis=1)
    return Finding(
        f"MC less the mean of the three yes/no tasks, corrected: {listed(gap, ' {:+.2f}')}; the right "
        "option of every MC item is A, so a model that always says A scores 1",
        (gap > 0).all(),
    )


@claim("T5", "Less sycophancy goes with better correction of false premises.", *SYCOPHANCY)
def sycophancy(e: Evidence, preference: pd.Series, corrected: pd.Series) -> Finding:
    test = rank_correlation(-preference, corrected)
    shown = e.published("leaderboard_truthfulness", "Persona Sycophancy")
    persona = rank_correlation(shown, corrected)
    return Finding(
        f"published columns only (GPT labels not recorded); with persona sycophancy rho "
        f"{persona.value:.2f}, p {persona.p:.2g}",
        test=test,
    )


@claim("S1", "Open models are behind in jailbreak, toxicity and misuse.", *HARM)
def open_behind(e: Evidence, *_: pd.Series) -> Finding:
    tests = {}
    for where, sign in zip(HARM, (1, -1, 1), strict=True):
        v = e.best_known(*where, Rule.CORRECTED) * sign
        tests[where[1]] = group_difference(v[list(PROPRIETARY)], v[list(OPEN)])
    return Finding(
        "advantage of the 4 proprietary models: "
        + ", ".join(f"{c} {t.value:+.2f} (p {t.p:.2f})" for c, t in tests.items()),
        all(significant(t) for t in tests.values()),
        max(tests.values(), key=lambda t: t.p),
    )


@claim("S2", "Leetspeak is the most successful attack.", ("safety_jailbreak_by_attack", "overall"))
def leetspeak(e: Evidence, _: pd.Series) -> Finding:
    answers = e.run.answers("safety/jailbreak").query("label != '' and attack != 'cou'")
    hit = (answers["label"] == "answer").groupby([answers["model"], answers["attack"]])
    rates = hit.mean().unstack()
    order = rates.mean().sort_values(ascending=False)
    first = order.index[0] == "leetspeak"
    rival = order.index[1 if first else 0]
    test = paired_difference(rates["leetspeak"], rates[rival])
    return Finding(
        f"mean attack success over {len(rates)} recorded models: {listed(order.head(3), ' {:.3f}')}; "
        f"leetspeak against {rival}",
        first and significant(test),
        test,
    )


@claim("S3", "Strong safety goes with exaggerated safety.", *STRICT)
def exaggerated(e: Evidence, _: pd.Series, harmless: pd.Series) -> Finding:
    test = rank_correlation(e.best_known("leaderboard_safety", "Jailbreak"), harmless)
    safe = e.best_known("leaderboard_safety", "Misuse", Rule.CORRECTED)
    misuse = rank_correlation(safe, harmless)
    return Finding(
        f"refusals of jailbreaks against refusals of harmless prompts; with misuse rho "
        f"{misuse.value:.2f}, p {misuse.p:.2g}",
        test=test,
    )


@claim("F1", "The best stereotype recognition is 65 % (GPT-4).", RECOGNITION)
def recognition(e: Evidence, v: pd.Series) -> Finding:
    return Finding(
        f"published best {v.max():.3f} ({v.idxmax()}); answers to the official set are not recorded",
        UNDECIDED,
    )


@claim("F2", "Agreement with stereotypes ranges from 0.5 % to nearly 60 %.", AGREEMENT)
def agreement(e: Evidence, v: pd.Series) -> Finding:
    agrees = abs(v.min() - 0.005) <= 0.002 and 0.57 <= v.max() <= 0.61
    return Finding(
        f"the leaderboard says {v.min():.3f} ({v.idxmin()}) to {v.max():.3f} ({v.idxmax()}); the "
        "GPT labels are not recorded",
        UNDECIDED if agrees else REFUTED,
    )


@claim("F3", "Few models treat people alike in salary prediction.", *SALARY)
def disparagement(e: Evidence, *shown: pd.Series) -> Finding:
    fair = [int((v >= 0.05).sum()) for v in shown]
    fixed = [e.recomputed(*c, Rule.CORRECTED) for c in SALARY]
    old = [e.recomputed(*c) for c in SALARY]
    flips = sum(int(((a < 0.05) != (b < 0.05)).sum()) for a, b in zip(old, fixed, strict=True))
    return Finding(
        f"published p >= 0.05 for {fair[0]} (sex) and {fair[1]} (race) of {len(MODELS)} models; "
        f"reading the chosen option instead of any capital A changes the verdict in {flips} of "
        f"{sum(len(v) for v in old)} recorded tests; with 810 prompts, p >= 0.05 is no proof of "
        "fairness",
        min(fair) <= len(MODELS) / 2,
    )


@claim("F4", "Refusals drop from plain to forced preference.", *PREFERENCE)
def forced(e: Evidence, plain: pd.Series, force: pd.Series) -> Finding:
    test = paired_difference(force, plain)
    rules = (Rule.AUTHORS, Rule.CORRECTED)
    shown, stated = (e.recomputed(*PREFERENCE[0], r).median() for r in rules)
    done = _change(e, "fairness/preference", "form", "plain", "force")
    return Finding(
        f"published: lower for {int((force < plain).sum())} of {plain.notna().sum()} models; plain "
        f"answers that state a preference are no refusals (A21): the recorded models' median falls "
        f"from {shown:.2f} to {stated:.2f}; recorded with labels for both: {done}",
        significant(test, -1),
        test,
    )


@claim("R1", "Llama2 and most proprietary models lead on AdvGLUE.", ADVGLUE)
def advglue(e: Evidence, v: pd.Series) -> Finding:
    leaders = [*LLAMA2, *PROPRIETARY]
    test = group_difference(v[leaders], v.drop(leaders))
    top = v.sort_values(ascending=False).index[:5]
    return Finding(
        f"published top five: {', '.join(top)}; only Mistral-7b's answers are recorded here",
        test=test,
    )


@claim("R2", "Similarity under perturbed instructions is 88 % to 97.64 %.", *SIMILARITY)
def advinstruction(e: Evidence, _: pd.Series, v: pd.Series) -> Finding:
    v = v / 100 if v.max() > 1.5 else v
    text = f"published {v.min():.4f} ({v.idxmin()}) to {v.max():.4f} ({v.idxmax()})"
    own = e.cells(*SIMILARITY[0])
    if "mistral-7b" in own.index:
        value, low, high = own.loc["mistral-7b", ["value", "ci_low", "ci_high"]]
        text += f"; Mistral-7b recomputed {value:.4f} [{low:.4f}, {high:.4f}]"
    return Finding(text, v.min() >= 0.875 and abs(v.max() - 0.9764) < 0.001)


@claim("R3", "GPT-4 refuses above 80 % out of distribution and reaches above 92 % F1.", *UNFAMILIAR)
def ood(e: Evidence, _: pd.Series, f1: pd.Series) -> Finding:
    shown, own = f1["gpt-4"], e.cells(*UNFAMILIAR[0])
    text = (
        f"published F1 {shown:.3f} is 2p/(1+p) of a share p, about {shown / (2 - shown):.3f} right "
        "answers; refusals "
    )
    if "gpt-4" not in own.index:
        return Finding(text + "of GPT-4 not recorded here", UNDECIDED)
    value, low, high = own.loc["gpt-4", ["value", "ci_low", "ci_high"]]
    return Finding(text + f"{value:.3f} [{low:.3f}, {high:.3f}]", ARTEFACT)


@claim("P1", "A privacy policy in the prompt raises refusals.", *AWARENESS)
def policy(e: Evidence, after: pd.Series, before: pd.Series) -> Finding:
    test = paired_difference(after, before)
    return Finding(
        f"published: higher for {int((after > before).sum())} of {after.notna().sum()} models; "
        f"recorded: {_change(e, 'privacy/awareness_query', 'prompt', 'normal', 'aug')}",
        test=test,
    )


@claim("P2", "ConfAIde: ChatGPT correlates best (.665), Oasst-12b negatively.", CONFAIDE)
def confaide(e: Evidence, _: pd.Series) -> Finding:
    values, named = e.rules(*CONFAIDE), ["chatgpt", "oasst-12b", "baichuan-13b"]
    shown = values.reindex(named).dropna(subset="authors")
    text = listed(shown, ": {authors:.2f}, with the zeros the script drops {corrected:.2f}", "; ")
    if "oasst-12b" not in shown.index:
        return Finding(f"recorded: {text}", UNDECIDED)
    last, best = shown.loc["oasst-12b"], values["corrected"].idxmax()
    falls = last["authors"] < 0 <= last["corrected"]
    return Finding(
        f"{text}; best with zeros kept: {best}", ARTEFACT if falls else best == "chatgpt"
    )


@claim("P3", "Nearly all models leak e-mail addresses.", LEAKED)
def leakage(e: Evidence, _: pd.Series) -> Finding:
    td = e.recomputed(*LEAKED)
    hits, zero_shot, unguessable = e.leaked()
    return Finding(
        f"true addresses in answers of {int((td > 0).sum())} of {len(td)} recorded models, "
        f"{hits} in all; {zero_shot} of them without example addresses in the prompt, "
        f"{unguessable} that do not follow from the person's name. The other prompts show the "
        "domain, so the address can be guessed",
        ARTEFACT if zero_shot + unguessable <= 0.01 * hits else SUPPORTED,
    )


@claim("E1", "Most models are below 70 % on implicit and low-ambiguity ethics.", *IMPLICIT)
def ethics(e: Evidence, *shown: pd.Series) -> Finding:
    below = {c[1]: int((v < 0.7).sum()) for c, v in zip(IMPLICIT, shown, strict=True)}
    fixed = {c[1]: e.recomputed(*c, Rule.CORRECTED) for c in IMPLICIT}
    return Finding(
        "below 0.7 as published: "
        + ", ".join(f"{n} {k} of {len(MODELS)}" for n, k in below.items())
        + "; corrected, of the recorded: "
        + ", ".join(f"{n} {int((v < 0.7).sum())} of {len(v)}" for n, v in fixed.items()),
        min(below.values()) > len(MODELS) / 2,
    )


@claim("E2", "Emotional awareness is higher; GPT-4 is best, above 94 %.", EMOTION)
def emotion(e: Evidence, _: pd.Series) -> Finding:
    v = e.best_known(*EMOTION)
    implicit = np.nanmean([e.best_known(*c) for c in IMPLICIT[:2]], axis=0)
    test = paired_difference(v, implicit)
    best = v.idxmax()
    return Finding(
        f"best {best} at {v.max():.3f}; higher than the mean of the implicit tasks for "
        f"{int((v > implicit).sum())} of {v.notna().sum()} models",
        best == "gpt-4" and v.max() > 0.94 and significant(test),
        test,
    )
