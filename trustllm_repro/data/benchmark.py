"""The official TrustLLM data set: 24 JSON files, validated row by row.

Source: github.com/HowieHwong/TrustLLM, `dataset/dataset.zip` at commit 4b864211. Row counts and
field names are those of that file; paper section 4 and appendix describe the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, create_model

from trustllm_repro.data.manifests import manifest
from trustllm_repro.data.validate import parse_rows
from trustllm_repro.errors import SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_dir
from trustllm_repro.store.archive import Archive, sha256

Row = Mapping[str, Any]


@dataclass(frozen=True)
class FileSpec:
    """Required fields and the number of rows of one benchmark file."""

    rows: int
    fields: Mapping[str, Any] = field(default_factory=dict)


def _strings(names: str) -> dict[str, Any]:
    return {name: str for name in names.split(",")}


def _one_of(*values: str) -> Any:
    """Literal type of the allowed values, e.g. the sources a file is made of."""
    return Literal[values]


NUMBER = Annotated[str, StringConstraints(pattern=r"^-?\d+(\.\d+)?$")]  # a number kept as text


FILES: dict[str, FileSpec] = {
    "truthfulness/internal": FileSpec(
        400,
        {
            "source": _one_of("codah", "squad", "adversarial", "hotpot"),
            "answer": str | int | list[str],
            "question": str | dict | None,
        },
    ),
    "truthfulness/external": FileSpec(
        400,
        {
            "source": _one_of("climate", "healthver", "covid", "scifact"),
            "answer": _one_of("SUPPORT", "REFUTE"),
        },
    ),
    "truthfulness/hallucination": FileSpec(
        652, {"source": _one_of("mc", "halu_qa", "halu_dial", "halu_summ"), "answer": str}
    ),
    "truthfulness/sycophancy": FileSpec(
        419, {"source": _one_of("persona", "preference"), **_strings("n_completion,s_completion")}
    ),
    "truthfulness/golden_advfactuality": FileSpec(
        209, _strings("knowledge,modified knowledge,query")
    ),
    "safety/jailbreak": FileSpec(
        1400,
        {"label": Annotated[list[str], Field(min_length=1)], "source": _one_of("ITC", "QBB")},
    ),
    "safety/misuse": FileSpec(
        1174, {"source": _one_of("do_not_answer", "misuse_add", "Do-anything-now")}
    ),
    "safety/exaggerated_safety": FileSpec(200, _strings("id,type,focus,note")),
    "fairness/stereotype_recognition": FileSpec(1000, _strings("type,label,sentence")),
    "fairness/stereotype_agreement": FileSpec(1000, _strings("bias_type,sentence")),
    "fairness/stereotype_query_test": FileSpec(95),
    "fairness/disparagement": FileSpec(
        810, _strings("sex,race,age,education,work_hours,work_type")
    ),
    "fairness/preference": FileSpec(
        240, {"type": _one_of("plain", "force"), **_strings("option_a,option_b,question")}
    ),
    "robustness/AdvGLUE": FileSpec(
        912,
        {
            "index": int,
            "task": _one_of("qqp", "sst2", "qnli", "mnli"),
            "label": int,
            "method": str,
            "type": _one_of("original", "modified"),
        },
    ),
    "robustness/AdvInstruction": FileSpec(600, {"index": int, "type": str, "topic": str}),
    "robustness/ood_detection": FileSpec(241),
    "robustness/ood_generalization": FileSpec(
        500, {"label": str, "source": _one_of("flipkart", "ddxplus")}
    ),
    "privacy/privacy_awareness_confAIde": FileSpec(196, {"label": NUMBER}),
    "privacy/privacy_awareness_query": FileSpec(
        560,
        {
            "type": _one_of("normal", "aug"),
            **_strings("privacy_information,name,question,info-content"),
        },
    ),
    "privacy/privacy_leakage": FileSpec(
        400,
        {
            "type": _one_of("A", "B", "C", "D"),
            "shotType": _one_of("zero-shot", "five-shot"),
            **_strings("gt-email,gt-name"),
        },
    ),
    "ethics/implicit_SocialChemistry101": FileSpec(500, {"label": float, "action": str}),
    "ethics/implicit_ETHICS": FileSpec(
        500, {"label": _one_of("wrong", "not wrong"), **_strings("topic,input")}
    ),
    "ethics/explicit_moralchoice": FileSpec(
        1367,
        {
            "type": _one_of("low", "high"),
            "label": _one_of("A", "B"),
            **_strings("scenario_id,context,good_action,bad_action"),
        },
    ),
    "ethics/awareness": FileSpec(
        2666,
        {"label": str, "dimension": _one_of("emotion", "capability", "mission", "perspective")},
    ),
}


@cache
def _adapter(name: str) -> TypeAdapter[list[Any]]:
    """Names with blanks and hyphens cannot be attributes, hence aliases f0, f1, ..."""
    fields: dict[str, Any] = {}
    for i, (key, kind) in enumerate({"prompt": str, **FILES[name].fields}.items()):
        optional = type(None) in getattr(kind, "__args__", ())
        fields[f"f{i}"] = (kind, Field(None if optional else ..., alias=key))
    model = create_model(
        name.replace("/", "_"), __config__=ConfigDict(extra="ignore", strict=True), **fields
    )
    return TypeAdapter(list[model])  # type: ignore[valid-type]


def _find(archive: Archive, name: str) -> str:
    hits = [n for n in archive.names() if n == f"{name}.json" or n.endswith(f"/{name}.json")]
    if not hits:
        raise SourceMissing(
            f"{archive.path} has no file {name}.json",
            remedy="give the official dataset.zip (24 files), or run `trustllm-repro fetch`",
        )
    return min(hits, key=len)


@dataclass(frozen=True)
class Benchmark:
    """Raw rows of all 24 files, in official order, by file name without suffix."""

    rows: Mapping[str, list[Row]]
    digest: str
    path: str

    def __getitem__(self, name: str) -> list[Row]:
        return self.rows[name]


def load_benchmark(path: str | Path, *, verify: bool = True) -> Benchmark:
    """Read, validate and check the benchmark.

    Args:
        path: the official ZIP or a folder with the same files.
        verify: compare row counts and sha256 with the committed manifest.

    Raises:
        SourceMissing, SourceCorrupt, SchemaError: see their docstrings; nothing is returned
        unless all 24 files are right.
    """
    archive, known = Archive(path), manifest("benchmark")
    rows: dict[str, list[Row]] = {}
    for name, spec in FILES.items():
        member = _find(archive, name)
        data = archive.read(member)
        parse_rows(data, _adapter(name), member)
        rows[name] = json.loads(data.decode("utf-8-sig"))
        if not verify:
            continue
        if len(rows[name]) != spec.rows:
            raise SchemaError(
                member, None, "", f"{spec.rows} rows expected, {len(rows[name])} found"
            )
        want = known[f"{name}.json"]["sha256"]
        if sha256(data) != want:
            raise SourceCorrupt(
                f"{archive.path}: {member} has sha256 {sha256(data)}, expected {want}",
                remedy="fetch the official file again, or pass --unverified to use an altered one",
            )
    return Benchmark(rows, archive.digest(), str(archive.path))


MINIATURE = "miniature"


def open_benchmark(path: str | Path, *, verify: bool = True) -> Benchmark:
    """Like `load_benchmark`, but the word "miniature" names the one that comes with the package.

    The miniature has the same 24 files with about twelve made-up items each: a demonstration.
    """
    if str(path) == MINIATURE:
        return replace(load_benchmark(data_dir() / MINIATURE, verify=False), path=MINIATURE)
    return load_benchmark(path, verify=verify)
