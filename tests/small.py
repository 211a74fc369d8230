"""A small world: a benchmark and recorded answers made up here, in the layout of the real ones.

All 24 files are there with a few rows each; three models answer some tasks. Nothing is taken from
the benchmark; the sentences are ours.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def refusal(refused: bool) -> list[Row]:
    return [{"label": "LABEL_0" if refused else "LABEL_1", "score": 0.99}]


def benchmark_rows() -> dict[str, list[Row]]:
    """Rows of the 24 files, by name; five or so each."""
    q = [f"Question number {i} of this made-up file?" for i in range(6)]
    glue = [
        {"index": i, "task": t, "prompt": f"{t} {i} {v}", "label": i % 2, "method": "m", "type": v}
        for t in ("qqp", "sst2", "qnli", "mnli")
        for i in range(2)
        for v in ("original", "modified")
    ]
    emotion = "Story {}. How would she feel? (1) Glad; (2) Sad; (3) Angry; (4) Calm"
    person = {"sex": "male", "race": "white", "age": "24-40", "education": "master",
              "work_hours": "40", "work_type": "Sale"}  # fmt: skip
    return {
        "truthfulness/internal": [
            {
                "prompt": f"Question: {x}\n0. yes\n1. no\n",
                "source": "codah",
                "answer": 1,
                "question": x,
            }
            for x in q
        ],
        "truthfulness/external": [
            {"prompt": x, "source": "climate", "answer": a}
            for x, a in zip(q, ["SUPPORT", "REFUTE"] * 3, strict=True)
        ],
        "truthfulness/hallucination": [
            {"prompt": x, "source": s, "answer": "Yes"}
            for x, s in zip(
                q, ["mc", "mc", "halu_qa", "halu_dial", "halu_summ", "halu_summ"], strict=True
            )
        ],
        "truthfulness/sycophancy": [
            {"prompt": x, "source": "persona", "n_completion": "n", "s_completion": "s"} for x in q
        ],
        "truthfulness/golden_advfactuality": [
            {"prompt": x, "knowledge": "k", "modified knowledge": "m", "query": "q"} for x in q
        ],
        "safety/jailbreak": [
            {"prompt": f"{s} {a} {i}", "label": [a], "source": s}
            for s in ("ITC", "QBB")
            for a in ("cot", "leetspeak")
            for i in range(3)
        ],
        "safety/misuse": [
            {"prompt": f"{s} {i}", "source": s}
            for s in ("do_not_answer", "misuse_add", "Do-anything-now")
            for i in range(30)
        ],
        "safety/exaggerated_safety": [
            {"prompt": x, "id": x, "type": "definitions", "focus": "f", "note": "n"} for x in q
        ],
        "fairness/stereotype_recognition": [
            {"prompt": x, "type": "race", "label": "unrelated", "sentence": "s"} for x in q
        ],
        "fairness/stereotype_agreement": [
            {"prompt": x, "bias_type": "age", "sentence": "s"} for x in q
        ],
        "fairness/stereotype_query_test": [{"prompt": x} for x in q],
        "fairness/disparagement": [
            {"prompt": x, **person, "sex": "male" if i % 2 else "female"} for i, x in enumerate(q)
        ],
        "fairness/preference": [
            {"prompt": f"{x} {t}", "type": t, "option_a": "a", "option_b": "b", "question": x}
            for t in ("plain", "force")
            for x in q
        ],
        "robustness/AdvGLUE": glue,
        "robustness/AdvInstruction": [
            {"prompt": f"{x} {t}", "index": i, "type": t, "topic": "t"}
            for i, x in enumerate(q)
            for t in ("original", "word_change")
        ],
        "robustness/ood_detection": [{"prompt": x} for x in q],
        "robustness/ood_generalization": [
            {"prompt": x, "label": "positive", "source": "flipkart"} for x in q
        ],
        "privacy/privacy_awareness_confAIde": [
            {"prompt": x, "label": str(10.0 * i)} for i, x in enumerate(q)
        ],
        "privacy/privacy_awareness_query": [
            {
                "prompt": f"{x} {t}",
                "type": t,
                "name": "N",
                "question": x,
                "privacy_information": "SSN",
                "info-content": f"12{i}",
            }
            for t in ("normal", "aug")
            for i, x in enumerate(q)
        ],
        "privacy/privacy_leakage": [
            {
                "prompt": f"{x} {s}",
                "gt-email": "ann.lee@firm.com",
                "gt-name": "Ann Lee",
                "type": "A",
                "shotType": s,
            }
            for s in ("zero-shot", "five-shot")
            for x in q
        ],
        "ethics/implicit_SocialChemistry101": [
            {"prompt": x, "label": float(v), "action": x}
            for x, v in zip(q, [-2, -1, 0, 0, 1, 2], strict=True)
        ],
        "ethics/implicit_ETHICS": [
            {"prompt": x, "label": v, "input": x, "topic": "justice"}
            for x, v in zip(q, ["wrong", "not wrong"] * 3, strict=True)
        ],
        "ethics/explicit_moralchoice": [
            {
                "prompt": f"{x} {t}",
                "type": t,
                "label": "A",
                "scenario_id": "s",
                "context": "c",
                "good_action": "g",
                "bad_action": "b",
            }
            for t in ("low", "high")
            for x in q
        ],
        "ethics/awareness": [
            {"prompt": emotion.format(i), "label": "2", "dimension": "emotion"} for i in range(6)
        ],
    }


class SmallWorld:
    """Writes the small benchmark and answers as folders; both can be zipped or damaged."""

    models = ("gpt-4", "mistral-7b", "newcomer-1b")

    def __init__(self, root: Path) -> None:
        self.benchmark, self.records = root / "dataset", root / "records"
        self.rows = benchmark_rows()
        for name, rows in self.rows.items():
            self.put(self.benchmark / f"{name}.json", rows)
        for model in self.models:
            for path, rows in self.answers(model).items():
                self.put(self.records / path, rows)

    @staticmethod
    def put(path: Path, rows: list[Row]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows), encoding="utf-8")
        return path

    def answers(self, model: str) -> dict[str, list[Row]]:
        """Files of one model; every answer names the model, so no two models agree."""

        def judged(name: str, source: str | None = None) -> list[Row]:
            rows = [r for r in self.rows[name] if source is None or r["source"] == source]
            return [
                {
                    **r,
                    "res": f"{model} answers at some length, item {i}",
                    "longformer_res": refusal(i % 2 == 0),
                }
                for i, r in enumerate(rows)
            ]

        social = [
            {**r, "res": w}
            for r, w in zip(
                self.rows["ethics/implicit_SocialChemistry101"],
                ["bad", "neutral", "neutral.", "good", "Good", "no idea"],
                strict=True,
            )
        ]
        return {
            f"results/safety/jailbreak/{model}/jailbreak_ITC.json": judged(
                "safety/jailbreak", "ITC"
            ),
            f"results/safety/jailbreak/{model}/jailbreak_QBB.json": judged(
                "safety/jailbreak", "QBB"
            ),
            **{
                f"results/safety/misuse/{model}/{s}.json": judged("safety/misuse", s)
                for s in ("do_not_answer", "misuse_add", "Do-anything-now")
            },
            f"results/robustness/ood/{model}/ood_detection.json": judged(
                "robustness/ood_detection"
            ),
            f"results/ethics/{model}/implicit_SocialChemistry101.json": social,
        }

    def copy_misuse(self) -> None:
        """Store gpt-4's additional misuse answers as mistral-7b's, whose own stay at a commit."""
        base = self.records / "results/safety/misuse"
        published, source = (base / m / "misuse_add.json" for m in ("mistral-7b", "gpt-4"))
        own = self.records / "939ae21" / published.relative_to(self.records)
        own.parent.mkdir(parents=True)
        own.write_text(published.read_text())
        published.write_text(source.read_text())

    def zip(self, folder: Path) -> Path:
        """The folder as a ZIP beside it."""
        target = folder.with_suffix(".zip")
        with zipfile.ZipFile(target, "w") as z:
            for p in sorted(folder.rglob("*")):
                if p.is_file():
                    z.write(p, p.relative_to(folder).as_posix())
        return target
