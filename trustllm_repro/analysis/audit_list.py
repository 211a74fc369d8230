"""The defects found so far. Adding one: a function in audit_evidence and an entry here."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trustllm_repro.analysis import audit_evidence as proof
from trustllm_repro.analysis.audit import Defect, before_after
from trustllm_repro.analysis.evidence import Evidence

_JAILBREAK = tuple(("safety_jailbreak", c) for c in ("jailbreak", "toxicity"))
_SEX_RACE = tuple(("leaderboard_fairness", f"Disparagement {a}") for a in ("Sex", "Race"))

DEFECTS = (
    Defect(
        "A1",
        "Misuse: Mistral-7b scored on another model's answers",
        (("safety_misuse", "additional"), ("leaderboard_safety", "Misuse")),
        proof.copied_misuse,
        True,
    ),
    Defect(
        "A2",
        "CODAH: options from 1 against gold from 0",
        (("truth_internal", "CODAH"),),
        proof.codah_numbering,
        True,
    ),
    Defect(
        "A3",
        "Jailbreak: two columns exchanged for the first models",
        _JAILBREAK,
        proof.exchanged_jailbreak,
    ),
    Defect(
        "A4",
        "Social Chemistry: neutral includes the bad actions",
        (("leaderboard_ethics", "Social Chemistry 101 Acc"),),
        proof.neutral_denominator,
        True,
    ),
    Defect(
        "A5",
        "Emotional awareness: two scripts, two rules",
        (("leaderboard_ethics", "Emotional Acc"),),
        proof.bare_numbers,
        True,
    ),
    Defect(
        "A6",
        "MoralChoice, high ambiguity: unpublished length rule",
        (),
        proof.length_rule,
        True,
        about="ethics",
    ),
    Defect("A7", "Disparagement: any capital A is option A", _SEX_RACE, proof.capital_a, True),
    Defect(
        "A8",
        "External: unparsed answers left out of F1",
        (("leaderboard_truthfulness", "External"),),
        proof.parsed_only,
        True,
    ),
    Defect(
        "A9",
        "Hallucination SUM: answers and gold of different documents",
        (("truth_hallucination", "SUM"),),
        proof.other_summaries,
        True,
    ),
    Defect(
        "A10",
        "OOD generalisation: F1 that cannot miss",
        (("leaderboard_robustness", "OOD generalization"),),
        proof.ood_f1,
    ),
    Defect(
        "A11",
        "ConfAIde: ratings of zero dropped",
        (("leaderboard_privacy", "Privacy Awareness Correlation"),),
        proof.dropped_zeros,
        True,
    ),
    Defect(
        "A12",
        "Leakage CD: empty cells count as zero",
        (("leaderboard_privacy", "Privacy Leakage CD"),),
        proof.empty_cells,
    ),
    Defect(
        "A13",
        "Leakage TD: true addresses that can be guessed",
        (),
        proof.guessed_addresses,
        about="privacy",
    ),
    Defect(
        "A14",
        "MoralChoice: answers naming both options are right",
        (("leaderboard_ethics", "MoralChoice Acc"),),
        proof.both_letters,
    ),
    Defect(
        "A15",
        "Average rank: one p-value ranked backwards",
        (),
        proof.backward_rank,
        about="overall",
    ),
    Defect("A16", "Leaderboard and sheets disagree", (), proof.board_and_sheets, about="overall"),
    Defect("A17", "Toxicity: means over few answers", (), proof.few_scored, True, about="safety"),
    Defect(
        "A18",
        "Misuse: empty answers counted as refusals",
        (),
        proof.judged_empty,
        True,
        about="safety",
    ),
    Defect(
        "A19",
        "Hallucination: gold labels answer the opposite question",
        tuple(("truth_hallucination", c) for c in ("KGD", "QA", "SUM")),
        proof.turned_gold,
    ),
    Defect(
        "A20",
        "Hallucination: accuracy of a constant answer",
        (),
        proof.one_word_answers,
        about="truthfulness",
    ),
    Defect(
        "A21",
        "Preference, MoralChoice: refusals that choose",
        (("fairness_preference_plain", "total"), ("ethics_moralchoice_high", "RtA")),
        proof.refusals_that_choose,
    ),
    Defect(
        "A22",
        "ConfAIde: ratings read in a repeated scale",
        (("privacy_confaide", "level_2"),),
        proof.quoted_scales,
    ),
    Defect(
        "A23",
        "Social Chemistry, ETHICS: unparsed answers left out",
        tuple(("leaderboard_ethics", f"{n} Acc") for n in ("Social Chemistry 101", "ETHICS")),
        proof.unread_left_out,
    ),
    Defect(
        "A24",
        "TruthfulQA: the right option is always A",
        (),
        proof.always_option_a,
        about="truthfulness",
    ),
    Defect(
        "A25",
        "OOD reviews: the prompt prints the rating",
        (),
        proof.printed_stars,
        about="robustness",
    ),
    Defect(
        "A26",
        "Released wheel, ETHICS: “not wrong” is “wrong”",
        (),
        proof.wheel_of_ethics,
        about="ethics",
    ),
    Defect(
        "A27",
        "Leakage RtA: empty answers are refusals",
        (),
        proof.silent_refusals,
        about="privacy",
    ),
    Defect(
        "A28",
        "Released AdvInstruction compares other instructions",
        (),
        proof.other_instructions,
        about="robustness",
    ),
    Defect(
        "A29",
        "Findings that the leaderboard contradicts",
        (),
        proof.contradicted_findings,
        about="overall",
    ),
    Defect(
        "A30",
        "Released awareness scorer: sub-sets nobody has",
        (),
        proof.absent_subsets,
        about="ethics",
    ),
    Defect(
        "A31",
        "Refusals in Chinese counted as answers",
        (),
        proof.unread_chinese,
        about="safety",
    ),
)


def all_changes(e: Evidence) -> pd.DataFrame:
    """Numbers before and after of every defect's columns."""
    parts = [before_after(e, w).assign(id=d.id) for d in DEFECTS for w in d.columns]
    return pd.concat(parts, ignore_index=True)


def _moved(part: pd.DataFrame) -> pd.Series:
    return part["rank_before"].notna() & (part["rank_before"] != part["rank_after"])


def defects_table(e: Evidence) -> pd.DataFrame:
    """All defects: id, title, evidence, largest change, models moved in rank, known or new."""
    lines = []
    for d in DEFECTS:
        parts = [before_after(e, w) for w in d.columns]
        change = pd.concat([p["change"] for p in parts], ignore_index=True) if parts else None
        moved = {m for p in parts for m in p.loc[_moved(p), "model"]}
        has = change is not None and change.notna().any()
        lines.append(
            {
                "id": d.id,
                "dimension": d.dimension,
                "defect": d.title,
                "evidence": d.evidence(e),
                "largest_change": change[change.abs().idxmax()] if has else np.nan,
                "models_moved": len(moved) if parts else np.nan,
                "listed_before": d.known,
            }
        )
    return pd.DataFrame(lines)
