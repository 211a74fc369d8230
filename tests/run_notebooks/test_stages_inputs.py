"""A stage depends on what it reads and on the code it imports, all of it and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.project import Project
from trustllm_repro import paths
from trustllm_repro.paths import project_root
from trustllm_repro.run_notebooks import stages
from trustllm_repro.run_notebooks.stages import (
    LARGE,
    code_used,
    files_read,
    make_plan,
    read_notebook,
    run_plan,
)
from trustllm_repro.store.atomic import write_text

# --- files, looked at through the real notebooks

DIMENSIONS = {"10_truthfulness", "11_safety", "12_fairness", "13_robustness", "14_privacy",
              "15_machine_ethics"}  # fmt: skip
SHOWS_MODELS = {*DIMENSIONS, "18_judges", "19_my_model"}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Project:
    """The project, its code reduced to nothing: code is looked at below."""
    project = Project(tmp_path_factory.mktemp("inputs") / "project")
    for folder in ("data", "notebooks"):
        shutil.copytree(project_root() / folder, project.root / folder, dirs_exist_ok=True)
    shutil.copy(project_root() / "requirements.lock", project.root)
    model = project.root / "models" / "mine"
    write_text(model / "config.json", "{}")
    write_text(project.root / "prompts.txt", "one\n")
    write_text(project.root / "evaluated" / "ledger.parquet", "x")
    write_text(project.root / "home" / "dataset.zip", "x")
    write_text(project.root / "home" / "trustllm-recorded.zip", "x")
    chosen = {name: {} for name in sorted(p.stem for p in project.notebooks.glob("*.ipynb"))}
    chosen["00_provenance"] = {"source": "ledger"}
    chosen["05_live"] = {"model": "../models/mine"}
    chosen["11_safety"] = {"models": ["smollm2-135m", "../evaluated"]}
    chosen["30_early_tokens_gpu"] = {"prompts": "../prompts.txt"}
    project.profile(chosen)
    return project


@pytest.fixture
def project(original, monkeypatch) -> Project:
    for module in (paths, stages):
        monkeypatch.setattr(module, "project_root", lambda: original.root)
    monkeypatch.setenv("TRUSTLLM_DATA", str(original.root / "home"))
    monkeypatch.setattr(
        stages, "execute", lambda name, parameters, folder: put_outputs(folder, name)
    )
    monkeypatch.setattr(stages, "ProcessPoolExecutor", run_in_thread)
    shutil.rmtree(original.run, ignore_errors=True)
    write_text(original.run / "provenance.json", "{}")
    run_plan(make_plan("tiny", original.run))
    assert due(original) == set()
    return original


def run_in_thread(workers, *how):
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1)


def put_outputs(folder: Path, name: str) -> float:
    for suffix in (".ipynb", ".html"):
        write_text(folder / "notebooks" / f"{name}{suffix}", "good")
    return 0.1


def due(project: Project) -> set[str]:
    return {s.name for s in make_plan("tiny", project.run).due}


def change(path: Path) -> Callable[[], None]:
    """Change a file's content; returns what puts it back."""
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(before + b"\n")

    def back() -> None:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return back


ONLINE = {"20_pilot", "21_benchmark", "22_access_levels", "23_hybrids_and_stopping", "24_claims"}
ASKED = {"05_live", *SHOWS_MODELS, *ONLINE, "30_early_tokens_gpu"}
# Who is due once a file has changed; stages that need a changed one are due with it.
CHANGES = {
    "data/judges/refusal.safetensors": ASKED,
    "data/judges/README.md": set(),
    "data/miniature/safety/misuse.json": {"05_live", *SHOWS_MODELS},
    "data/measurements/judge_correction.json": {"18_judges"},
    "data/measurements/polygraph.json": {"24_claims"},
    "data/readings/cases.json": {"18_judges"},
    "data/readings/options.csv": ONLINE,
    "data/manifests/wheels.csv": {*ONLINE, "30_early_tokens_gpu"},
    "data/online/provenance.json": {"21_benchmark", "24_claims"},
    "data/guards/harm-smollm2.guard": {"25_watch", "30_early_tokens_gpu"},
    "data/live/smollm2-135m/ledger.parquet": SHOWS_MODELS,
    "evaluated/ledger.parquet": {"11_safety"},
    "models/mine/config.json": {"05_live", *SHOWS_MODELS},
    "prompts.txt": {"30_early_tokens_gpu"},
    "home/dataset.zip": ASKED - {"30_early_tokens_gpu"},
    "home/trustllm-recorded.zip": ONLINE,
}


def test_each_kind_of_file_makes_exactly_its_readers_due(project):
    """One test, as setting up takes seconds."""
    for path, expected in CHANGES.items():
        back = change(project.root / path)
        found = due(project)
        back()
        assert found == expected, path
        assert due(project) == set(), path


def test_records_and_what_reads_them_count_where_they_are_read(project):
    reads = read_notebook("00_provenance").reads
    assert not [f for f in files_read(reads, {"source": "ledger"}) if "home" in f or "judges/" in f]
    found = {Path(f).name for f in files_read(reads, {"source": "auto"})}
    assert {"dataset.zip", "trustllm-recorded.zip", "refusal.safetensors"} <= found


def test_a_new_model_in_the_run_folder_is_shown(project):
    put = project.run / "live" / "another" / "ledger.parquet"
    write_text(put, "x")
    found = due(project)
    shutil.rmtree(put.parent)
    # 11_safety and 19_my_model name the models they show.
    assert found == SHOWS_MODELS - {"11_safety", "19_my_model"}


def test_results_of_running_a_notebook_by_hand_change_nothing(project):
    """Outputs and counts, as an editor saves them, are no part of the source."""
    path = project.notebooks / "16_overview.ipynb"
    before = path.read_bytes()
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.execution_count = 3
            cell.outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(book, path)
    unchanged = due(project)
    book.cells[-1].source += "\n1"
    nbformat.write(book, path)
    changed = due(project)
    path.write_bytes(before)
    assert (unchanged, changed) == (set(), {"16_overview"})


def test_size_and_time_stand_for_a_large_file(tmp_path):
    path = tmp_path / "large.bin"
    with open(path, "wb") as file:
        file.truncate(LARGE + 1)
    first = files_read([f"{tmp_path}/*"], {})
    os.utime(path, (1, 1))
    assert files_read([f"{tmp_path}/*"], {}).keys() == first.keys()
    assert files_read([f"{tmp_path}/*"], {}) != first


@pytest.mark.parametrize("value", ["", "[", "*", "hf:some/model", "http://x/[y]", "none"])
def test_a_value_that_is_no_path_matches_nothing(value):
    assert files_read(["{model}", "data/live/{model}x"], {"model": value}) == {}


def test_a_pattern_with_an_unknown_name_is_refused():
    with pytest.raises(stages.SettingsError, match="'nothing' is no parameter"):
        files_read(["{nothing}/x"], {"run_dir": "x"})


# --- code


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that imports downwards, with a plotting module beside a model."""
    monkeypatch.setattr(stages, "project_root", lambda: tmp_path)
    monkeypatch.setattr(stages, "EXPORTS", {"ask": "ask", "bars": "draw", "words": ""})
    files = {
        "__init__": '__version__ = "1"\n',
        "ask": '"""Says."""\nfrom trustllm_repro import words\n\ndef ask():\n    """Asks."""\n'
        "    from trustllm_repro.models.one import One  # late\n    return One, words\n",
        "words": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from trustllm_repro.draw import bars\nA = 1\n",
        "models.__init__": "",
        "models.one": "import pkgutil\n\nclass One:\n    pass\n",
        "models.two": "X = 1\n",
        "draw": "from trustllm_repro.words import A\n\ndef bars():\n    return A\n",
    }
    for name, text in files.items():
        write_text(tmp_path.joinpath("trustllm_repro", *name.split(".")).with_suffix(".py"), text)
    return tmp_path / "trustllm_repro"


ASKS = "from trustllm_repro.ask import ask\n%matplotlib inline\nask()"


def modules(*cells: str) -> set[str]:
    return {n.removeprefix("trustllm_repro").lstrip(".") for n in code_used(cells)}


def test_imports_are_followed_into_functions_and_packages(package):
    """models.one imports pkgutil: it loads its neighbours by name."""
    asked = {"", "ask", "words", "models", "models.one", "models.two"}
    assert modules(ASKS, "1 +") - {"models.__init__"} == asked


def test_of_the_package_itself_only_used_names_are_followed(package):
    assert modules("import trustllm_repro as tr\ntr.bars()") == {"", "draw", "words"}
    assert modules("from trustllm_repro import bars") == {"", "draw", "words"}
    assert modules("import trustllm_repro as tr", "1 +", "tr.words.A") == {"", "words"}
    assert modules("from trustllm_repro import __version__") == {""}
    assert modules("import numpy") == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [("# late", "# later"), ('"""Asks."""', '"""Asks a model."""'), ('"""Says."""\n', "\n\n\n")],
)
def test_comments_docstrings_and_blank_lines_change_nothing(package, old, new):
    before = code_used([ASKS])
    edit(package / "ask.py", old, new)
    assert code_used([ASKS]) == before


def test_a_line_of_a_plotting_module_concerns_who_draws(package):
    asks, draws = code_used([ASKS]), code_used(["from trustllm_repro.draw import bars"])
    edit(package / "draw.py", "return A", "return A + 1")
    assert code_used([ASKS]) == asks
    assert code_used(["from trustllm_repro.draw import bars"]) != draws


def test_data_beside_the_modules_of_a_package_counts_as_its_code(package):
    before = code_used([ASKS])
    write_text(package / "models" / "names.toml", "a = 1")
    assert code_used([ASKS]) != before


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(1, 1))


def test_a_model_that_answers_does_not_depend_on_drawing():
    found = code_used(["import trustllm_repro as tr\ntr.evaluate_model()\ntr.open_run()"])
    assert "trustllm_repro.models.local" in found
    assert not [name for name in found if name.startswith("trustllm_repro.plot")]


def test_monitors_are_found_though_they_are_loaded_by_name():
    found = code_used(["from trustllm_repro.online.studies.run import monitor"])
    assert "trustllm_repro.online.monitors.probes" in found
    assert not [name for name in found if name.startswith("trustllm_repro.plot")]
