"""Claims about fairness (F), robustness (R), privacy (P) and machine ethics (E)."""

from __future__ import annotations

import numpy as np

from trustllm_repro.analysis.claims import (
    ARTEFACT,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    claim,
    significant,
)
from trustllm_repro.analysis.evidence import LLAMA2, Evidence
from trustllm_repro.data.published import MODELS, PROPRIETARY
from trustllm_repro.metrics.comparisons import group_difference, mcnemar, paired_difference
from trustllm_repro.schema import Rule


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
    columns = [("leaderboard_fairness", f"Disparagement {a}") for a in ("Sex", "Race")]
    shown = [e.published(*c) for c in columns]
    fair = [int((v >= 0.05).sum()) for v in shown]
    fixed = [e.recomputed(*c, Rule.CORRECTED) for c in columns]
    old = [e.recomputed(*c) for c in columns]
    flips = sum(int(((a < 0.05) != (b < 0.05)).sum()) for a, b in zip(old, fixed, strict=True))
    return Finding(
        f"published p >= 0.05 for {fair[0]} (sex) and {fair[1]} (race) of {len(MODELS)} models; "
        f"reading the chosen option instead of any capital A changes the verdict in {flips} of "
        f"{sum(len(v) for v in old)} recorded tests; with 810 prompts, p >= 0.05 is no proof of "
        "fairness",
        REFUTED if min(fair) > len(MODELS) / 2 else SUPPORTED,
        cells=tuple(columns),
    )


@claim("F4", "Refusals drop from plain to forced preference.")
def forced(e: Evidence) -> Finding:
    plain, force = (e.published(f"fairness_preference_{f}", "total") for f in ("plain", "force"))
    test = paired_difference(force, plain)
    done = []
    for m in e.run.ledger.models:
        a, b = (
            e.labels("fairness/preference", m, Rule.CORRECTED, form=f) for f in ("plain", "force")
        )
        if len(b) and (b != "").all():
            t = mcnemar((a == "refusal").to_numpy(), (b == "refusal").to_numpy())
            done.append(f"{m} {t.value:+.2f} (McNemar p {t.p:.1g})")
    shown, stated = (
        e.recomputed("fairness_preference_plain", "total", r)
        for r in (Rule.AUTHORS, Rule.CORRECTED)
    )
    return Finding(
        f"published: lower for {int((force < plain).sum())} of {plain.notna().sum()} models; plain "
        f"answers that state a preference are no refusals (A21): the recorded models' median falls "
        f"from {shown.median():.2f} to {stated.median():.2f}; recorded with labels for both: "
        f"{', '.join(done) or 'none'}",
        SUPPORTED if significant(test, -1) else REFUTED,
        test,
        (("fairness_preference_plain", "total"), ("fairness_preference_force", "total")),
    )


@claim("R1", "Llama2 and most proprietary models lead on AdvGLUE.")
def advglue(e: Evidence) -> Finding:
    column = ("leaderboard_robustness", "AdvGlue RS")
    v = e.published(*column)
    leaders = [*LLAMA2, *PROPRIETARY]
    test = group_difference(v[leaders], v[[m for m in MODELS if m not in leaders]])
    top = v.sort_values(ascending=False).index[:5].tolist()
    return Finding(
        f"published top five: {', '.join(top)}; only Mistral-7b's answers are recorded here",
        SUPPORTED if significant(test, 1) else REFUTED,
        test,
        (column,),
    )


@claim("R2", "Similarity under perturbed instructions is 88 % to 97.64 %.")
def advinstruction(e: Evidence) -> Finding:
    sheet = ("robust_advinstruction", "Average")
    board = ("leaderboard_robustness", "AdvInstruction")
    v = e.published(*board)
    v = v / 100 if v.max() > 1.5 else v
    own = e.line(*sheet, "mistral-7b") if "mistral-7b" in e.recomputed(*sheet).index else None
    text = f"published {v.min():.4f} ({v.idxmin()}) to {v.max():.4f} ({v.idxmax()})"
    if own is not None:
        text += f"; Mistral-7b recomputed {own['value']:.4f} [{own['ci_low']:.4f}, {own['ci_high']:.4f}]"
    inside = v.min() >= 0.875 and abs(v.max() - 0.9764) < 0.001
    return Finding(text, SUPPORTED if inside else REFUTED, cells=(sheet, board))


@claim("R3", "GPT-4 refuses above 80 % out of distribution and reaches above 92 % F1.")
def ood(e: Evidence) -> Finding:
    column = ("robust_ood_detection", "RtA")
    shown = e.published("leaderboard_robustness", "OOD generalization")["gpt-4"]
    text = (
        f"published F1 {shown:.3f} is 2p/(1+p) of a share p, about {shown / (2 - shown):.3f} right "
        "answers; "
    )
    if "gpt-4" not in e.recomputed(*column).index:
        return Finding(text + "refusals of GPT-4 not recorded here", UNDECIDED, cells=(column,))
    x = e.line(*column, "gpt-4")
    return Finding(
        text + f"refusals {x['value']:.3f} [{x['ci_low']:.3f}, {x['ci_high']:.3f}]",
        ARTEFACT,
        cells=(column, ("leaderboard_robustness", "OOD generalization")),
    )


@claim("P1", "A privacy policy in the prompt raises refusals.")
def policy(e: Evidence) -> Finding:
    board = "leaderboard_privacy"
    names = ("Privacy Awareness Aug", "Privacy Awareness Normal")
    after, before = (e.published(board, n) for n in names)
    test = paired_difference(after, before)
    done = []
    for m in e.run.ledger.models:
        a, b = (
            e.labels("privacy/awareness_query", m, Rule.CORRECTED, prompt=p)
            for p in ("normal", "aug")
        )
        if len(a) and len(a) == len(b):
            t = mcnemar((a == "refusal").to_numpy(), (b == "refusal").to_numpy())
            done.append(f"{m} {t.value:+.2f} (McNemar p {t.p:.1g})")
    return Finding(
        f"published: higher for {int((after > before).sum())} of {after.notna().sum()} models; "
        f"recorded: {', '.join(done) or 'none'}",
        SUPPORTED if significant(test, 1) else REFUTED,
        test,
        tuple((board, n) for n in names),
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
        ARTEFACT if falls else SUPPORTED if still_best else REFUTED,
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
    board = "leaderboard_ethics"
    names = ("Social Chemistry 101 Acc", "ETHICS Acc", "MoralChoice Acc")
    below = {n: int((e.published(board, n) < 0.7).sum()) for n in names}
    fixed = {n: e.recomputed(board, n, Rule.CORRECTED) for n in names}
    return Finding(
        "below 0.7 as published: "
        + ", ".join(f"{n} {k} of {len(MODELS)}" for n, k in below.items())
        + "; corrected, of the recorded: "
        + ", ".join(f"{n} {int((v < 0.7).sum())} of {len(v)}" for n, v in fixed.items()),
        SUPPORTED if all(k > len(MODELS) / 2 for k in below.values()) else REFUTED,
        cells=tuple((board, n) for n in names),
    )


@claim("E2", "Emotional awareness is higher; GPT-4 is best, above 94 %.")
def emotion(e: Evidence) -> Finding:
    board = "leaderboard_ethics"
    v = e.best_known(board, "Emotional Acc")
    implicit = np.nanmean(
        [e.best_known(board, n) for n in ("Social Chemistry 101 Acc", "ETHICS Acc")], axis=0
    )
    test = paired_difference(v, implicit)
    best = v.idxmax()
    return Finding(
        f"best {best} at {v.max():.3f}; higher than the mean of the implicit tasks for "
        f"{int((v > implicit).sum())} of {v.notna().sum()} models",
        SUPPORTED if best == "gpt-4" and v.max() > 0.94 and significant(test, 1) else REFUTED,
        test,
        ((board, "Emotional Acc"),),
    )
