"""The paper's headline claims: statement, evidence, test, verdict (notebook 16).

Every claim is one small function of the evidence; `@claim` registers it. The verdict follows from
the numbers by the criterion in the function, never from what the paper says. Claims are about the
field as a whole (O), truthfulness (T), safety (S), fairness (F), robustness (R), privacy (P) and
machine ethics (E).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trustllm_repro.analysis.evidence import LLAMA2, OPEN, REDONE, Evidence, Where, board
from trustllm_repro.analysis.overview import LOWER, leaderboard
from trustllm_repro.data.published import MODELS, PROPRIETARY
from trustllm_repro.metrics.comparisons import (
    Test,
    cliffs_delta,
    group_difference,
    mcnemar,
    paired_difference,
    rank_correlation,
)
from trustllm_repro.schema import Rule
from trustllm_repro.tasks.safety import ATTACKS

SUPPORTED, REFUTED = "supported", "not supported"
ARTEFACT, UNDECIDED = "artefact", "not decidable from records"


@dataclass(frozen=True)
class Finding:
    """What the numbers say of one claim."""

    evidence: str
    verdict: str
    test: Test | None = None
    cells: tuple[Where, ...] = ()  # the evidence rests on


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, in our words, with the function that puts it to the test."""

    id: str
    statement: str
    examine: Callable[[Evidence], Finding]


CLAIMS: dict[str, Claim] = {}


def claim(id_: str, statement: str) -> Callable[[Callable[[Evidence], Finding]], Claim]:
    """Register a function as the examination of a claim."""

    def register(examine: Callable[[Evidence], Finding]) -> Claim:
        CLAIMS[id_] = Claim(id_, statement, examine)
        return CLAIMS[id_]

    return register


def significant(test: Test, sign: int) -> bool:
    """The effect has the claimed sign and its p-value is below 0.05."""
    return not math.isnan(test.p) and test.p < 0.05 and test.value * sign > 0


def _verdict(supported: bool) -> str:
    return SUPPORTED if supported else REFUTED


def _labels(e: Evidence, task: str, facet: str) -> pd.DataFrame:
    """Labels of a task's answers under the corrected rule: models x (facet value, item)."""
    answers = e.answers(task, Rule.CORRECTED, REDONE)
    return answers.pivot(index="model", columns=[facet, "item"], values="label")


def _change(e: Evidence, task: str, facet: str, before: str, after: str) -> str:
    """Change in refusals from one form of the prompt to the other, of every recorded model whose
    answers to both are all labelled."""
    labels, done = _labels(e, task, facet), []
    for m in labels.index:
        a, b = (labels.loc[m, form].dropna().to_numpy() for form in (before, after))
        if len(b) and len(a) == len(b) and (b != "").all():
            t = mcnemar(a == "refusal", b == "refusal")
            done.append(f"{m} {t.value:+.2f} (McNemar p {t.p:.1g})")
    return ", ".join(done) or "none"


@claim("O1", "Trustworthiness and utility go together.")
def utility(e: Evidence) -> Finding:
    tests = {n: rank_correlation(-e.mean_rank, e.utility[n]) for n in e.utility}
    test = tests["mt_bench"]
    others = "; ".join(f"{n}: rho {t.value:.2f} (n = {t.n})" for n, t in tests.items())
    return Finding(
        f"mean rank over 31 columns against utility: {others}",
        _verdict(significant(test, 1)),
        test,
    )


@claim("O2", "Over-alignment: Llama2-7b refuses 57 % of harmless prompts.")
def over_alignment(e: Evidence) -> Finding:
    column = ("leaderboard_safety", "Exaggerated Safety")
    shown = e.published(*column)["llama2-7b"]
    agrees = abs(shown - 0.57) <= 0.02
    return Finding(
        f"the leaderboard itself says {shown:.1%} for Llama2-7b, whose answers are not recorded; "
        f"the highest value of the 16 is {e.published(*column).max():.1%}",
        UNDECIDED if agrees else REFUTED,
        cells=(column,),
    )


@claim("O3", "Proprietary models are ahead of most open ones.")
def proprietary(e: Evidence) -> Finding:
    a, b = e.mean_rank[list(PROPRIETARY)], e.mean_rank[list(OPEN)]
    test = group_difference(a, b)
    return Finding(
        f"mean rank {a.mean():.2f} (4 proprietary) against {b.mean():.2f} (12 open), "
        f"Cliff's delta {cliffs_delta(b, a):.2f}; PaLM 2 stands at {a['bison-001']:.2f}",
        _verdict(significant(test, -1)),
        test,
    )


@claim("O4", "Llama2 beats the proprietary models on many tasks.")
def llama2_ahead(e: Evidence) -> Finding:
    frame = leaderboard(e.run, Rule.AUTHORS)
    sign = np.array([-1 if c in LOWER else 1 for _, c in frame.columns])
    best = lambda models: (frame.loc[list(models)] * sign).max()  # noqa: E731
    wins = best(LLAMA2) > best(PROPRIETARY)
    return Finding(
        f"the best Llama2 model beats the best proprietary one in {int(wins.sum())} of "
        f"{len(wins)} columns",
        _verdict(wins.sum() >= 0.25 * len(wins)),
    )


@claim("T1", "All models are weak on internal knowledge.")
def internal(e: Evidence) -> Finding:
    column = ("leaderboard_truthfulness", "Internal")
    shown = e.published(*column)
    codah = ("truth_internal", "CODAH")
    gain = (e.recomputed(*codah, Rule.CORRECTED) - e.recomputed(*codah)) / 4
    raised = (shown + gain.reindex(shown.index)).dropna()
    return Finding(
        f"published best {shown.max():.2f} ({shown.idxmax()}); a quarter of it is CODAH, whose "
        "correction adds "
        + ", ".join(f"{g:+.2f} for {m}" for m, g in gain.items())
        + f", which puts {raised.idxmax()} at {raised.max():.2f}",
        _verdict(raised.max() < 0.6),
        cells=(column, codah),
    )


@claim("T2", "All models struggle with zero-shot commonsense (CODAH, .03 to .05).")
def codah(e: Evidence) -> Finding:
    column = ("truth_internal", "CODAH")
    wrong, right = e.recomputed(*column), e.cells(*column, Rule.CORRECTED)
    text = ", ".join(f"{m} {wrong[m]:.2f} -> {v:.2f}" for m, v in right["value"].items())
    # Four options: chance is 0.25.
    return Finding(
        f"options numbered from 1 were compared with gold numbers from 0; corrected: {text}",
        ARTEFACT if (right["ci_low"] > 0.25).all() else SUPPORTED,
        cells=(column,),
    )


@claim("T3", "External knowledge helps greatly.")
def external(e: Evidence) -> Finding:
    columns = board("truthfulness", "External", "Internal")
    a, b = (e.published(*c) for c in columns)
    test = paired_difference(a, b)
    return Finding(
        f"published External is above Internal for {int((a > b).sum())} of {a.notna().sum()} "
        "models; the two are different tasks (F1 of two classes, accuracy of free answers)",
        _verdict(significant(test, 1)),
        test,
        columns,
    )


@claim("T4", "Fewer hallucinations in multiple choice than in open tasks.")
def multiple_choice(e: Evidence) -> Finding:
    columns = [("truth_hallucination", n) for n in ("MC", "KGD", "QA", "SUM")]
    choice, *free = (e.recomputed(*c, Rule.CORRECTED) for c in columns)
    gap = choice - pd.concat(free, axis=1).mean(axis=1)
    return Finding(
        "MC less the mean of the three yes/no tasks, corrected: "
        + ", ".join(f"{m} {g:+.2f}" for m, g in gap.items())
        + "; the right option of every MC item is A, so a model that always says A scores 1",
        _verdict((gap > 0).all()),
        cells=tuple(columns),
    )


@claim("T5", "Less sycophancy goes with better correction of false premises.")
def sycophancy(e: Evidence) -> Finding:
    columns = board("truthfulness", "Preference Sycophancy", "Adv Factuality")
    preference, corrected = (e.published(*c) for c in columns)
    test = rank_correlation(-preference, corrected)
    shown = e.published("leaderboard_truthfulness", "Persona Sycophancy")
    persona = rank_correlation(shown, corrected)
    return Finding(
        f"published columns only (GPT labels not recorded); with persona sycophancy rho "
        f"{persona.value:.2f}, p {persona.p:.2g}",
        _verdict(significant(test, 1)),
        test,
        columns,
    )


@claim("S1", "Open models are behind in jailbreak, toxicity and misuse.")
def open_behind(e: Evidence) -> Finding:
    columns, tests = board("safety", "Jailbreak", "Toxicity", "Misuse"), {}
    for where, sign in zip(columns, (1, -1, 1), strict=True):
        v = e.best_known(*where, Rule.CORRECTED) * sign
        tests[where[1]] = group_difference(v[list(PROPRIETARY)], v[list(OPEN)])
    return Finding(
        "advantage of the 4 proprietary models: "
        + ", ".join(f"{c} {t.value:+.2f} (p {t.p:.2f})" for c, t in tests.items()),
        _verdict(all(significant(t, 1) for t in tests.values())),
        max(tests.values(), key=lambda t: t.p),
        columns,
    )


@claim("S2", "Leetspeak is the most successful attack.")
def leetspeak(e: Evidence) -> Finding:
    answers = e.answers("safety/jailbreak", Rule.CORRECTED, REDONE).query("label != ''")
    hit = (answers["label"] == "answer").groupby([answers["model"], answers["attack"]])
    rates = hit.mean().unstack()[list(ATTACKS)]
    order = rates.mean().sort_values(ascending=False)
    first = order.index[0] == "leetspeak"
    rival = order.index[1 if first else 0]
    test = paired_difference(rates["leetspeak"], rates[rival])
    return Finding(
        f"mean attack success over {len(rates)} recorded models: "
        + ", ".join(f"{a} {v:.3f}" for a, v in order.head(3).items())
        + f"; leetspeak against {rival}",
        _verdict(first and significant(test, 1)),
        test,
        (("safety_jailbreak_by_attack", "overall"),),
    )


@claim("S3", "Strong safety goes with exaggerated safety.")
def exaggerated(e: Evidence) -> Finding:
    columns = board("safety", "Jailbreak", "Exaggerated Safety")
    harmless = e.published(*columns[1])
    test = rank_correlation(e.best_known(*columns[0]), harmless)
    safe = e.best_known("leaderboard_safety", "Misuse", Rule.CORRECTED)
    misuse = rank_correlation(safe, harmless)
    return Finding(
        f"refusals of jailbreaks against refusals of harmless prompts; with misuse rho "
        f"{misuse.value:.2f}, p {misuse.p:.2g}",
        _verdict(significant(test, 1)),
        test,
        columns,
    )


@claim("F1", "The best stereotype recognition is 65 % (GPT-4).")
def recognition(e: Evidence) -> Finding:
    column = ("leaderboard_fairness", "Stereotype Recognition")
    v = e.published(*column)
    return Finding(
        f"published best {v.max():.3f} ({v.idxmax()}); answers to the official set are not recorded",
        UNDECIDED,
        cells=(column,),
    )


@claim("F2", "Agreement with stereotypes ranges from 0.5 % to nearly 60 %.")
def agreement(e: Evidence) -> Finding:
    column = ("leaderboard_fairness", "Overall Agreement Rate")
    v = e.published(*column)
    agrees = abs(v.min() - 0.005) <= 0.002 and 0.57 <= v.max() <= 0.61
    return Finding(
        f"the leaderboard says {v.min():.3f} ({v.idxmin()}) to {v.max():.3f} ({v.idxmax()}); the "
        "GPT labels are not recorded",
        UNDECIDED if agrees else REFUTED,
        cells=(column,),
    )


@claim("F3", "Few models treat people alike in salary prediction.")
def disparagement(e: Evidence) -> Finding:
    columns = board("fairness", "Disparagement Sex", "Disparagement Race")
    fair = [int((e.published(*c) >= 0.05).sum()) for c in columns]
    fixed = [e.recomputed(*c, Rule.CORRECTED) for c in columns]
    old = [e.recomputed(*c) for c in columns]
    flips = sum(int(((a < 0.05) != (b < 0.05)).sum()) for a, b in zip(old, fixed, strict=True))
    return Finding(
        f"published p >= 0.05 for {fair[0]} (sex) and {fair[1]} (race) of {len(MODELS)} models; "
        f"reading the chosen option instead of any capital A changes the verdict in {flips} of "
        f"{sum(len(v) for v in old)} recorded tests; with 810 prompts, p >= 0.05 is no proof of "
        "fairness",
        _verdict(min(fair) <= len(MODELS) / 2),
        cells=columns,
    )


@claim("F4", "Refusals drop from plain to forced preference.")
def forced(e: Evidence) -> Finding:
    columns = tuple((f"fairness_preference_{form}", "total") for form in ("plain", "force"))
    plain, force = (e.published(*c) for c in columns)
    test = paired_difference(force, plain)
    shown, stated = (e.recomputed(*columns[0], r).median() for r in (Rule.AUTHORS, Rule.CORRECTED))
    done = _change(e, "fairness/preference", "form", "plain", "force")
    return Finding(
        f"published: lower for {int((force < plain).sum())} of {plain.notna().sum()} models; plain "
        f"answers that state a preference are no refusals (A21): the recorded models' median falls "
        f"from {shown:.2f} to {stated:.2f}; recorded with labels for both: {done}",
        _verdict(significant(test, -1)),
        test,
        columns,
    )


@claim("R1", "Llama2 and most proprietary models lead on AdvGLUE.")
def advglue(e: Evidence) -> Finding:
    (column,) = board("robustness", "AdvGlue RS")
    v = e.published(*column)
    leaders = [*LLAMA2, *PROPRIETARY]
    test = group_difference(v[leaders], v.drop(leaders))
    top = v.sort_values(ascending=False).index[:5]
    return Finding(
        f"published top five: {', '.join(top)}; only Mistral-7b's answers are recorded here",
        _verdict(significant(test, 1)),
        test,
        (column,),
    )


@claim("R2", "Similarity under perturbed instructions is 88 % to 97.64 %.")
def advinstruction(e: Evidence) -> Finding:
    sheet, shown = ("robust_advinstruction", "Average"), *board("robustness", "AdvInstruction")
    v = e.published(*shown)
    v = v / 100 if v.max() > 1.5 else v
    text = f"published {v.min():.4f} ({v.idxmin()}) to {v.max():.4f} ({v.idxmax()})"
    own = e.cells(*sheet)
    if "mistral-7b" in own.index:
        value, low, high = own.loc["mistral-7b", ["value", "ci_low", "ci_high"]]
        text += f"; Mistral-7b recomputed {value:.4f} [{low:.4f}, {high:.4f}]"
    inside = v.min() >= 0.875 and abs(v.max() - 0.9764) < 0.001
    return Finding(text, _verdict(inside), cells=(sheet, shown))


@claim("R3", "GPT-4 refuses above 80 % out of distribution and reaches above 92 % F1.")
def ood(e: Evidence) -> Finding:
    column, f1 = ("robust_ood_detection", "RtA"), *board("robustness", "OOD generalization")
    shown, own = e.published(*f1)["gpt-4"], e.cells(*column)
    text = (
        f"published F1 {shown:.3f} is 2p/(1+p) of a share p, about {shown / (2 - shown):.3f} right "
        "answers; "
    )
    if "gpt-4" not in own.index:
        return Finding(text + "refusals of GPT-4 not recorded here", UNDECIDED, cells=(column,))
    value, low, high = own.loc["gpt-4", ["value", "ci_low", "ci_high"]]
    text += f"refusals {value:.3f} [{low:.3f}, {high:.3f}]"
    return Finding(text, ARTEFACT, cells=(column, f1))


@claim("P1", "A privacy policy in the prompt raises refusals.")
def policy(e: Evidence) -> Finding:
    columns = board("privacy", "Privacy Awareness Aug", "Privacy Awareness Normal")
    after, before = (e.published(*c) for c in columns)
    test = paired_difference(after, before)
    return Finding(
        f"published: higher for {int((after > before).sum())} of {after.notna().sum()} models; "
        f"recorded: {_change(e, 'privacy/awareness_query', 'prompt', 'normal', 'aug')}",
        _verdict(significant(test, 1)),
        test,
        columns,
    )


@claim("P2", "ConfAIde: ChatGPT correlates best (.665), Oasst-12b negatively.")
def confaide(e: Evidence) -> Finding:
    column = ("privacy_confaide", "level_2")
    old, new = e.recomputed(*column), e.recomputed(*column, Rule.CORRECTED)
    text = "; ".join(
        f"{m}: {old[m]:.2f}, with the zeros the script drops {new[m]:.2f}"
        for m in ("chatgpt", "oasst-12b", "baichuan-13b")
        if m in old.index
    )
    if "oasst-12b" not in old.index:
        return Finding(text or "answers not recorded here", UNDECIDED, cells=(column,))
    falls = old["oasst-12b"] < 0 <= new["oasst-12b"]
    still_best = new.idxmax() == "chatgpt"
    return Finding(
        f"{text}; best with zeros kept: {new.idxmax()}",
        ARTEFACT if falls else _verdict(still_best),
        cells=(column,),
    )


@claim("P3", "Nearly all models leak e-mail addresses.")
def leakage(e: Evidence) -> Finding:
    column = ("leaderboard_privacy", "Privacy Leakage TD")
    td = e.recomputed(*column)
    hits, zero_shot, unguessable = e.leaked()
    return Finding(
        f"true addresses in answers of {int((td > 0).sum())} of {len(td)} recorded models, "
        f"{hits} in all; {zero_shot} of them without example addresses in the prompt, "
        f"{unguessable} that do not follow from the person's name. The other prompts show the "
        "domain, so the address can be guessed",
        ARTEFACT if zero_shot + unguessable <= 0.01 * hits else SUPPORTED,
        cells=(column,),
    )


@claim("E1", "Most models are below 70 % on implicit and low-ambiguity ethics.")
def ethics(e: Evidence) -> Finding:
    columns = board("ethics", "Social Chemistry 101 Acc", "ETHICS Acc", "MoralChoice Acc")
    below = {c[1]: int((e.published(*c) < 0.7).sum()) for c in columns}
    fixed = {c[1]: e.recomputed(*c, Rule.CORRECTED) for c in columns}
    return Finding(
        "below 0.7 as published: "
        + ", ".join(f"{n} {k} of {len(MODELS)}" for n, k in below.items())
        + "; corrected, of the recorded: "
        + ", ".join(f"{n} {int((v < 0.7).sum())} of {len(v)}" for n, v in fixed.items()),
        _verdict(min(below.values()) > len(MODELS) / 2),
        cells=columns,
    )


@claim("E2", "Emotional awareness is higher; GPT-4 is best, above 94 %.")
def emotion(e: Evidence) -> Finding:
    emotions, *rest = board("ethics", "Emotional Acc", "Social Chemistry 101 Acc", "ETHICS Acc")
    v = e.best_known(*emotions)
    implicit = np.nanmean([e.best_known(*c) for c in rest], axis=0)
    test = paired_difference(v, implicit)
    best = v.idxmax()
    return Finding(
        f"best {best} at {v.max():.3f}; higher than the mean of the implicit tasks for "
        f"{int((v > implicit).sum())} of {v.notna().sum()} models",
        _verdict(best == "gpt-4" and v.max() > 0.94 and significant(test, 1)),
        test,
        (emotions,),
    )
