"""Folders that cannot be written and results that cannot be read: the message, and what is kept."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.world import (
    QBB,
    ROOT,
    World,
    change,
    cli,
    edit,
    facts,
    leftovers,
    refusal_of,
    refused,
    snapshot,
)
from trustllm_repro.errors import OutputError, ReproError, SourceCorrupt, SourceMissing
from trustllm_repro.scoring import results
from trustllm_repro.scoring.ledger import Ledger
from trustllm_repro.scoring.results import Results, load
from trustllm_repro.scoring.run import Run, open_run, replay_ledger, trace_result
from trustllm_repro.store import atomic


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# --- folders that cannot be written --------------------------------------------------------------


def test_a_path_below_a_file(world, tmp_path):
    (tmp_path / "file").write_text("keep me", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write") as caught:
        world.replay(tmp_path / "file" / "run")
    assert str(tmp_path / "file" / "run") in caught.value.problem
    assert "--out" in caught.value.remedy
    assert (tmp_path / "file").read_text(encoding="utf-8") == "keep me"


def test_a_path_below_a_file_on_the_command_line(world, tmp_path):
    (tmp_path / "file").write_text("keep me", encoding="utf-8")
    done = cli("replay", "--unverified", "--records", world.records, "--benchmark",
               world.benchmark, "--out", tmp_path / "file" / "run")  # fmt: skip
    message = refused(done)
    assert "cannot write" in message
    assert str(tmp_path / "file" / "run") in message
    assert (tmp_path / "file").read_text(encoding="utf-8") == "keep me"


def test_a_folder_where_a_file_should_go(world, tmp_path):
    (tmp_path / "run" / "verify.csv" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"cannot write .*verify\.csv"):
        world.replay(tmp_path / "run")
    assert (tmp_path / "run" / "verify.csv" / "inside").is_dir()
    assert not leftovers(tmp_path / "run")


def test_a_read_only_folder(world, earlier, monkeypatch):
    """Root may write anywhere, so the system's answer is put in its mouth."""

    def refuse(*args, **kwargs):
        raise system_error(errno.EROFS)

    before = snapshot(earlier)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(OutputError, match="Read-only file system") as caught:
        world.replay(earlier)
    assert str(earlier / "items.parquet") in caught.value.problem
    assert caught.value.remedy
    assert snapshot(earlier) == before


def test_a_folder_that_becomes_read_only_while_a_file_is_written(tmp_path, monkeypatch):
    """Neither the rename nor the removal of the temporary file is possible then."""
    target = tmp_path / "file.txt"
    atomic.write_text(target, "earlier")

    def refuse(*args, **kwargs):
        raise system_error(errno.EROFS)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="the earlier file is untouched"):
        atomic.write_text(target, "later")
    monkeypatch.undo()
    assert target.read_text(encoding="utf-8") == "earlier"
    assert len(leftovers(tmp_path)) == 1


def test_permissions_of_a_folder(world, earlier):
    if os.geteuid() == 0:
        pytest.skip("root may write into a folder without permission")
    before = snapshot(earlier)
    earlier.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            world.replay(earlier)
    finally:
        earlier.chmod(0o700)
    assert snapshot(earlier) == before


# --- no space ------------------------------------------------------------------------------------


def full_at(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """From the file of that name on, nothing can be written; returns what was put in place."""
    written: list[str] = []
    dump, replace = Path.write_bytes, os.replace

    def write(path: Path, data: bytes) -> None:
        if f".{name}-" in path.name:
            dump(path, data[: len(data) // 2])
            raise system_error(errno.ENOSPC)
        dump(path, data)

    def put(source, target) -> None:
        written.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(Path, "write_bytes", write)
    monkeypatch.setattr(os, "replace", put)
    return written


@pytest.mark.parametrize("name", ["safety_jailbreak.csv", "truth_internal.tex", "verify.csv"])
def test_the_disk_is_full_while_a_table_is_written(world, earlier, monkeypatch, name):
    before = snapshot(earlier)
    for i in range(6):  # other answers, so that other tables would be written
        change(world.record(QBB), i, longformer_res=[{"label": "LABEL_0"}])
    written = full_at(monkeypatch, name)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        world.replay(earlier)
    assert name in caught.value.problem
    assert "the earlier file is untouched" in caught.value.problem
    assert "free space" in caught.value.remedy
    after = snapshot(earlier)
    assert after["verify.csv"] == before["verify.csv"]
    stayed = [n for n in before if Path(n).name not in written]
    assert any(n.endswith(name) for n in stayed)
    assert {n: after[n] for n in stayed} == {n: before[n] for n in stayed}
    assert after.keys() == before.keys()
    assert not leftovers(earlier)


def test_a_run_after_a_full_disk_gives_what_an_undisturbed_run_gives(world, earlier, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        full_at(patch, "privacy_leakage.csv")
        with pytest.raises(OutputError):
            world.replay(tmp_path / "out")
    again, _ = world.replay(tmp_path / "out")
    after, before = facts(snapshot(again.path)), snapshot(earlier)
    assert after == {n: before[n] for n in after}


LIMITED = """
import resource, sys
from pathlib import Path
from trustllm_repro.errors import OutputError
from trustllm_repro.scoring.run import replay_ledger
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    replay_ledger(Path(sys.argv[1]), Path(sys.argv[3]))
except OutputError as e:
    print(e)
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no limit on the size of files")
@pytest.mark.parametrize("limit", [0, 4096, 40_000])
def test_the_system_refuses_to_write_more(earlier, tmp_path, limit):
    """A limit on the size of files, which Parquet's writer in C++ meets as well as ours."""
    other = World(tmp_path / "other")
    for i in range(6):
        change(other.record(QBB), i, longformer_res=[{"label": "LABEL_0"}])
    other.replay(tmp_path / "source")
    before = snapshot(earlier)
    words = [sys.executable, "-c", LIMITED, str(earlier), str(limit), str(tmp_path / "source")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert "cannot write" in done.stdout, done.stderr
    assert "remedy: free space" in done.stdout
    after = snapshot(earlier)
    assert after.keys() == before.keys()
    changed = {n for n in before if after[n] != before[n]}
    assert all(len(after[n]) <= limit for n in changed)
    assert not {"verify.csv", "provenance.json"} & changed


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 KiB, on which the ledger has room and the tables have not."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_that_really_is_full(world, tiny):
    with pytest.raises(OutputError, match="No space left on device"):
        world.replay(tiny / "run")
    assert not leftovers(tiny)
    before = snapshot(tiny)
    assert before
    for path in tiny.rglob("*.csv"):
        assert len(pd.read_csv(path))
    with pytest.raises(OutputError, match="No space left on device"):
        world.replay(tiny / "run")
    assert snapshot(tiny) == before
    assert not leftovers(tiny)


def test_a_file_system_that_really_is_read_only(world, tiny):
    atomic.write_text(tiny / "run" / "verify.csv", "earlier\n")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    done = cli("replay", "--unverified", "--records", world.records, "--benchmark",
               world.benchmark, "--out", tiny / "run")  # fmt: skip
    assert "Read-only file system" in refused(done)
    assert snapshot(tiny) == {"run/verify.csv": b"earlier\n"}


# --- the helper ----------------------------------------------------------------------------------


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    atomic.write_text(tmp_path / "file", "earlier")

    def broken(path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise RuntimeError("a defect of the writer")

    with pytest.raises(RuntimeError, match="a defect of the writer"):
        atomic.write_with(tmp_path / "file", broken)
    assert snapshot(tmp_path) == {"file": b"earlier"}


def test_json_with_a_number_that_json_has_not(tmp_path):
    atomic.write_json(tmp_path / "file.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "file.json", {"a": float("nan")})
    assert snapshot(tmp_path) == {"file.json": b'{\n "a": 1\n}\n'}


def test_results_can_be_read_by_others(tmp_path):
    path = atomic.write_text(tmp_path / "file", "text")
    assert path.stat().st_mode & 0o777 == 0o644


# --- results that cannot be read -----------------------------------------------------------------


def rewritten(how: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        pq.write_table(how(pq.read_table(path)), path)

    return damage


def items_become(value: str | None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        words = pa.array([value] * len(table), pa.string() if value else pa.int16())
        return table.set_column(table.schema.names.index("item"), "item", words)

    return change


UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (lambda p: edit(p, lambda data: b"\x93NUMPY" * 99), "cannot be read"),
    "empty": (lambda p: edit(p, lambda data: b""), "cannot be read"),
    "cut": (lambda p: edit(p, lambda data: data[: len(data) // 2]), "cannot be read"),
    "last byte": (lambda p: edit(p, lambda data: data[:-1] + b"X"), "cannot be read"),
    "a column less": (rewritten(lambda t: t.drop_columns(["item"])), "has columns"),
    "another column": (rewritten(lambda t: t.append_column("x", t["item"])), "has columns"),
    "another order": (rewritten(lambda t: t.select(t.schema.names[::-1])), "has columns"),
    "another type": (rewritten(items_become("word")), "a column of a wrong type"),
    "no values": (rewritten(items_become(None)), "rows without item"),
}


@pytest.mark.parametrize("how", UNREADABLE)
@pytest.mark.parametrize("file", ["ledger.parquet", "items.parquet"])
def test_unreadable_ledger(earlier, file, how):
    damage, expected = UNREADABLE[how]
    damage(earlier / file)
    before = snapshot(earlier)
    with pytest.raises(SourceCorrupt, match=expected) as caught:
        Ledger.load(earlier)
    assert str(earlier / file) in caught.value.problem
    assert "trustllm-repro replay" in caught.value.remedy
    assert "git checkout -- data/ledger" in caught.value.remedy
    assert snapshot(earlier) == before


@pytest.mark.parametrize("file", ["ledger.parquet", "items.parquet"])
def test_damage_of_the_ledger_never_ends_in_a_traceback(earlier, file):
    whole, rng = (earlier / file).read_bytes(), random.Random(file)
    found = {"refused": 0, "read": 0}
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        (earlier / file).write_bytes(data)
        error = refusal_of(lambda: Ledger.load(earlier))
        if error is None:
            found["read"] += 1
        else:
            assert str(earlier / file) in error.problem
            assert error.remedy
            found["refused"] += 1
    # The ledger names the hash of its items, so no change of theirs passes.
    assert found["refused"] == 300 if file == "items.parquet" else min(found.values()) > 20


@pytest.mark.parametrize("file", ["ledger.parquet", "items.parquet"])
def test_one_altered_byte_of_the_ledger_is_noticed(earlier, file):
    good, whole, rng = Ledger.load(earlier), (earlier / file).read_bytes(), random.Random(file)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        (earlier / file).write_bytes(data)
        with contextlib.suppress(SourceCorrupt):
            read = Ledger.load(earlier)
            assert read.verdicts.equals(good.verdicts)
            assert read.items.equals(good.items)


@pytest.mark.parametrize("file", ["ledger.parquet", "items.parquet"])
def test_missing_ledger(earlier, tmp_path, file):
    (earlier / file).unlink()
    with pytest.raises(SourceMissing, match=f"{file} does not exist") as caught:
        replay_ledger(tmp_path / "out", earlier)
    assert "git checkout -- data/ledger" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_an_unreadable_ledger_does_not_touch_an_earlier_run(earlier, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("ledger.parquet", "items.parquet"):
        (source / name).write_bytes(b"PAR1 but not really PAR1")
    before = snapshot(earlier)
    with pytest.raises(SourceCorrupt, match="cannot be read"):
        replay_ledger(earlier, source)
    assert snapshot(earlier) == before


def test_an_unreadable_ledger_on_the_command_line(earlier):
    name = next(n for n, e in load(earlier).items() if e["cells"])
    (earlier / "ledger.parquet").write_bytes(b"garbage")
    message = refused(cli("trace", earlier, name))
    assert str(earlier / "ledger.parquet") in message
    assert "cannot be read" in message


def test_a_missing_run_folder_stands_on_the_committed_ledger(earlier, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "committed_ledger", lambda: earlier)
    made = open_run(tmp_path / "new")
    assert made.ledger.verdicts.equals(Ledger.load(earlier).verdicts)
    assert made.cells.equals(open_run(earlier).cells)
    assert not made.path.exists()


def test_unreadable_cells(earlier):
    (earlier / "cells.parquet").write_bytes(b"garbage")
    with pytest.raises(SourceCorrupt, match=r"cells\.parquet") as caught:
        _ = open_run(earlier).cells
    assert caught.value.remedy


def test_no_results(earlier):
    (earlier / "results.json").unlink()
    with pytest.raises(ReproError, match=r"results\.json does not exist") as caught:
        trace_result(earlier, "verify.cells")
    assert "trustllm-repro reproduce" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_unreadable_results(earlier, text):
    (earlier / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(ReproError, match=r"results\.json") as caught:
        load(earlier)
    assert caught.value.remedy


def test_an_unreadable_part_of_the_results(earlier):
    (earlier / "results" / "16_overview.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReproError, match=r"16_overview\.json"):
        Results("cells").save(earlier)


def test_an_unknown_result_on_the_command_line(earlier):
    message = refused(cli("trace", earlier, "verify.cell"))
    assert "no result named 'verify.cell'" in message
    assert "did you mean 'verify.cells'" in message


def test_no_verify_csv_on_the_command_line(tmp_path):
    message = refused(cli("verify", tmp_path))
    assert str(tmp_path / "verify.csv") in message
    assert "trustllm-repro replay" in message


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_unreadable_verify_csv_on_the_command_line(tmp_path, text):
    (tmp_path / "verify.csv").write_text(text, encoding="utf-8")
    assert "verify.csv" in refused(cli("verify", tmp_path))


def test_every_committed_cell_survives_the_way_to_csv(earlier):
    frame = pd.read_csv(earlier / "verify.csv")
    kept = Run(earlier).cells.pipe(results.verify_frame)
    assert len(frame) == len(kept)
    assert (frame["rule"] == "authors").sum() == 2158
    assert frame["published"].tolist() == kept["published"].tolist()
