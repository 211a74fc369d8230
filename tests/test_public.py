"""What `import trustllm_repro as tr` gives: few names, quick, and nothing switched."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import trustllm_repro as tr


def test_there_are_at_most_25_names() -> None:
    assert len(tr.__all__) <= 25
    assert set(tr.__all__) <= set(dir(tr))


@pytest.mark.parametrize("name", tr.__all__)
def test_each_is_there_and_explains_itself(name: str) -> None:
    found = getattr(tr, name)
    if not isinstance(found, dict):  # MODELS is data
        assert len(inspect.getdoc(found) or "") > 60


def test_unknown_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'leaderbord'"):
        tr.leaderbord  # noqa: B018


def test_a_name_means_the_same_whatever_was_imported_before() -> None:
    code = (
        "import trustllm_repro.export, trustllm_repro.display, trustllm_repro as tr; "
        "assert callable(tr.show) and callable(tr.save) and callable(tr.score)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_switches_no_backend_and_loads_no_torch() -> None:
    code = (
        "import matplotlib as mpl, os, sys, logging; before = dict(os.environ); "
        "mpl.rcParams['backend'] = 'svg'; level = logging.root.level; "
        "import trustllm_repro as tr; tr.plot, tr.open_run, tr.show, tr.save, tr.claims; "
        "assert mpl.rcParams['backend'] == 'svg'; assert 'torch' not in sys.modules; "
        "assert dict(os.environ) == before; assert logging.root.level == level"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-400:]
