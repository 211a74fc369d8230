"""Claims about the field as a whole (O), truthfulness (T) and safety (S)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trustllm_repro.analysis.claims import (
    ARTEFACT,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    claim,
    significant,
)
from trustllm_repro.analysis.evidence import LLAMA2, OPEN, Evidence
from trustllm_repro.analysis.overview import LOWER, leaderboard
from trustllm_repro.data.published import PROPRIETARY
from trustllm_repro.metrics.comparisons import (
    cliffs_delta,
    group_difference,
    paired_difference,
    rank_correlation,
)
from trustllm_repro.schema import Rule
from trustllm_repro.tasks.safety import ATTACKS


@claim("O1", "Trustworthiness and utility go together.")
def utility(e: Evidence) -> Finding:
    tests = {n: rank_correlation(-e.mean_rank, e.utility[n]) for n in e.utility}
    test = tests["mt_bench"]
    others = "; ".join(f"{n}: rho {t.value:.2f} (n = {t.n})" for n, t in tests.items())
    return Finding(
        f"mean rank over 31 columns against utility: {others}",
        SUPPORTED if significant(test, 1) else REFUTED,
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
        SUPPORTED if significant(test, -1) else REFUTED,
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
        SUPPORTED if wins.sum() >= 0.25 * len(wins) else REFUTED,
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
        SUPPORTED if raised.max() < 0.6 else REFUTED,
        cells=(column, codah),
    )


@claim("T2", "All models struggle with zero-shot commonsense (CODAH, .03 to .05).")
def codah(e: Evidence) -> Finding:
    column = ("truth_internal", "CODAH")
    wrong, right = e.recomputed(*column), e.recomputed(*column, Rule.CORRECTED)
    lows = e.lows(*column, Rule.CORRECTED)
    text = ", ".join(f"{m} {wrong[m]:.2f} -> {v:.2f}" for m, v in right.items())
    # Four options: chance is 0.25.
    return Finding(
        f"options numbered from 1 were compared with gold numbers from 0; corrected: {text}",
        ARTEFACT if (lows > 0.25).all() else SUPPORTED,
        cells=(column,),
    )


@claim("T3", "External knowledge helps greatly.")
def external(e: Evidence) -> Finding:
    board = "leaderboard_truthfulness"
    a, b = e.published(board, "External"), e.published(board, "Internal")
    test = paired_difference(a, b)
    return Finding(
        f"published External is above Internal for {int((a > b).sum())} of {a.notna().sum()} "
        "models; the two are different tasks (F1 of two classes, accuracy of free answers)",
        SUPPORTED if significant(test, 1) else REFUTED,
        test,
        ((board, "External"), (board, "Internal")),
    )


@claim("T4", "Fewer hallucinations in multiple choice than in open tasks.")
def multiple_choice(e: Evidence) -> Finding:
    names = ("MC", "KGD", "QA", "SUM")
    values = pd.DataFrame(
        {n: e.recomputed("truth_hallucination", n, Rule.CORRECTED) for n in names}
    )
    gap = values["MC"] - values[list(names[1:])].mean(axis=1)
    return Finding(
        "MC less the mean of the three yes/no tasks, corrected: "
        + ", ".join(f"{m} {g:+.2f}" for m, g in gap.items())
        + "; the right option of every MC item is A, so a model that always says A scores 1",
        SUPPORTED if (gap > 0).all() else REFUTED,
        cells=tuple(("truth_hallucination", n) for n in names),
    )


@claim("T5", "Less sycophancy goes with better correction of false premises.")
def sycophancy(e: Evidence) -> Finding:
    board = "leaderboard_truthfulness"
    test = rank_correlation(
        -e.published(board, "Preference Sycophancy"), e.published(board, "Adv Factuality")
    )
    persona = rank_correlation(
        e.published(board, "Persona Sycophancy"), e.published(board, "Adv Factuality")
    )
    return Finding(
        f"published columns only (GPT labels not recorded); with persona sycophancy rho "
        f"{persona.value:.2f}, p {persona.p:.2g}",
        SUPPORTED if significant(test, 1) else REFUTED,
        test,
        ((board, "Preference Sycophancy"), (board, "Adv Factuality")),
    )


@claim("S1", "Open models are behind in jailbreak, toxicity and misuse.")
def open_behind(e: Evidence) -> Finding:
    board, tests = "leaderboard_safety", {}
    for column, sign in (("Jailbreak", 1), ("Toxicity", -1), ("Misuse", 1)):
        v = e.best_known(board, column, Rule.CORRECTED) * sign
        tests[column] = group_difference(v[list(PROPRIETARY)], v[list(OPEN)])
    worst = max(tests.values(), key=lambda t: t.p)
    passed = [c for c, t in tests.items() if significant(t, 1)]
    return Finding(
        "advantage of the 4 proprietary models: "
        + ", ".join(f"{c} {t.value:+.2f} (p {t.p:.2f})" for c, t in tests.items()),
        SUPPORTED if len(passed) == 3 else REFUTED,
        worst,
        tuple((board, c) for c in tests),
    )


@claim("S2", "Leetspeak is the most successful attack.")
def leetspeak(e: Evidence) -> Finding:
    def success(model: str, attack: str) -> float:
        x = e.labels("safety/jailbreak", model, Rule.CORRECTED, attack=attack)
        return float((x[x != ""] == "answer").mean())

    models = [m for m in e.run.ledger.models if e.run.ledger.has("safety/jailbreak", m)]
    rates = pd.DataFrame({a: {m: success(m, a) for m in models} for a in ATTACKS})
    order = rates.mean().sort_values(ascending=False)
    first = order.index[0] == "leetspeak"
    rival = order.index[1 if first else 0]
    test = paired_difference(rates["leetspeak"], rates[rival])
    return Finding(
        f"mean attack success over {len(models)} recorded models: "
        + ", ".join(f"{a} {v:.3f}" for a, v in order.head(3).items())
        + f"; leetspeak against {rival}",
        SUPPORTED if first and significant(test, 1) else REFUTED,
        test,
        (("safety_jailbreak_by_attack", "overall"),),
    )


@claim("S3", "Strong safety goes with exaggerated safety.")
def exaggerated(e: Evidence) -> Finding:
    board = "leaderboard_safety"
    test = rank_correlation(
        e.best_known(board, "Jailbreak"), e.published(board, "Exaggerated Safety")
    )
    misuse = rank_correlation(
        e.best_known(board, "Misuse", Rule.CORRECTED), e.published(board, "Exaggerated Safety")
    )
    return Finding(
        f"refusals of jailbreaks against refusals of harmless prompts; with misuse rho "
        f"{misuse.value:.2f}, p {misuse.p:.2g}",
        SUPPORTED if significant(test, 1) else REFUTED,
        test,
        ((board, "Jailbreak"), (board, "Exaggerated Safety")),
    )
