"""Run programs a model wrote, with consent only, each in a limited process of its own.

This limits accidents: endless loops, memory, floods of output, stray files and processes. It is NO
sandbox. A program that means harm runs with the user's rights, can read what the user can read, and
can get round the guard, which lives in its own process. Whoever does not trust a model gives the
consent inside a container or a virtual machine that holds nothing of value.

Source of the idea: HumanEval's own harness (Chen et al. 2021), which tells the same of itself.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from trustllm_repro.errors import SettingsError

ALLOW = (
    "allow it with --run-code, or run_code = True in 20_pilot, after reading the head of "
    "trustllm_repro/online/labels/execution.py"
)
PARALLEL = 2
_CANDIDATE = Path(__file__).with_name("candidate.py")
_consent: ContextVar[bool] = ContextVar("consent to run programs", default=False)


class Outcome(StrEnum):
    """What became of a program."""

    PASSED = "passed"  # it ran to its end
    FAILED = "failed"  # it raised, left early, hit a limit other than time, or crashed
    TIMEOUT = "timeout"  # of the processor or by the clock
    CANNOT_RUN = "cannot run"  # the process did not come as far as the program


@dataclass(frozen=True)
class Limits:
    """Of one process.

    Attributes:
        cpu: seconds of the processor; what counts on a busy machine too.
        wall: seconds by the clock, for programs that wait.
        memory: bytes of address space. file: bytes of any file it writes.
    """

    cpu: int = 5
    wall: float = 20.0
    memory: int = 512 * 2**20
    file: int = 2**20

    def wanted(self) -> dict[str, list[int]]:
        """Soft and hard limits by name in the module `resource`."""
        return {
            "RLIMIT_CPU": [self.cpu, self.cpu + 1],
            "RLIMIT_AS": [self.memory, self.memory],
            "RLIMIT_FSIZE": [self.file, self.file],
            # No further process. The kernel does not hold root to it; the guard does.
            "RLIMIT_NPROC": [0, 0],
            "RLIMIT_NOFILE": [32, 32],
            "RLIMIT_CORE": [0, 0],
        }


@contextmanager
def consent(given: bool = True) -> Iterator[None]:
    """Inside, programs may be run if `given`; consent around it does not count."""
    before = _consent.set(given)
    try:
        yield
    finally:
        _consent.reset(before)


def check_allowed() -> None:
    """Whether programs may, and can, be run here.

    Raises:
        SettingsError: no consent, or a system whose processes cannot be limited.
    """
    if not _consent.get():
        raise SettingsError("programs that a model wrote are run with consent only", remedy=ALLOW)
    try:
        import resource  # noqa: F401
    except ImportError as e:
        raise SettingsError(
            "this system cannot limit what a process uses, so no program of a model is run",
            remedy="use Linux or macOS, or leave the task out with --task",
        ) from e


def run_programs(programs: Sequence[str], limits: Limits | None = None) -> list[Outcome]:
    """Run each program, PARALLEL at a time. It has passed if it came to its end.

    Raises:
        SettingsError: as check_allowed.
    """
    check_allowed()
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(lambda p: _run(p, limits or Limits()), programs))


def _run(program: str, limits: Limits) -> Outcome:
    token = secrets.token_hex(16)  # what a program that leaves early with success cannot have said
    heard, said = os.pipe()
    job = {"program": program, "token": token, "fd": said, "limits": limits.wanted()}
    try:
        with tempfile.TemporaryDirectory(prefix="trustllm-") as folder:
            late, code = _wait(json.dumps(job).encode(), folder, said, limits.wall)
        os.set_blocking(heard, False)
        return _outcome(_read(heard), token, late or code == -signal.SIGXCPU)
    except OSError:
        return Outcome.CANNOT_RUN
    finally:
        os.close(heard)
        os.close(said)


def _wait(job: bytes, folder: str, said: int, seconds: float) -> tuple[bool, int]:
    """Whether the time was over, and the exit code; nothing of the process's group is left."""
    late = False
    with subprocess.Popen(
        # Isolated, no site packages, no byte code written.
        [sys.executable, "-I", "-S", "-B", str(_CANDIDATE)],
        cwd=folder, env={}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, pass_fds=(said,), start_new_session=True,
    ) as process:  # fmt: skip
        try:
            process.communicate(job, timeout=seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with suppress(ProcessLookupError):  # all of the group has ended
                os.killpg(process.pid, signal.SIGKILL)
    return late, process.returncode


def _read(heard: int) -> str:
    try:
        return os.read(heard, 256).decode("ascii", "replace")
    except BlockingIOError:
        return ""


def _outcome(heard: str, token: str, late: bool) -> Outcome:
    if heard == f"started {token}":
        return Outcome.PASSED
    if not heard.startswith("started "):
        return Outcome.CANNOT_RUN
    return Outcome.TIMEOUT if late else Outcome.FAILED
