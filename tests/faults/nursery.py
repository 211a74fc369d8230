"""Processes that generate or evaluate, to be killed: forked from one that has imported torch.

Run as a script it reads one JSON order a line, forks a child for it and says its process id; when
the child has ended it says how. A fork takes milliseconds, an import of torch seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BATCH = 8  # rows in the making at a time
MADE = "made.log"  # keys of answers the model gave, noted before they are stored


class Nursery:
    """The parent's side. `started` children run at once; each can be killed at any moment."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._heard() == "ready"

    def _heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, what: str, out: Path, **settings: Any) -> int:
        """Process id of a child that works in `out`."""
        order = {"what": what, "model": str(self.model), "out": str(out), "settings": settings}
        self._say(order)
        return int(self._heard())

    def _say(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self, child: int) -> int:
        """Wait for a child; its exit code, negative if a signal ended it."""
        self._say({"what": "wait", "child": child})
        return int(self._heard())

    def run(self, what: str, out: Path, **settings: Any) -> None:
        assert self.end(self.start(what, out, **settings)) == 0

    def kill(self, child: int) -> bool:
        """kill -9; whether that came before the child's own end."""
        os.kill(child, signal.SIGKILL)  # an ended child stays a zombie until it is waited for
        code = self.end(child)
        assert code in (0, -signal.SIGKILL)
        return code != 0

    def close(self) -> None:
        self.process.communicate()


def wait_until(happened, seconds: float = 60.0) -> None:
    """Look every half millisecond."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.0005)


# The child's side


def generates(order: dict[str, Any]) -> None:
    from trustllm_repro.data.benchmark import load_benchmark
    from trustllm_repro.evaluation.generate import ResponseStore, Settings, generate, make_plan
    from trustllm_repro.models.base import content_key
    from trustllm_repro.models.local import LocalModel

    out = Path(order["out"])
    out.mkdir(parents=True, exist_ok=True)

    class Noted(LocalModel):
        def complete(self, requests):
            for batch in super().complete(requests):
                keys = [content_key(self.identity, requests[i]) for i, _ in batch]
                with open(out / MADE, "a") as f:
                    f.write("".join(f"{k}\n" for k in keys))
                yield batch

    model = Noted(Path(order["model"]), "m", batch_size=BATCH)
    plan = make_plan(model, load_benchmark("miniature"), Settings(**order["settings"]))
    generate(model, plan, ResponseStore(out, "m"))


def evaluates(order: dict[str, Any]) -> None:
    from trustllm_repro.evaluation.generate import EvaluationConfig, Settings
    from trustllm_repro.evaluation.run import evaluate
    from trustllm_repro.progress import Progress

    given = {k: tuple(v) if isinstance(v, list) else v for k, v in order["settings"].items()}
    job = EvaluationConfig(
        order["model"], "miniature", Path(order["out"]), Settings(**given), workers=1,
        batch_size=BATCH,
    )  # fmt: skip
    evaluate(job, progress=Progress())


def _forked(work, order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work(order)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    import torch

    import trustllm_repro.evaluation.run
    import trustllm_repro.models.local

    torch.set_num_threads(1)
    assert trustllm_repro
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["what"] == "wait":
            _, status = os.waitpid(order["child"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        else:
            work = {"generate": generates, "evaluate": evaluates}[order["what"]]
            print(_forked(work, order), flush=True)


if __name__ == "__main__":
    main()
