"""What a notebook says of itself, and the profiles that give it parameters.

The `parameters` cell gives names, types, defaults and meaning of a notebook's parameters;
`metadata.trustllm` says the rest:

    {"needs": ["00_provenance"],           stages that run before it, if the profile names them
     "reads": ["data/published/*.csv"],    files it reads; see inputs.files_read
     "model": true,                        a model answers in it; only one such stage runs at a time
     "parameters": {"limit": {"ge": 0}}}   bounds of values, as pydantic.Field takes them
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from trustllm_repro.errors import SettingsError, SourceCorrupt
from trustllm_repro.paths import project_root

# What a notebook that declares nothing is taken to depend on.
UNDECLARED: dict[str, Any] = {
    "needs": ["00_provenance"], "reads": ["data"], "model": False, "parameters": {}
}  # fmt: skip
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(sk-|hf_|gh[pousr]_|github_pat_|glpat-|gsk_|xox[abp]-|AKIA|AIza)[\w-]{12,}"
)


@dataclass(frozen=True)
class Notebook:
    """What a notebook says of itself.

    Attributes:
        cells: type and source of each. parameters: a model of pydantic that checks their values.
    """

    name: str
    cells: list[tuple[str, str]]
    parameters: type[BaseModel]
    needs: tuple[str, ...]
    reads: tuple[str, ...]
    model: bool


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


def notebooks_dir() -> Path:
    return project_root() / "notebooks"


def read_notebook(name: str) -> Notebook:
    """Read what a notebook says of itself.

    Raises:
        SettingsError: no such notebook. SourceCorrupt: the file is none.
    """
    from nbformat import ValidationError as NotValid
    from papermill import inspect_notebook

    path = notebooks_dir() / f"{name}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in notebooks_dir().glob("*.ipynb")))
        raise SettingsError(f"no notebook notebooks/{name}.ipynb", remedy=f"one of: {known}")
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        cells = [(c["cell_type"], "".join(c["source"])) for c in book["cells"]]
        said = UNDECLARED | book["metadata"].get("trustllm", {})
        parameters = _parameters(inspect_notebook(str(path)), said["parameters"])
    except (OSError, ValueError, KeyError, TypeError, NotValid) as e:
        raise SourceCorrupt(
            f"notebooks/{name}.ipynb is not a notebook: {e}",
            remedy="restore it with `git checkout -- notebooks`",
        ) from e
    needs = tuple(n for n in said["needs"] if n != name)
    return Notebook(name, cells, parameters, needs, tuple(said["reads"]), bool(said["model"]))


def _parameters(inspected: Mapping[str, Any], bounds: Mapping[str, Any]) -> type[BaseModel]:
    """A model of pydantic with what papermill found in the cell and the bounds of the metadata."""
    fields: dict[str, Any] = {}
    for name, found in inspected.items():
        default = ast.literal_eval(found["default"])
        word = list[Annotated[str, Field(min_length=1)]]
        kind = word if isinstance(default, list) else type(default)
        more = {"min_length": 1} if name == "run_dir" else {}
        more |= {"description": found["help"], **bounds.get(name, {})}
        fields[name] = (kind, Field(default, **more))
    strict = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    return create_model("Parameters", __config__=strict, **fields)


def check(notebook: Notebook | str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete and validate the parameters of a notebook, or of that name.

    Raises:
        SettingsError: unknown notebook or parameter, wrong type, value that looks like a key.
    """
    notebook = read_notebook(notebook) if isinstance(notebook, str) else notebook
    for name, value in values.items():
        if _KEY.search(str(value)):
            raise SettingsError(
                f"{notebook.name}.{name} looks like a secret key; parameters are stored in the "
                "results",
                remedy="pass keys through environment variables only",
            )
    try:
        return notebook.parameters(**values).model_dump()
    except ValidationError as e:
        raise _invalid(f"notebook {notebook.name}", e) from e


def _invalid(where: str, error: ValidationError) -> SettingsError:
    problems = "; ".join(
        f"{'.'.join(str(x) for x in e['loc']) or 'value'}: {e['msg']}"
        for e in error.errors(include_url=False)
    )
    return SettingsError(f"{where}: {problems}", remedy="see the parameters cell of the notebook")


def load_profile(name: str) -> Profile:
    """Read a profile.

    Raises:
        SettingsError: there is none of that name, or it is no profile.
    """
    folder = notebooks_dir() / "profiles"
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise SettingsError(f"no profile {name!r}", remedy=f"one of: {known}")
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as e:
        raise _invalid(f"profile {path.name}", e) from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise SettingsError(
            f"profile {path.name} is not YAML: {e}", remedy="restore it with `git checkout`"
        ) from e
