"""Bad input: each fault gives a message with file, row and remedy, and touches no earlier result."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.world import (
    QBB,
    World,
    change,
    cli,
    edit,
    facts,
    fails,
    finished,
    leftovers,
    read,
    refusal_of,
    refused,
    snapshot,
)
from trustllm_repro.data import benchmark, registry
from trustllm_repro.data.benchmark import load_benchmark
from trustllm_repro.data.registry import fetch, manifest
from trustllm_repro.errors import SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.scoring.run import replay_records
from trustllm_repro.store.archive import Archive, sha256

JAILBREAK, MISUSE = "safety/jailbreak", "safety/misuse"
GPT4_QBB = QBB.format("gpt-4")


def official(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the small benchmark the one whose row counts and sha256 are expected."""
    known = {
        f"{name}.json": {"rows": len(rows), "sha256": sha256(world.question(name).read_bytes())}
        for name, rows in world.rows.items()
    }
    monkeypatch.setattr(benchmark, "manifest", lambda name: known)


def list_hashes(world: World) -> Path:
    """Give the recorded answers a MANIFEST.csv of their own, as the real archive has."""
    lines = ["path,sha256"]
    for path, data in snapshot(world.records).items():
        lines.append(f"{path},{sha256(data)}")
    target = world.records / "MANIFEST.csv"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


# --- checksums -----------------------------------------------------------------------------------


def test_a_benchmark_with_the_expected_hashes_is_read(world, monkeypatch):
    official(world, monkeypatch)
    assert len(load_benchmark(world.benchmark)["safety/misuse"]) == 90


def test_one_altered_byte_of_the_benchmark(world, earlier, monkeypatch):
    official(world, monkeypatch)
    edit(world.question(MISUSE), lambda data: data.replace(b"misuse_add 7", b"misuse_add 8"))
    json.loads(world.question(MISUSE).read_bytes())
    found = sha256(world.question(MISUSE).read_bytes())
    fails(
        world, earlier, SourceCorrupt, "safety/misuse.json", found, "--unverified", verify=True
    )  # fmt: skip
    world.replay(earlier)  # what the remedy names helps


def test_an_altered_recorded_file(world, earlier, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world)
    world.replay(earlier, verify=True)
    edit(world.record(QBB), lambda data: data.replace(b"item 3", b"item 4"))
    fails(world, earlier, SourceCorrupt, GPT4_QBB, "MANIFEST.csv", verify=True)
    world.replay(earlier)


def test_files_without_a_known_hash_are_named_in_the_report(world, tmp_path, monkeypatch):
    official(world, monkeypatch)
    target = list_hashes(world)
    edit(target, lambda data: b"".join(x for x in data.splitlines(True) if b"QBB" not in x))
    _, recorded = world.replay(tmp_path / "out", verify=True)
    assert recorded.report.unverified == [QBB.format(m) for m in World.models]
    written = json.loads((tmp_path / "out" / "import.json").read_bytes())
    assert written["unverified"] == recorded.report.unverified


def test_a_manifest_without_its_columns(world, earlier, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world).write_text("file;hash\na;b\n", encoding="utf-8")
    fails(world, earlier, SourceCorrupt, "MANIFEST.csv", verify=True)


def test_a_manifest_that_is_not_text(world, earlier, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world).write_bytes(b"path,sha256\n\xff\xfe,1\n")
    fails(world, earlier, SourceCorrupt, "MANIFEST.csv", verify=True)


def test_a_listed_file_that_is_not_there(world, tmp_path, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world)
    world.record(QBB).unlink()
    error = refusal_of(lambda: world.replay(tmp_path / "out", verify=True))
    said = str(error) if error else (tmp_path / "out" / "import.json").read_text(encoding="utf-8")
    assert GPT4_QBB in said


# --- fetch --from --------------------------------------------------------------------------------


def wants(monkeypatch: pytest.MonkeyPatch, **files: bytes) -> None:
    wanted = {f"recorded/{n}.json": ("", sha256(data)) for n, data in files.items()}
    monkeypatch.setattr(registry, "remote_files", lambda: wanted)


def test_fetch_from_an_altered_copy(tmp_path, monkeypatch):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    wants(monkeypatch, first=b"[1]", second=b"[2]", third=b"[3]")
    for name, data in (("first", b"[1]"), ("second", b"[5]"), ("third", b"[3]")):
        (source / f"{name}.json").write_bytes(data)
    (home / "recorded").mkdir(parents=True)
    (home / "recorded" / "third.json").write_bytes(b"[3]")
    with pytest.raises(SourceCorrupt, match=r"second\.json has not the sha256") as caught:
        fetch(source, home)
    assert "another source" in caught.value.remedy
    assert snapshot(home) == {"recorded/first.json": b"[1]", "recorded/third.json": b"[3]"}


def test_fetch_from_keeps_the_right_file_when_the_copy_is_altered(tmp_path, monkeypatch):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    wants(monkeypatch, first=b"[1]")
    (source / "first.json").write_bytes(b"[1]")
    written, absent = fetch(source, home)
    assert ([p.name for p in written], absent) == (["first.json"], [])
    (source / "first.json").write_bytes(b"[9]")
    fetch(source, home)
    assert snapshot(home) == {"recorded/first.json": b"[1]"}


def test_fetch_from_a_truncated_zip(tmp_path, monkeypatch):
    wants(monkeypatch, first=b"[1]" * 999)
    source = tmp_path / "source.zip"
    with zipfile.ZipFile(source, "w") as z:
        z.writestr("first.json", b"[1]" * 999)
    edit(source, lambda data: data[: len(data) * 6 // 10])
    with pytest.raises(SourceCorrupt, match=r"source\.zip is not a readable ZIP") as caught:
        fetch(source, tmp_path / "home")
    assert caught.value.remedy
    assert not (tmp_path / "home").exists()


def test_fetch_from_a_folder_of_something_else_has_a_remedy(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(SourceMissing, match="none of the files") as caught:
        fetch(tmp_path / "source", tmp_path / "home")
    assert caught.value.remedy


def test_fetch_on_the_command_line(tmp_path):
    """An altered file under a name of the committed manifest."""
    name = next(iter(manifest("recorded")))
    target = tmp_path / "source" / "recorded" / name
    target.parent.mkdir(parents=True)
    target.write_text("[]", encoding="utf-8")
    home = tmp_path / "home"
    done = cli("fetch", "--from", tmp_path / "source", env={"TRUSTLLM_DATA": str(home)})
    message = refused(done)
    assert name in message
    assert "sha256" in message
    assert snapshot(home) == {}


# --- ZIP files -----------------------------------------------------------------------------------


def in_zip(world: World) -> Path:
    """Replace the folder of answers by a ZIP of it."""
    target = world.zip(world.records)
    shutil.rmtree(world.records)
    world.records = target
    return target


def test_a_zip_gives_the_same_results_as_the_folder(world, earlier, tmp_path):
    in_zip(world)
    run, _ = world.replay(tmp_path / "out")
    again = facts(snapshot(run.path))
    assert again == {n: x for n, x in facts(snapshot(earlier)).items() if n in again}


def test_truncated_zip(world, earlier):
    edit(in_zip(world), lambda data: data[: len(data) * 6 // 10])
    fails(world, earlier, SourceCorrupt, str(world.records), "not a readable ZIP", "fetch")


def test_truncated_zip_of_the_benchmark(world, earlier):
    world.benchmark = world.zip(world.benchmark)
    edit(world.benchmark, lambda data: data[: len(data) * 6 // 10])
    fails(world, earlier, SourceCorrupt, str(world.benchmark), "not a readable ZIP", "fetch")


def test_not_a_zip(world, earlier):
    world.records = world.records.with_suffix(".zip")
    world.records.write_bytes(b"<html>404: not found</html>\n")
    fails(world, earlier, SourceCorrupt, str(world.records), "not a readable ZIP")


def test_an_empty_file_is_not_a_zip(world, earlier):
    world.records = world.records.with_suffix(".zip")
    world.records.touch()
    fails(world, earlier, SourceCorrupt, str(world.records), "not a readable ZIP")


def test_bytes_of_a_member_changed(world, earlier):
    edit(
        in_zip(world), lambda data: data.replace(b"gpt-4 answers at some", b"gpt-4 answers at same")
    )
    error = fails(world, earlier, SourceCorrupt, str(world.records), "cannot be read", "CRC")
    assert "gpt-4/" in str(error)


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "results/../../evil.json", "/etc/evil.json", "..\\evil.json", "C:/evil.json"],
)
def test_a_member_that_points_outside(world, earlier, tmp_path, name):
    with zipfile.ZipFile(in_zip(world), "a") as z:
        z.writestr(name, "[]")
    error = fails(world, earlier, SourceCorrupt, str(world.records), "outside the archive")
    assert repr(name) in str(error)
    assert not list(tmp_path.rglob("evil.json"))


def test_a_member_that_is_there_twice(world, earlier):
    with zipfile.ZipFile(in_zip(world), "a") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr(GPT4_QBB, "[]")
    fails(world, earlier, SourceCorrupt, GPT4_QBB, "twice")


def test_a_zip_that_says_it_unpacks_to_terabytes(world, earlier):
    def swell(data: bytes) -> bytes:
        start = struct.unpack_from("<I", data, data.rfind(b"PK\x05\x06") + 16)[0]
        return data[: start + 24] + struct.pack("<I", 0xFFFFFFF0) + data[start + 28 :]

    edit(in_zip(world), swell)
    fails(world, earlier, SourceCorrupt, str(world.records), "more than 2 GiB")


PACKED = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("how", PACKED)
def test_random_damage_never_ends_in_a_traceback(world, how):
    """Half of 400 damaged bytes lie in the index of the ZIP, the others anywhere."""
    source, damaged = world.records, world.records.with_suffix(".zip")
    with zipfile.ZipFile(damaged, "w", PACKED[how]) as z:
        for name, content in snapshot(source).items():
            z.writestr(name, content)
    whole, rng = damaged.read_bytes(), random.Random(how)
    index = struct.unpack_from("<I", whole, whole.rfind(b"PK\x05\x06") + 16)[0]
    good = set(snapshot(source).values())
    found = {"refused": 0, "same content": 0}

    def look() -> None:
        archive = Archive(damaged)
        assert {archive.read(name) for name in archive.names()} <= good

    for attempt in range(400):
        data = bytearray(whole)
        at = rng.randrange(index if attempt % 2 else 0, len(data))
        data[at] ^= rng.randrange(1, 256)
        damaged.write_bytes(data)
        error = refusal_of(look)
        if error is None:
            found["same content"] += 1
        else:
            assert str(damaged) in error.problem
            assert error.remedy
            found["refused"] += 1
    assert min(found.values()) > 20


def test_the_hash_of_a_folder_depends_on_names_and_bytes(world):
    before = Archive(world.records).digest()
    world.record(QBB).rename(world.record(QBB).with_name("other.json"))
    assert Archive(world.records).digest() != before


def test_the_zip_and_its_bytes_have_one_hash(world):
    target = in_zip(world)
    assert Archive(target).digest() == hashlib.sha256(target.read_bytes()).hexdigest()


# --- missing -------------------------------------------------------------------------------------


def test_missing_archive(world, earlier):
    world.records = world.records / "nowhere.zip"
    fails(world, earlier, SourceMissing, "no such ZIP or folder", "nowhere.zip", "fetch")


@pytest.mark.parametrize("name", sorted(benchmark.FILES))
def test_missing_benchmark_file(world, name):
    world.question(name).unlink()
    with pytest.raises(SourceMissing, match=f"no file {name}.json") as caught:
        load_benchmark(world.benchmark, verify=False)
    assert str(world.benchmark) in caught.value.problem
    assert "24 files" in caught.value.remedy


def test_missing_benchmark_file_keeps_the_earlier_run(world, earlier):
    world.question(MISUSE).unlink()
    fails(world, earlier, SourceMissing, "safety/misuse.json", "fetch")


def test_no_known_model_directory(world, earlier):
    shutil.rmtree(world.records)
    world.put(world.records / "answers" / "gpt-4" / "notes.json", [])
    error = fails(world, earlier, SourceMissing, str(world.records), "no model directory")
    assert "results/safety/jailbreak/<model>/jailbreak_QBB.json" in error.remedy


def test_empty_folder_of_answers(world, earlier):
    shutil.rmtree(world.records)
    world.records.mkdir()
    fails(world, earlier, SourceMissing, str(world.records), "no model directory")


def test_wrong_row_count(world, earlier, monkeypatch):
    official(world, monkeypatch)
    rows = read(world.question(MISUSE))
    world.put(world.question(MISUSE), rows[:-1])
    fails(world, earlier, SchemaError, "safety/misuse.json", "90 rows expected, 89 found",
          verify=True)  # fmt: skip


def test_a_new_folder_is_not_made_when_a_source_is_bad(world, tmp_path):
    change(world.record(QBB), 0, res=...)
    with pytest.raises(SchemaError):
        replay_records(world.records, world.benchmark, tmp_path / "new" / "run", verify=False)
    assert not (tmp_path / "new").exists()
    assert not leftovers(tmp_path)
    assert finished(tmp_path / "world")


# --- JSON ----------------------------------------------------------------------------------------

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "Latin-1": lambda data: data.replace(b"item", b"\xe9tem"),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "NUL bytes": lambda data: bytes(len(data)),
    "endless nesting": lambda data: b"[" * 200_000,
    "endless number": lambda data: b"[" + b"7" * 10_000 + b"]",
}


@pytest.mark.parametrize("how", BROKEN)
def test_recorded_file_that_is_not_json(world, earlier, how):
    edit(world.record(QBB), BROKEN[how])
    fails(world, earlier, SourceCorrupt, GPT4_QBB, "is not UTF-8 JSON", "fetch the file again")


@pytest.mark.parametrize("how", ["cut in the middle", "UTF-16", "endless nesting"])
def test_benchmark_file_that_is_not_json(world, earlier, how):
    edit(world.question(MISUSE), BROKEN[how])
    fails(world, earlier, SourceCorrupt, "safety/misuse.json", "is not UTF-8 JSON")


def test_a_byte_order_mark_is_no_fault(world, earlier, tmp_path):
    edit(world.record(QBB), lambda data: b"\xef\xbb\xbf" + data)
    run, _ = world.replay(tmp_path / "out")
    assert (run.path / "verify.csv").read_bytes() == (earlier / "verify.csv").read_bytes()


@pytest.mark.parametrize("text", ["{}", '{"rows": []}', "null", '"text"', "3"])
def test_json_that_is_not_a_list(world, earlier, text):
    world.record(QBB).write_text(text, encoding="utf-8")
    fails(world, earlier, SchemaError, GPT4_QBB, "list")


# --- the command line ----------------------------------------------------------------------------


def replay(world: World, out: Path, *more: str):
    return cli("replay", "--records", world.records, "--benchmark", world.benchmark, "--out", out,
               *more)  # fmt: skip


def unpublished_rows(world: World) -> None:
    """The small benchmark itself has not the official number of rows."""


def no_field(world: World) -> None:
    change(world.record(QBB), 4, res=...)


def truncated(world: World) -> None:
    edit(in_zip(world), lambda data: data[: len(data) * 6 // 10])


def outside(world: World) -> None:
    with zipfile.ZipFile(in_zip(world), "a") as z:
        z.writestr("../evil.json", "[]")


def no_file(world: World) -> None:
    world.question(MISUSE).unlink()


def no_model(world: World) -> None:
    shutil.rmtree(world.records / "results")


CALLS: dict[str, tuple[Callable[[World], None], list[str], list[str]]] = {
    "row count": (unpublished_rows, [], ["truthfulness/internal.json", "400 rows expected"]),
    "row without field": (no_field, ["--unverified"], [f"{GPT4_QBB}, row 4, field 'res'"]),
    "truncated ZIP": (truncated, ["--unverified"], ["records.zip is not a readable ZIP"]),
    "path traversal": (outside, ["--unverified"], ["'../evil.json' points outside"]),
    "missing file": (no_file, ["--unverified"], ["no file safety/misuse.json"]),
    "no model": (no_model, ["--unverified"], ["no model directory of a known form"]),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_input_on_the_command_line(world, earlier, case):
    damage, words, expected = CALLS[case]
    damage(world)
    before = snapshot(earlier)
    message = refused(replay(world, earlier, *words))
    for text in expected:
        assert text in message
    assert snapshot(earlier) == before


def test_a_path_in_a_message_is_not_broken_by_a_narrow_terminal(tmp_path):
    path = tmp_path / "a-rather-long-name-of-a-folder" / "answers.zip"
    done = cli("replay", "--records", path, "--benchmark", path, "--out", tmp_path / "out",
               env={"COLUMNS": "40"})  # fmt: skip
    assert str(path) in refused(done)
