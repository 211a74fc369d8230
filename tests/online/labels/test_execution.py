"""Programs in a limited process, right and wrong ones and those that do what they should not; and how
they are found in answers, and seen to be broken as early as can be."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("resource")

from trustllm_repro.errors import SettingsError
from trustllm_repro.online.labels import execution
from trustllm_repro.online.labels.execution import (
    LIMITS,
    certainly_broken,
    code_of,
    consent,
    parses,
    run_programs,
    with_tests,
    written,
)

FORK = "import os\nos.fork()"


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    monkeypatch.setitem(LIMITS, "RLIMIT_CPU", [1, 2])
    monkeypatch.setattr(execution, "SECONDS", 8.0)


def passed(program: str) -> bool | None:
    with consent():
        return run_programs([program])[0]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def f(x):\n    return x + 1\nassert f(1) == 2", True),
        ("import math, re, collections, typing\nassert math.sqrt(4) == 2", True),
        ("open('notes.txt', 'w').write('x')\nassert open('notes.txt').read() == 'x'", True),
        ("print('x' * 10**7)", True),
        ("assert 1 == 2", False),
        ("def f(:", False),
        ("def f(): return f()\nf()", False),
        ("import numpy", False),
        ("", True),
    ],
)  # fmt: skip
def test_programs_that_keep_to_themselves(program: str, expected: bool) -> None:
    assert passed(program) is expected


@pytest.mark.parametrize(
    "leave",
    ["raise SystemExit(0)", "import sys; sys.exit(0)", "import os; os._exit(0)", "exit(0)",
     "import os; [os.write(fd, b'started ') for fd in range(3, 32)]"],
)  # fmt: skip
def test_leaving_with_success_before_the_tests_is_no_pass(leave: str) -> None:
    assert passed(f"{leave}\nassert False") is False


def test_an_endless_loop_ends(monkeypatch) -> None:
    assert passed("while True: pass") is False
    monkeypatch.setattr(execution, "SECONDS", 0.6)
    assert passed("import time\ntime.sleep(60)") is False


def test_a_loop_that_catches_everything_ends() -> None:
    program = (
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "while True:\n    try:\n        [0] * 10**12\n    except BaseException:\n        pass"
    )
    assert passed(program) is False


@pytest.mark.parametrize(
    "program",
    ["x = bytearray(2 * 1024**3)", "x = []\nwhile True: x.append(bytearray(10**7))",
     "open('big', 'wb').write(bytes(10**7))"],
)  # fmt: skip
def test_memory_and_files_are_limited(program: str, monkeypatch) -> None:
    # Little memory and much time: on a slow machine, to fill half a gigabyte takes seconds.
    monkeypatch.setitem(LIMITS, "RLIMIT_AS", [128 * 2**20] * 2)
    monkeypatch.setitem(LIMITS, "RLIMIT_CPU", [5, 6])
    monkeypatch.setattr(execution, "SECONDS", 20.0)
    assert passed(program) is False


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
    assert passed(program) is False


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
        assert passed(program) is False
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["kept.txt"]
    assert kept.read_text() == "mine"


def test_it_sees_nothing_of_the_caller(monkeypatch) -> None:
    monkeypatch.setenv("TRUSTLLM_PROBE", "1")
    program = (
        "import os, sys\nassert 'TRUSTLLM_PROBE' not in os.environ\nassert os.listdir('.') == []\n"
        "assert sys.stdin.read() == ''\nassert not any('site-packages' in p for p in sys.path)"
    )
    assert passed(program) is True


def test_outcomes_keep_their_order() -> None:
    with consent():
        found = run_programs(["assert 0", "", "assert 0", ""])
    assert found == [False, True] * 2


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
    assert passed("") is None
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    assert passed("") is None


PROMPT = 'from math import sqrt\n\n\ndef root(x):\n    """The root of x."""\n'
PROBLEM = {
    "prompt": PROMPT,
    "entry_point": "root",
    "test": "def check(f):\n    assert f(4) == 2\n",
}
BODY = "    y = sqrt(x)\n    return y\n"
WHOLE = "def root(x):\n" + BODY
TOLD = f"Gladly:\n```python\n{WHOLE}```\nThat is it."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("Hi\n```py\nx\n```\nbye", "x\n"),
        ("```x```", "x"),
        ("```\n", ""),
        (TOLD, WHOLE),
        (f"{WHOLE}```\n\nThat is it.", WHOLE),
        (f"\n{BODY}```\n\nThat is it.", f"\n{BODY}"),
        ("", ""),
    ],
)
def test_code_in_answers(text: str, code: str) -> None:
    assert code_of(text)[0] == code


@pytest.mark.parametrize("answer", [WHOLE, BODY, TOLD, PROMPT + BODY, BODY + "\nprint(root(9))\n"])
def test_right_answers_of_every_form_pass_their_tests(answer: str) -> None:
    scope: dict = {}
    exec(compile(with_tests(answer, PROBLEM), "made here", "exec"), scope)
    assert scope["root"](9) == 3
    assert parses(written(answer, PROBLEM))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("def root(x):\n    return 1\n", AssertionError),
        ("    return 1\n", AssertionError),
        ("", AssertionError),
        ("def other(x):\n    return x\n", AssertionError),
        ("I would rather not.", SyntaxError),
    ],
)
def test_wrong_answers_fail_them(answer: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        exec(compile(with_tests(answer, PROBLEM), "made here", "exec"), {})


@pytest.mark.parametrize("answer", [WHOLE, BODY, TOLD, PROMPT + BODY])
def test_no_prefix_of_a_right_answer_is_broken(answer: str) -> None:
    assert not any(certainly_broken(answer[:k], PROBLEM) for k in range(len(answer) + 1))


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("def root(x)):\n", True),
        ("def root(x)):", False),  # the line may go on
        ("    y = )\n", True),
        ("```python\ndef root(x:\n    return 1\n", True),
        ("```python\ndef root(x\n", False),
        ("```python\ndef root(x\n```\n", True),
        ("Gladly, (here it is:\n", False),
        ("```pyth", False),
    ],
)
def test_what_no_continuation_can_repair(text: str, broken: bool) -> None:
    assert certainly_broken(text, PROBLEM) == broken


@given(st.text(alphabet="`\n def(x):=1#'\"\\", max_size=60))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert code_of(text)[0] in text
    assert certainly_broken(text, PROBLEM) in (True, False)
    assert parses(written(text, PROBLEM)) in (True, False)


@given(
    st.text(alphabet="\n def(x):=1,", max_size=40), st.text(alphabet="\n def(x):=1,", max_size=20)
)
def test_what_is_certainly_broken_stays_so(text: str, more: str) -> None:
    if certainly_broken(text, PROBLEM):
        assert certainly_broken(text + more, PROBLEM)
