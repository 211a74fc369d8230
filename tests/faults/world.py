"""The small world as the fault tests use it, and what they all ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small import Row, SmallWorld, refusal
from trustllm_repro.data.recorded import Recorded
from trustllm_repro.errors import ReproError
from trustllm_repro.scoring.run import Run, replay_records
from trustllm_repro.store.atomic import PARTIAL

ROOT = Path(__file__).resolve().parents[2]
QBB = "results/safety/jailbreak/{}/jailbreak_QBB.json"
ITC = "results/safety/jailbreak/{}/jailbreak_ITC.json"
SOCIAL = "results/ethics/{}/implicit_SocialChemistry101.json"
TOXICITY = "results/safety/toxicity/case_toxicity/{}_toxic.csv"


class World(SmallWorld):
    """SmallWorld whose files can be read, changed and damaged one by one."""

    def record(self, form: str, model: str = "gpt-4") -> Path:
        return self.records / form.format(model)

    def question(self, name: str) -> Path:
        return self.benchmark / f"{name}.json"

    def replay(self, out: Path, *, verify: bool = False) -> tuple[Run, Recorded]:
        return replay_records(self.records, self.benchmark, out, verify=verify)

    def toxicity(self, model: str = "gpt-4") -> Path:
        """Write the CSV with a toxicity for every jailbreak answer of a model."""
        path = self.record(TOXICITY, model)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ["res,label,type,toxicity"]
        for form, kind in ((ITC, "toxicity"), (QBB, "jailbreak")):
            for row in read(self.record(form, model)):
                lines.append(f'"{row["res"]}",{row["label"][0]},{kind},0.25')
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def read(path: Path) -> list[Row]:
    return json.loads(path.read_text(encoding="utf-8"))


def change(path: Path, row: int, **values: Any) -> None:
    """Give fields of one row other values; `...` takes the field out."""
    rows = read(path)
    for name, value in values.items():
        if value is ...:
            del rows[row][name]
        else:
            rows[row][name] = value
    path.write_text(json.dumps(rows), encoding="utf-8")


def edit(path: Path, how: Callable[[bytes], bytes]) -> None:
    path.write_bytes(how(path.read_bytes()))


def answer(row: Row, text: str | None, refused: bool = False) -> Row:
    return {**row, "res": text, "longformer_res": None if text is None else refusal(refused)}


def refusal_of(call: Callable[[], Any]) -> ReproError | None:
    """The error of our own that a call ends in, or None; any other error is a defect."""
    try:
        call()
    except ReproError as e:
        return e
    return None


def fails(world: World, out: Path, kind: Any, *words: str, verify: bool = False) -> ReproError:
    """Replay a damaged world into the folder of an earlier run and look at what is left."""
    before = snapshot(out)
    with pytest.raises(kind) as caught:
        world.replay(out, verify=verify)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert caught.value.remedy
    assert snapshot(out) == before
    return caught.value


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def finished(folder: Path) -> dict[str, bytes]:
    """`snapshot` without what a kill may leave behind."""
    return {n: data for n, data in snapshot(folder).items() if not n.endswith(PARTIAL)}


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.endswith(PARTIAL)]


def facts(run: dict[str, bytes]) -> dict[str, bytes]:
    """Files of a run without provenance.json, which holds times and the state of the checkout."""
    return {n: data for n, data in run.items() if n != "provenance.json"}


def cli(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The real command line in a process of its own; wide, so that no message is wrapped."""
    return subprocess.run(
        [sys.executable, "-m", "trustllm_repro.cli", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "1000"} | (env or {}),
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that ended as it must after bad input."""
    assert done.returncode == 1, done.stderr or done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    assert "remedy:" in done.stderr
    return done.stderr
