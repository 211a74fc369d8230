"""Programs in a limited process: right and wrong ones, and those that do what they should not."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("resource")

from trustllm_repro.errors import SettingsError
from trustllm_repro.online.labels import execution
from trustllm_repro.online.labels.execution import Limits, Outcome, consent, run_programs

SHORT = Limits(cpu=1, wall=8.0)
FORK = "import os\nos.fork()"


def outcome(program: str, limits: Limits = SHORT) -> Outcome:
    with consent():
        return run_programs([program], limits)[0]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def f(x):\n    return x + 1\nassert f(1) == 2", Outcome.PASSED),
        ("import math, re, collections, typing\nassert math.sqrt(4) == 2", Outcome.PASSED),
        ("open('notes.txt', 'w').write('x')\nassert open('notes.txt').read() == 'x'", Outcome.PASSED),
        ("print('x' * 10**7)", Outcome.PASSED),
        ("assert 1 == 2", Outcome.FAILED),
        ("def f(:", Outcome.FAILED),
        ("def f(): return f()\nf()", Outcome.FAILED),
        ("import numpy", Outcome.FAILED),
        ("", Outcome.PASSED),
    ],
)  # fmt: skip
def test_programs_that_keep_to_themselves(program: str, expected: Outcome) -> None:
    assert outcome(program) == expected


@pytest.mark.parametrize(
    "leave",
    ["raise SystemExit(0)", "import sys; sys.exit(0)", "import os; os._exit(0)", "exit(0)",
     "import os; [os.write(fd, b'started ') for fd in range(3, 32)]"],
)  # fmt: skip
def test_leaving_with_success_before_the_tests_is_no_pass(leave: str) -> None:
    assert outcome(f"{leave}\nassert False") == Outcome.FAILED


def test_an_endless_loop_ends() -> None:
    assert outcome("while True: pass") == Outcome.TIMEOUT
    assert outcome("import time\ntime.sleep(60)", Limits(wall=0.6)) == Outcome.TIMEOUT


def test_a_loop_that_catches_everything_ends() -> None:
    program = (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "while True:\n    try:\n        [0] * 10**12\n    except BaseException:\n        pass"
    )
    assert outcome(program) in (Outcome.TIMEOUT, Outcome.FAILED)


@pytest.mark.parametrize(
    "program",
    ["x = bytearray(2 * 1024**3)", "x = []\nwhile True: x.append(bytearray(10**7))",
     "open('big', 'wb').write(bytes(10**7))"],
)  # fmt: skip
def test_memory_and_files_are_limited(program: str) -> None:
    # Little memory and much time: on a slow machine, to fill half a gigabyte takes seconds.
    assert outcome(program, Limits(memory=128 * 2**20)) == Outcome.FAILED


@pytest.mark.parametrize(
    "program",
    [FORK, "while True:\n    " + FORK.replace("\n", "\n    "),
     "import subprocess\nsubprocess.run(['true'])", "import os\nos.system('true')",
     "import os\nos.posix_spawn('/bin/true', ['true'], {})",
     "import socket\nsocket.create_connection(('127.0.0.1', 9))",
     "import os\nos.kill(os.getppid(), 0)",
     "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (600, 600))"],
)  # fmt: skip
def test_what_a_program_that_computes_never_does_is_stopped(program: str) -> None:
    assert outcome(program) == Outcome.FAILED


def test_nothing_is_written_or_removed_outside(tmp_path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    for program in (
        f"open({str(tmp_path / 'new.txt')!r}, 'w')",
        f"open({str(kept)!r}, 'r+').write('x')",
        f"import os\nos.open({str(kept)!r}, os.O_WRONLY | os.O_TRUNC)",
        f"import os\nos.remove({str(kept)!r})",
        f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
        f"import pathlib\npathlib.Path({str(kept)!r}).rename('x')",
    ):
        assert outcome(program) == Outcome.FAILED
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["kept.txt"]
    assert kept.read_text() == "mine"


def test_it_sees_nothing_of_the_caller(monkeypatch) -> None:
    monkeypatch.setenv("TRUSTLLM_PROBE", "1")
    program = (
        "import os, sys\nassert 'TRUSTLLM_PROBE' not in os.environ\nassert os.listdir('.') == []\n"
        "assert sys.stdin.read() == ''\nassert not any('site-packages' in p for p in sys.path)"
    )
    assert outcome(program) == Outcome.PASSED


def test_outcomes_keep_their_order() -> None:
    with consent():
        found = run_programs(["assert 0", "", "assert 0", ""], SHORT)
    assert found == [Outcome.FAILED, Outcome.PASSED] * 2


def test_without_consent_nothing_runs(tmp_path) -> None:
    with pytest.raises(SettingsError, match="--run-code"):
        run_programs([""])
    with consent(), consent(False), pytest.raises(SettingsError):
        run_programs([""])
    with consent():
        pass
    with pytest.raises(SettingsError):
        run_programs([])


def test_a_system_without_limits_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    with consent(), pytest.raises(SettingsError, match="cannot limit"):
        run_programs([""])


def test_a_process_that_does_not_start_is_no_failed_program(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(execution, "_CANDIDATE", tmp_path / "absent.py")
    assert outcome("") == Outcome.CANNOT_RUN
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    assert outcome("") == Outcome.CANNOT_RUN
