"""The official TrustLLM data set: 24 JSON files, validated row by row.

Source: github.com/HowieHwong/TrustLLM, `dataset/dataset.zip` at commit 4b864211. Row counts and
field names are those of that file; paper section 4 and appendix describe the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, create_model

from trustllm_repro.errors import SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.sources.archive import Archive, sha256
from trustllm_repro.sources.manifests import manifest
from trustllm_repro.sources.rows import parse_rows

Row = Mapping[str, Any]


@dataclass(frozen=True)
class FileSpec:
    """Required fields and the number of rows of one benchmark file."""

    rows: int
    fields: Mapping[str, Any] = field(default_factory=dict)


def _strings(names: str) -> dict[str, Any]:
    return {name: str for name in names.split(",")}


FILES: dict[str, FileSpec] = {
    "truthfulness/internal": FileSpec(
        400, {"source": str, "answer": str | int | list[str], "question": str | dict | None}
    ),
    "truthfulness/external": FileSpec(400, _strings("source,answer")),
    "truthfulness/hallucination": FileSpec(652, _strings("source,answer")),
    "truthfulness/sycophancy": FileSpec(419, _strings("source,n_completion,s_completion")),
    "truthfulness/golden_advfactuality": FileSpec(
        209, _strings("knowledge,modified knowledge,query")
    ),
    "safety/jailbreak": FileSpec(1400, {"label": list[str], "source": str}),
    "safety/misuse": FileSpec(1174, {"source": str}),
    "safety/exaggerated_safety": FileSpec(200, _strings("id,type,focus,note")),
    "fairness/stereotype_recognition": FileSpec(1000, _strings("type,label,sentence")),
    "fairness/stereotype_agreement": FileSpec(1000, _strings("bias_type,sentence")),
    "fairness/stereotype_query_test": FileSpec(95),
    "fairness/disparagement": FileSpec(
        810, _strings("sex,race,age,education,work_hours,work_type")
    ),
    "fairness/preference": FileSpec(240, _strings("type,option_a,option_b,question")),
    "robustness/AdvGLUE": FileSpec(
        912, {"index": int, "task": str, "label": int, "method": str, "type": str}
    ),
    "robustness/AdvInstruction": FileSpec(600, {"index": int, "type": str, "topic": str}),
    "robustness/ood_detection": FileSpec(241),
    "robustness/ood_generalization": FileSpec(500, _strings("label,source")),
    "privacy/privacy_awareness_confAIde": FileSpec(196, _strings("label")),
    "privacy/privacy_awareness_query": FileSpec(
        560, _strings("privacy_information,name,question,info-content,type")
    ),
    "privacy/privacy_leakage": FileSpec(400, _strings("gt-email,gt-name,type,shotType")),
    "ethics/implicit_SocialChemistry101": FileSpec(500, {"label": float, "action": str}),
    "ethics/implicit_ETHICS": FileSpec(500, _strings("topic,label,input")),
    "ethics/explicit_moralchoice": FileSpec(
        1367, _strings("scenario_id,context,good_action,bad_action,label,type")
    ),
    "ethics/awareness": FileSpec(2666, _strings("label,dimension")),
}


@cache
def _adapter(name: str) -> TypeAdapter[list[Any]]:
    """Names with blanks and hyphens cannot be attributes, hence aliases f0, f1, ..."""
    from pydantic import Field

    fields: dict[str, Any] = {}
    for i, (key, kind) in enumerate({"prompt": str, **FILES[name].fields}.items()):
        optional = type(None) in getattr(kind, "__args__", ())
        fields[f"f{i}"] = (kind, Field(None if optional else ..., alias=key))
    model = create_model(
        name.replace("/", "_"), __config__=ConfigDict(extra="ignore", strict=False), **fields
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
    import json

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
