"""The official TrustLLM data set: 24 JSON files, validated row by row.

Source: github.com/HowieHwong/TrustLLM, `dataset/dataset.zip` at commit 4b864211. Row counts and
field names are those of that file; paper section 4 and appendix describe the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from trustllm_repro.data.registry import manifest
from trustllm_repro.errors import SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_dir
from trustllm_repro.store.archive import Archive, sha256

Row = Mapping[str, Any]
MINIATURE = "miniature"


def _strings(names: str) -> dict[str, Any]:
    return {name: str for name in names.split(",")}


# Fields of each file's rows besides `prompt`; a file has more, which are kept as they are.
FILES: dict[str, dict[str, Any]] = {
    "truthfulness/internal": {
        "source": Literal["codah", "squad", "adversarial", "hotpot"],
        "answer": str | int | list[str],
        "question": NotRequired[str | dict | None],
    },
    "truthfulness/external": {
        "source": Literal["climate", "healthver", "covid", "scifact"],
        "answer": Literal["SUPPORT", "REFUTE"],
    },
    "truthfulness/hallucination": {
        "source": Literal["mc", "halu_qa", "halu_dial", "halu_summ"],
        "answer": str,
    },
    "truthfulness/sycophancy": {
        "source": Literal["persona", "preference"],
        **_strings("n_completion,s_completion"),
    },
    "truthfulness/golden_advfactuality": _strings("knowledge,modified knowledge,query"),
    "safety/jailbreak": {
        "label": Annotated[list[str], Field(min_length=1)],
        "source": Literal["ITC", "QBB"],
    },
    "safety/misuse": {"source": Literal["do_not_answer", "misuse_add", "Do-anything-now"]},
    "safety/exaggerated_safety": _strings("id,type,focus,note"),
    "fairness/stereotype_recognition": _strings("type,label,sentence"),
    "fairness/stereotype_agreement": _strings("bias_type,sentence"),
    "fairness/stereotype_query_test": {},
    "fairness/disparagement": _strings("sex,race,age,education,work_hours,work_type"),
    "fairness/preference": {
        "type": Literal["plain", "force"],
        **_strings("option_a,option_b,question"),
    },
    "robustness/AdvGLUE": {
        "index": int,
        "task": Literal["qqp", "sst2", "qnli", "mnli"],
        "label": int,
        "method": str,
        "type": Literal["original", "modified"],
    },
    "robustness/AdvInstruction": {"index": int, "type": str, "topic": str},
    "robustness/ood_detection": {},
    "robustness/ood_generalization": {"label": str, "source": Literal["flipkart", "ddxplus"]},
    "privacy/privacy_awareness_confAIde": {  # a number kept as text
        "label": Annotated[str, StringConstraints(pattern=r"^-?\d+(\.\d+)?$")]
    },
    "privacy/privacy_awareness_query": {
        "type": Literal["normal", "aug"],
        **_strings("privacy_information,name,question,info-content"),
    },
    "privacy/privacy_leakage": {
        "type": Literal["A", "B", "C", "D"],
        "shotType": Literal["zero-shot", "five-shot"],
        **_strings("gt-email,gt-name"),
    },
    "ethics/implicit_SocialChemistry101": {"label": float, "action": str},
    "ethics/implicit_ETHICS": {"label": Literal["wrong", "not wrong"], **_strings("topic,input")},
    "ethics/explicit_moralchoice": {
        "type": Literal["low", "high"],
        "label": Literal["A", "B"],
        **_strings("scenario_id,context,good_action,bad_action"),
    },
    "ethics/awareness": {
        "label": str,
        "dimension": Literal["emotion", "capability", "mission", "perspective"],
    },
}


def with_fields(fields: Mapping[str, Any], *, strict: bool = False) -> Any:
    """Type of an object that has these fields; further ones are kept as they are."""
    found = TypedDict("Row", fields)  # type: ignore[operator]
    found.__pydantic_config__ = ConfigDict(extra="allow", strict=strict)
    return found


def list_of_rows(fields: Mapping[str, Any], *, strict: bool = False) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[with_fields(fields, strict=strict)])  # type: ignore[misc]


def parse_rows(
    data: bytes, adapter: TypeAdapter[list[Any]], file: str, *, remedy: str = ""
) -> list[Any]:
    """Rows of a JSON list after validation; `remedy`: for a file that is no copy of a published one.

    Raises SourceCorrupt: not UTF-8 JSON; SchemaError, which names file, row (from 0) and field of
    the first problem.
    """
    try:
        return adapter.validate_python(json.loads(data.decode("utf-8-sig")))
    except ValidationError as e:
        first, *more = e.errors(include_url=False, include_input=False)
        row = next((at for at in first["loc"][:1] if isinstance(at, int)), None)
        name = next((at for at in first["loc"][row is not None :] if isinstance(at, str)), "")
        also = f" ({len(more)} further problem(s) in this file)" if more else ""
        raise SchemaError(file, row, name, first["msg"] + also, remedy=remedy) from e
    except (ValueError, RecursionError) as e:  # not UTF-8, not JSON, or nested too deeply
        raise SourceCorrupt(
            f"{file} is not UTF-8 JSON: {e}",
            remedy=remedy or "fetch the file again; it is cut or altered",
        ) from e


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
        path: the official ZIP, a folder with the same files, or "miniature": the package's own, a
            demonstration with about twelve made-up items a file.
        verify: compare row counts and sha256 with the committed manifest.

    Raises SourceMissing, SourceCorrupt, SchemaError: not all 24 files are there and right.
    """
    miniature = str(path) == MINIATURE
    archive = Archive(data_dir() / MINIATURE if miniature else path)
    known, verify = manifest("benchmark"), verify and not miniature
    rows: dict[str, list[Row]] = {}
    members = archive.names()
    for name, fields in FILES.items():
        hits = [m for m in members if f"/{m}".endswith(f"/{name}.json")]
        if not hits:
            raise SourceMissing(
                f"{archive.path} has no file {name}.json",
                remedy="give the official dataset.zip (24 files), or run `trustllm-repro fetch`",
            )
        member = min(hits, key=len)
        data = archive.read(member)
        rows[name] = parse_rows(data, list_of_rows({"prompt": str, **fields}, strict=True), member)
        if not verify:
            continue
        want = known[f"{name}.json"]
        if (n := len(rows[name])) != int(want["rows"]):
            raise SchemaError(member, None, "", f"{want['rows']} rows expected, {n} found")
        if sha256(data) != want["sha256"]:
            raise SourceCorrupt(
                f"{archive.path}: {member} has sha256 {sha256(data)}, expected {want['sha256']}",
                remedy="fetch the official file again, or pass --unverified to use an altered one",
            )
    return Benchmark(rows, archive.digest(), MINIATURE if miniature else str(archive.path))
