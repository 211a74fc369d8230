"""Parameters of notebooks and profiles, validated before anything runs."""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trustllm_repro.errors import SettingsError
from trustllm_repro.paths import project_root

_DTYPES = "^(auto|float32|bfloat16|float16)$"


class Parameters(BaseModel):
    """What every notebook takes. Unknown names and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run_dir: str = Field(description="folder the results go to", min_length=1)


class ProvenanceParameters(Parameters):
    """00_provenance decides where the verdicts come from."""

    records: str = Field("", description="ZIP or folder of recorded answers; empty: look for it")
    benchmark: str = Field("", description="ZIP or folder of the benchmark; empty: look for it")
    source: str = Field(
        "auto",
        pattern="^(auto|ledger|records)$",
        description="'records' reads the answers, 'ledger' the committed verdicts, 'auto' answers "
        "if they are on this machine",
    )


class LiveParameters(Parameters):
    """05_live lets a model answer."""

    model: str = Field("smollm2-135m", description="as for `trustllm-repro evaluate --model`")
    benchmark: str = Field(
        "",
        description="ZIP or folder of the benchmark, or 'miniature'; empty: look for it, else the "
        "miniature",
    )
    limit: int = Field(0, ge=0, description="about so many items a task; 0: all")
    max_new_tokens: int = Field(128, ge=1, description="longest answer; the paper: 512")
    dtype: str = Field("auto", pattern=_DTYPES, description="of weights; auto: the faster one")
    workers: int = Field(0, ge=0, description="processes; 0: what fits this machine")


class DimensionParameters(Parameters):
    """Notebooks that show live models."""

    models: list = Field(
        [],
        description="live models to show: folders of data/live, of <run_dir>/live, or any other; "
        "empty: all there are",
    )

    @field_validator("models")
    @classmethod
    def _names(cls, value: list) -> list[str]:
        if not all(isinstance(name, str) and name for name in value):
            raise ValueError("names of models expected")
        return value


class CardParameters(Parameters):
    """19_my_model: one live model in detail."""

    model: str = Field(
        "smollm2-135m",
        description="a folder that `evaluate --out` wrote, or a name in data/live or <run_dir>/live",
        min_length=1,
    )


class OnlineParameters(Parameters):
    """20_pilot lets models answer, and watches them."""

    models: list = Field(["smollm2-135m"], description="as for `trustllm-repro monitor --model`")
    tasks: list = Field([], description="online tasks; empty: all there are")
    limit: int = Field(0, ge=0, description="about so many cases a task; 0: all")
    dtype: str = Field("auto", pattern=_DTYPES, description="of weights; auto: the faster one")
    device: str = Field("auto", description="auto, cpu, cuda ...")
    costly: bool = Field(False, description="also monitors that need further answers")
    sheets: str = Field("", description="folder for sheets of the manual audit; empty: none")
    run_code: bool = Field(False, description="run programs the models wrote; see execution.py")


class WatchParameters(Parameters):
    """25_watch shows one answer with the danger of its tokens."""

    model: str = Field(
        "smollm2-135m", description="as for `trustllm-repro monitor --model`", min_length=1
    )
    task: str = Field(
        "harm", description="whose stored answers the monitor is fitted to", min_length=1
    )
    monitor: str = Field(
        "linear probe, middle layer", description="any that one answer is enough for"
    )
    risk: float = Field(0.05, gt=0, lt=1, description="of a false alarm on a safe answer")
    prompt: str = Field("How do bees make honey?", description="what the model is asked")
    max_new_tokens: int = Field(60, ge=1, le=2000, description="longest answer")
    dtype: str = Field("auto", pattern=_DTYPES, description="of weights; auto: the faster one")
    device: str = Field("auto", description="auto, cpu, cuda ...")
    interactive: str = Field(
        "auto", pattern="^(auto|yes|no)$", description="a widget below the page"
    )


class EarlyTokensParameters(Parameters):
    """30_early_tokens_gpu watches one model, as large as the device holds."""

    model: str = Field(
        "smollm2-135m", description="as for `trustllm-repro monitor --model`", min_length=1
    )
    tasks: list = Field(
        ["toxicity", "truthfulness"], description="online tasks; empty: all there are"
    )
    limit: int = Field(0, ge=0, description="about so many prompts a task; 0: all")
    prompts: str = Field(
        "", description="file or hub data set of prompts for toxicity, or full; empty: its own 700"
    )
    dtype: str = Field("auto", pattern=_DTYPES, description="of weights; auto: the faster one")
    device: str = Field("auto", description="auto, cpu, cuda ...")
    batch_size: int = Field(
        0, ge=0, description="answers at a time; 0: what the device's memory holds"
    )
    repeats: int = Field(
        0, ge=0, le=100, description="rounds of timing what watching costs; 0: none"
    )
    shape: str = Field(
        "", description="time also random weights of that shape, e.g. 7b; needs a GPU"
    )


class AccessParameters(Parameters):
    """22_closed_access may watch an endpoint besides the models of 20_pilot."""

    endpoint: str = Field("", description="as for `trustllm-repro monitor --model`; empty: none")
    limit: int = Field(100, ge=0, description="about so many prompts a task of it; 0: all")


class OverviewParameters(Parameters):
    resamples: int = Field(
        1000, ge=100, le=100_000, description="bootstrap draws for rank intervals"
    )


NOTEBOOKS: dict[str, type[Parameters]] = {
    "00_provenance": ProvenanceParameters,
    "05_live": LiveParameters,
    "10_truthfulness": DimensionParameters,
    "11_safety": DimensionParameters,
    "12_fairness": DimensionParameters,
    "13_robustness": DimensionParameters,
    "14_privacy": DimensionParameters,
    "15_machine_ethics": DimensionParameters,
    "16_overview": OverviewParameters,
    "17_audit": Parameters,
    "18_judges": DimensionParameters,
    "19_my_model": CardParameters,
    "20_pilot": OnlineParameters,
    "21_benchmark": Parameters,
    "22_closed_access": AccessParameters,
    "23_hybrids": Parameters,
    "24_claims": Parameters,
    "25_watch": WatchParameters,
    "30_early_tokens_gpu": EarlyTokensParameters,
}


class Profile(BaseModel):
    """A named parameter set: notebooks/profiles/<name>.yaml."""

    model_config = ConfigDict(extra="forbid")

    describes: str
    notebooks: dict[str, dict[str, Any]] = Field(
        description="notebook -> parameters; the notebooks run are those named"
    )
    seconds: dict[str, int] = Field(
        {}, description="what long notebooks took on two cores with these parameters, for the plan"
    )


def _message(where: str, error: ValidationError) -> SettingsError:
    problems = "; ".join(
        f"{'.'.join(str(x) for x in e['loc']) or 'value'}: {e['msg']}"
        for e in error.errors(include_url=False)
    )
    return SettingsError(f"{where}: {problems}", remedy="see the parameters cell of the notebook")


def check(notebook: str, values: dict[str, Any]) -> dict[str, Any]:
    """Complete and validate a notebook's parameters.

    Raises:
        SettingsError: unknown notebook or parameter, wrong type, value that looks like a key.
    """
    if notebook not in NOTEBOOKS:
        raise SettingsError(
            f"unknown notebook {notebook!r}", remedy=f"one of: {', '.join(NOTEBOOKS)}"
        )
    for name, value in values.items():
        if isinstance(value, str) and looks_secret(value):
            raise SettingsError(
                f"{notebook}.{name} looks like a secret key; parameters are stored in the results",
                remedy="pass keys through environment variables only",
            )
    try:
        return NOTEBOOKS[notebook](**values).model_dump()
    except ValidationError as e:
        raise _message(f"notebook {notebook}", e) from e


_KEY = re.compile(
    r"(?<![A-Za-z0-9])(sk-|hf_|gh[pousr]_|github_pat_|glpat-|gsk_|xox[abp]-|AKIA|AIza)[\w-]{12,}"
)


def looks_secret(value: str) -> bool:
    """Whether a key of a known service stands anywhere in a value."""
    return _KEY.search(value) is not None


def load_profile(name: str) -> Profile:
    """Read and validate a profile; unknown parameters fail here, before a kernel starts."""
    folder = project_root() / "notebooks" / "profiles"
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise SettingsError(f"no profile {name!r}", remedy=f"one of: {known}")
    try:
        profile = Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as e:
        raise _message(f"profile {path.name}", e) from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise SettingsError(
            f"profile {path.name} is not YAML: {e}", remedy="restore it with `git checkout`"
        ) from e
    for notebook, values in profile.notebooks.items():
        check(notebook, {"run_dir": "runs/check", **(values or {})})
    return profile
