"""Programs that a model wrote: how they are run, with consent only, and found in an answer.

Each runs in a limited process of its own. This limits accidents: endless loops, memory, floods of
output, stray files and processes. It is NO sandbox. A program that means harm runs with the user's
rights, can read what the user can read, and can get round the guard, which lives in its own process.
Give consent for a model you do not trust only inside a container or a virtual machine that holds
nothing of value. HumanEval's own harness (Chen et al. 2021), the model of this one, says the same.
"""

from __future__ import annotations

import ast
import codeop
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from trustllm_repro.errors import SettingsError

PARALLEL = 2
SECONDS = 20.0  # by the clock, for programs that wait
# Soft and hard limits of a process, by name in the module `resource`: seconds of the processor
# (what counts on a busy machine too), bytes of address space and of any file.
LIMITS = {
    "RLIMIT_CPU": [5, 6],
    "RLIMIT_AS": [512 * 2**20] * 2,
    "RLIMIT_FSIZE": [2**20] * 2,
    "RLIMIT_NPROC": [0, 0],  # the kernel does not hold root to it; the guard does
    "RLIMIT_NOFILE": [32, 32],
    "RLIMIT_CORE": [0, 0],
}
_CANDIDATE = Path(__file__).with_name("candidate.py")
_consent: ContextVar[bool] = ContextVar("consent to run programs", default=False)


@contextmanager
def consent(given: bool = True) -> Iterator[None]:
    """Inside, programs may be run if `given`; consent around it does not count."""
    before = _consent.set(given)
    try:
        yield
    finally:
        _consent.reset(before)


def check_allowed() -> None:
    """Raises SettingsError: no consent, or a system whose processes cannot be limited."""
    if not _consent.get():
        raise SettingsError(
            "programs that a model wrote are run with consent only",
            remedy="allow it with --run-code, or run_code = True in 20_pilot, after reading the head "
            "of trustllm_repro/online/labels/execution.py",
        )
    if find_spec("resource") is None:
        raise SettingsError(
            "this system cannot limit what a process uses, so no program of a model is run",
            remedy="use Linux or macOS, or leave the task out with --task",
        )


def run_programs(programs: Sequence[str]) -> list[bool | None]:
    """Whether each program came to its end, and did not raise, leave early, hit a limit or crash;
    None: its process did not come as far as the program. Raises as check_allowed."""
    check_allowed()
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(_passes, programs))


def _passes(program: str) -> bool | None:
    """By what its process reports; nothing of the process's group is left."""
    token = secrets.token_hex(16)  # what a program that leaves early with success cannot have said
    job = json.dumps({"program": program, "token": token, "limits": LIMITS}).encode()
    try:
        with TemporaryDirectory(prefix="trustllm-") as folder, TemporaryFile() as report:
            # Isolated, no site packages, no byte code written.
            with subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(_CANDIDATE)],
                cwd=folder, env={}, stdin=subprocess.PIPE, stdout=report,
                stderr=subprocess.DEVNULL, start_new_session=True,
            ) as process:  # fmt: skip
                try:
                    with suppress(subprocess.TimeoutExpired):
                        process.communicate(job, timeout=SECONDS)
                finally:
                    with suppress(ProcessLookupError):  # all of the group has ended
                        os.killpg(process.pid, signal.SIGKILL)
            report.seek(0)
            said = report.read(256).decode("ascii", "replace")
    except OSError:
        return None
    return said == f"started {token}" if said.startswith("started ") else None


# A line of a program's head, or an indented line, with blank lines before it.
_CODE = re.compile(
    r"(?:[ \t]*\n)*(?:(?:def|async def|class|import|from \S+ import|@)[ \w]|[ \t]+\S)"
)


def code_of(text: str) -> tuple[str, bool, bool]:
    """The Python code in an answer; whether it has begun; and whether it is over, whatever follows.
    It is in the first fence, before it (some models put one only after it), or the whole answer."""
    before, *fenced = text.split("```")
    if not fenced or _CODE.match(before):
        return before, bool(_CODE.match(before)), bool(fenced)
    language, newline, rest = fenced[0].partition("\n")
    return (rest if newline else language), bool(newline), len(fenced) > 1


def parses(code: str, parse: Callable[[str], object] = ast.parse) -> bool:
    """Whether `parse` accepts it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            parse(code)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False  # the last two on absurdly nested text
    return True


def certainly_broken(text: str, problem: Mapping[str, str]) -> bool:
    """Whether an answer that starts like this holds no program, however it goes on: only whole
    lines count, as the last one may still change. Text before the program says nothing."""
    code, begun, over = code_of(text)
    if over:
        return not parses(written(text, problem))
    prefix = written(code[: code.rfind("\n") + 1], problem)
    return begun and not parses(prefix, partial(codeop.compile_command, symbol="exec"))


def written(text: str, problem: Mapping[str, str]) -> str:
    """The program an answer makes of a HumanEval problem.

    The prompt comes first: its imports and helpers are needed. An answer redefines the function, or
    is its body, up to the first line that is not indented.
    """
    code = code_of(text)[0]
    if re.search(rf"^(?:async )?def {re.escape(problem['entry_point'])}\b", code, re.MULTILINE):
        return f"{problem['prompt']}\n{code}"
    body = re.match(r"(?:[ \t]*\n|[ \t]+[^\n]*(?:\n|$))*", code)  # lines blank or indented
    return problem["prompt"] + ((body and body[0]) or code)


def with_tests(text: str, problem: Mapping[str, str]) -> str:
    """The same with the problem's tests behind it; run, it raises unless they are passed."""
    return f"{written(text, problem)}\n{problem['test']}\ncheck({problem['entry_point']})\n"
