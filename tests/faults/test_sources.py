"""Bad input: each fault gives a message with file, row and remedy, and touches no earlier result."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.world import (
    ITC,
    QBB,
    SOCIAL,
    TOXICITY,
    World,
    answer,
    change,
    cli,
    edit,
    facts,
    finished,
    leftovers,
    read,
    refused,
    snapshot,
)
from tests.small import refusal
from trustllm_repro.errors import ReproError, SchemaError, SourceCorrupt, SourceMissing
from trustllm_repro.nouns import Rule
from trustllm_repro.report.run import replay_records
from trustllm_repro.sources import benchmark, registry
from trustllm_repro.sources.archive import Archive, sha256
from trustllm_repro.sources.benchmark import FileSpec, load_benchmark
from trustllm_repro.sources.manifests import manifest
from trustllm_repro.sources.recorded import load_recorded
from trustllm_repro.sources.registry import Wanted, fetch_from
from trustllm_repro.tasks import TASKS

JAILBREAK, MISUSE = "safety/jailbreak", "safety/misuse"
GPT4_QBB = QBB.format("gpt-4")


def fails(world: World, out: Path, kind: type[ReproError], *words: str, verify: bool = False):
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


def official(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the small benchmark the one whose row counts and sha256 are expected."""
    hashes = {
        f"{name}.json": {"sha256": sha256(world.question(name).read_bytes())} for name in world.rows
    }
    files = {n: FileSpec(len(world.rows[n]), s.fields) for n, s in benchmark.FILES.items()}
    monkeypatch.setattr(benchmark, "manifest", lambda name: hashes)
    monkeypatch.setattr(benchmark, "FILES", files)


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
    assert written["files_without_known_sha256"] == recorded.report.unverified


@pytest.mark.xfail(strict=True, raises=KeyError, reason="check_hashes takes any MANIFEST.csv")
def test_a_manifest_without_its_columns(world, earlier, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world).write_text("file;hash\na;b\n", encoding="utf-8")
    fails(world, earlier, SourceCorrupt, "MANIFEST.csv", verify=True)


@pytest.mark.xfail(strict=True, raises=UnicodeDecodeError, reason="MANIFEST.csv is not checked")
def test_a_manifest_that_is_not_text(world, earlier, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world).write_bytes(b"path,sha256\n\xff\xfe,1\n")
    fails(world, earlier, SourceCorrupt, "MANIFEST.csv", verify=True)


@pytest.mark.xfail(strict=True, reason="a file the archive's MANIFEST.csv lists may be absent")
def test_a_listed_file_that_is_not_there(world, tmp_path, monkeypatch):
    official(world, monkeypatch)
    list_hashes(world)
    world.record(QBB).unlink()
    try:
        _, recorded = world.replay(tmp_path / "out", verify=True)
    except ReproError as e:
        assert GPT4_QBB in str(e)
    else:
        assert GPT4_QBB in json.dumps(vars(recorded.report))


# --- fetch --from --------------------------------------------------------------------------------


def wants(monkeypatch: pytest.MonkeyPatch, **files: bytes) -> None:
    items = [Wanted(f"recorded/{n}.json", "", sha256(data)) for n, data in files.items()]
    monkeypatch.setattr(registry, "wanted", lambda: iter(items))


def test_fetch_from_an_altered_copy(tmp_path, monkeypatch):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    wants(monkeypatch, first=b"[1]", second=b"[2]", third=b"[3]")
    for name, data in (("first", b"[1]"), ("second", b"[5]"), ("third", b"[3]")):
        (source / f"{name}.json").write_bytes(data)
    (home / "recorded").mkdir(parents=True)
    (home / "recorded" / "third.json").write_bytes(b"[3]")
    with pytest.raises(SourceCorrupt, match=r"second\.json has not the sha256") as caught:
        fetch_from(source, home)
    assert "another source" in caught.value.remedy
    assert snapshot(home) == {"recorded/first.json": b"[1]", "recorded/third.json": b"[3]"}


def test_fetch_from_keeps_the_right_file_when_the_copy_is_altered(tmp_path, monkeypatch):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    wants(monkeypatch, first=b"[1]")
    (source / "first.json").write_bytes(b"[1]")
    written, absent = fetch_from(source, home)
    assert ([p.name for p in written], absent) == (["first.json"], [])
    (source / "first.json").write_bytes(b"[9]")
    fetch_from(source, home)
    assert snapshot(home) == {"recorded/first.json": b"[1]"}


def test_fetch_from_a_truncated_zip(tmp_path, monkeypatch):
    wants(monkeypatch, first=b"[1]" * 999)
    source = tmp_path / "source.zip"
    with zipfile.ZipFile(source, "w") as z:
        z.writestr("first.json", b"[1]" * 999)
    edit(source, lambda data: data[: len(data) * 6 // 10])
    with pytest.raises(SourceCorrupt, match=r"source\.zip is not a readable ZIP") as caught:
        fetch_from(source, tmp_path / "home")
    assert caught.value.remedy
    assert not (tmp_path / "home").exists()


@pytest.mark.xfail(strict=True, reason="fetch_from says nothing a user can do")
def test_fetch_from_a_folder_of_something_else_has_a_remedy(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(SourceMissing, match="none of the files") as caught:
        fetch_from(tmp_path / "source", tmp_path / "home")
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
    assert not home.exists()


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
    edit(in_zip(world), lambda data: data.replace(b"gpt-4 answers at some", b"gpt-4 answers at same"))
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
    good = {data for data in snapshot(source).values()}
    found = {"refused": 0, "same content": 0}
    for attempt in range(400):
        data = bytearray(whole)
        at = rng.randrange(index if attempt % 2 else 0, len(data))
        data[at] ^= rng.randrange(1, 256)
        damaged.write_bytes(data)
        try:
            archive = Archive(damaged)
            content = {archive.read(name) for name in archive.names()}
        except ReproError as e:
            assert str(damaged) in e.problem
            assert e.remedy
            found["refused"] += 1
        else:
            assert content <= good
            found["same content"] += 1
    assert min(found.values()) > 20


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


# --- rows ----------------------------------------------------------------------------------------

ROWS = {
    "res is missing": ({"res": ...}, "res", "required"),
    "res is a number": ({"res": 5}, "res", "string"),
    "res is a list": ({"res": ["a"]}, "res", "string"),
    "prompt is missing": ({"prompt": ...}, "prompt", "required"),
    "prompt is null": ({"prompt": None}, "prompt", "string"),
    "unknown label": ({"longformer_res": [{"label": "LABEL_2"}]}, "longformer_res", "LABEL_0"),
    "label is a number": ({"longformer_res": [{"label": 0}]}, "longformer_res", "LABEL_1"),
    "judgement without label": ({"longformer_res": [{"score": 0.5}]}, "longformer_res", "required"),
    "judgement is no list": ({"longformer_res": "LABEL_0"}, "longformer_res", "list"),
    "eval_res is a number": ({"eval_res": 1}, "eval_res", "string"),
    "similarity is text": ({"similarity": "high"}, "similarity", "number"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_recorded_row_of_the_wrong_form(world, earlier, case):
    values, field, expected = ROWS[case]
    change(world.record(QBB), 4, **values)
    error = fails(world, earlier, SchemaError, f"{GPT4_QBB}, row 4, field {field!r}", expected)
    assert isinstance(error, SchemaError)
    assert (error.file, error.row, error.field) == (GPT4_QBB, 4, field)


def test_a_row_that_is_no_object_and_the_number_of_further_problems(world, earlier):
    rows = read(world.record(QBB))
    world.put(world.record(QBB), [rows[0], "text", {**rows[2], "res": 3}])
    fails(world, earlier, SchemaError, f"{GPT4_QBB}, row 1", "1 further problem")


QUESTIONS = {
    "prompt is missing": (MISUSE, {"prompt": ...}, "prompt"),
    "prompt is a number": (MISUSE, {"prompt": 3}, "prompt"),
    "source is missing": (MISUSE, {"source": ...}, "source"),
    "label is text": (JAILBREAK, {"label": "cot"}, "label"),
    "label is a word": ("ethics/implicit_SocialChemistry101", {"label": "bad"}, "label"),
    "index is missing": ("robustness/AdvGLUE", {"index": ...}, "index"),
    "gold is an object": ("truthfulness/internal", {"answer": {"a": 1}}, "answer"),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_benchmark_row_of_the_wrong_form(world, earlier, case):
    name, values, field = QUESTIONS[case]
    change(world.question(name), 2, **values)
    fails(world, earlier, SchemaError, f"{name}.json, row 2, field {field!r}")


def with_only(world: World, task: str, form: str) -> Path:
    """A file of one record form of gpt-4, made from the items of its task."""
    chosen = next(f for f in TASKS[task].records if f.name == form)
    rows = TASKS[task].items(world.rows[TASKS[task].file])
    path = world.record(chosen.path.replace("{model}", "gpt-4"))
    return world.put(path, [{**answer(dict(i.extra), "Yes."), "similarity": 0.5} for i in rows])


KEYS = [
    ("robustness/advglue", "main", "index"),
    ("robustness/advglue", "main", "task"),
    ("robustness/advinstruction", "similarity", "type"),
    ("ethics/social_chemistry_old_prompt", "labelled", "action"),
]


@pytest.mark.xfail(strict=True, raises=KeyError, reason="keys of record forms are not validated")
@pytest.mark.parametrize(("task", "form", "field"), KEYS[:3])
def test_a_recorded_row_without_the_field_it_is_matched_by(world, earlier, task, form, field):
    path = with_only(world, task, form)
    world.replay(earlier)
    change(path, 1, **{field: ...})
    fails(world, earlier, SchemaError, path.name, "row 1", field)


@pytest.mark.xfail(strict=True, raises=IndexError, reason="an empty list of labels is accepted")
def test_a_jailbreak_question_without_any_label(world, earlier):
    change(world.question(JAILBREAK), 2, label=[])
    fails(world, earlier, SchemaError, "safety/jailbreak.json, row 2, field 'label'")


@pytest.mark.xfail(strict=True, raises=ValueError, reason="ConfAIde's label may be any text")
def test_a_confaide_question_whose_rating_is_no_number(world, earlier):
    with_only(world, "privacy/confaide", "main")
    change(world.question("privacy/privacy_awareness_confAIde"), 2, label="much")
    fails(world, earlier, SchemaError, "privacy_awareness_confAIde.json, row 2, field 'label'")


@pytest.mark.xfail(strict=True, raises=TypeError, reason="numbers in quotes pass the validation")
def test_a_benchmark_number_in_quotes(world, earlier):
    change(world.question("ethics/implicit_SocialChemistry101"), 2, label="1.0")
    fails(world, earlier, SchemaError, "implicit_SocialChemistry101.json, row 2, field 'label'")


@pytest.mark.xfail(strict=True, raises=KeyError, reason="sources of questions are not validated")
def test_a_question_of_an_unknown_source(world, earlier):
    with_only(world, "truthfulness/internal", "main")
    change(world.question("truthfulness/internal"), 2, source="elsewhere")
    fails(world, earlier, SchemaError, "truthfulness/internal.json, row 2, field 'source'")


# --- toxicity ------------------------------------------------------------------------------------


def recorded_toxicity(world: World) -> tuple[list[float | None], dict[str, int]]:
    recorded = load_recorded(world.records, load_benchmark(world.benchmark, verify=False))
    answers = recorded.responses("safety/toxicity", "gpt-4")
    return [r.number_recorded for r in answers], recorded.report.unmatched


def test_toxicity_is_read(world):
    world.toxicity()
    assert recorded_toxicity(world) == ([0.25] * 12, {})


def test_toxicity_of_failed_calls_is_absent_not_zero(world):
    edit(world.toxicity(), lambda data: data.replace(b",0.25", b",error", 3).replace(b"0.25", b"", 2))
    numbers, _ = recorded_toxicity(world)
    assert numbers.count(None) == 5
    assert numbers.count(0.25) == 7


@pytest.mark.parametrize("value", ["7", "-0.1", "high", "nan", "inf", "0,5"])
def test_toxicity_that_is_no_share(world, earlier, value):
    lines = world.toxicity().read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].replace("0.25", f'"{value}"')
    world.record(TOXICITY).write_text("\n".join(lines), encoding="utf-8")
    name = TOXICITY.format("gpt-4")
    fails(world, earlier, SchemaError, f"{name}, row 2, field 'toxicity'", repr(value), "0 to 1")


@pytest.mark.parametrize("column", ["res", "label", "type", "toxicity"])
def test_toxicity_without_a_column(world, earlier, column):
    path = world.toxicity()
    frame = pd.read_csv(path).drop(columns=column)
    frame.to_csv(path, index=False)
    fails(world, earlier, SchemaError, f"row 0, field {column!r}", "column is missing")


def test_toxicity_cut_in_the_middle_of_a_row(world, earlier):
    path = world.toxicity()
    edit(path, lambda data: data[: data.rindex(b",toxicity") + 3])
    last = len(list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))) - 1
    fails(world, earlier, SchemaError, f"row {last}, field 'toxicity'", "the row is cut")


@pytest.mark.parametrize("data", [b"res,label\n\xff\xfe", b"res,label\r\na,\0\n"])
def test_toxicity_that_is_no_text(world, earlier, data):
    world.toxicity().write_bytes(data)
    error = fails(world, earlier, (SourceCorrupt, SchemaError), TOXICITY.format("gpt-4"))
    assert "fetch" in error.remedy


# --- answers that are there twice, swapped, or odd but right ------------------------------------


def test_the_same_items_answered_by_two_files(world, earlier):
    shutil.copy(world.record(QBB), world.record(ITC))
    error = fails(world, earlier, SchemaError, "6 items of safety/jailbreak", "keep one")
    assert GPT4_QBB in str(error)
    assert ITC.format("gpt-4") in str(error)


def value(world: World, out: Path, column: str, rule: Rule) -> float:
    run, _ = world.replay(out)
    c = run.cells
    line = c[(c["table"] == "safety_jailbreak") & (c["model"] == "gpt-4")
             & (c["column"] == column) & (c["rule"] == rule)]  # fmt: skip
    return float(line["value"].iloc[0])


def test_swapped_file_names_exchange_the_authors_columns_only(world, tmp_path):
    for i in range(6):
        change(world.record(QBB), i, longformer_res=refusal(True))
    straight = {r: value(world, tmp_path / "a", "jailbreak", r) for r in Rule}
    assert straight == dict.fromkeys(Rule, 1.0)
    qbb, itc, spare = world.record(QBB), world.record(ITC), tmp_path / "spare"
    qbb.rename(spare), itc.rename(qbb), spare.rename(itc)
    assert value(world, tmp_path / "b", "jailbreak", Rule.AUTHORS) == 0.5
    assert value(world, tmp_path / "b", "toxicity", Rule.AUTHORS) == 1.0
    assert value(world, tmp_path / "b", "jailbreak", Rule.CORRECTED) == 1.0
    assert value(world, tmp_path / "b", "toxicity", Rule.CORRECTED) == 0.5


def status(world: World, out: Path, rule: Rule = Rule.AUTHORS, form: str = "QBB") -> list[str]:
    run, _ = world.replay(out)
    frame = run.ledger.verdicts.to_pandas()
    mine = frame[(frame["task"] == "safety/jailbreak") & (frame["model"] == "gpt-4")]
    return mine.loc[(mine["rule"] == rule) & (mine["form"] == form), "status"].astype(str).tolist()


def test_null_empty_foreign_and_raw_json_answers_are_counted(world, tmp_path):
    rows = read(world.record(QBB))
    raw = '{"choices": [{"message": {"content": "no"}}]}'
    texts = [None, "", "我不能回答这个问题。", raw, "\ud83d", "\x00\x1b[31m"]
    world.put(world.record(QBB), [answer(r, t) for r, t in zip(rows, texts, strict=True)])
    parsed = ["parsed"] * 4
    assert status(world, tmp_path / "out") == ["null", "empty", *parsed]
    assert status(world, tmp_path / "out", Rule.TOOLKIT) == ["parsed", "parsed", *parsed]
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.read[GPT4_QBB] == 6
    cells = run.cells
    line = cells[(cells["table"] == "safety_jailbreak") & (cells["model"] == "gpt-4")
                 & (cells["column"] == "overall") & (cells["rule"] == "authors")].iloc[0]  # fmt: skip
    assert (line["n"], line["n_unparsed"], line["n_missing"]) == (10, 1, 1)


def test_no_text_of_an_answer_reaches_a_result(world, tmp_path):
    secret = "zebra crossing at midnight"
    for i in range(6):
        change(world.record(SOCIAL), i, res=secret)
        change(world.record(QBB), i, res=secret)
    world.replay(tmp_path / "out")
    assert not [n for n, data in snapshot(tmp_path / "out").items() if secret.encode() in data]


def test_an_unlabelled_answer_is_not_a_refusal(world, tmp_path):
    change(world.record(QBB), 0, longformer_res=None)
    change(world.record(QBB), 1, longformer_res=...)
    change(world.record(QBB), 2, longformer_res=[])
    assert status(world, tmp_path / "out") == ["unlabelled"] * 3 + ["parsed"] * 3


def test_duplicate_prompts_meet_equal_items_in_order(world, tmp_path):
    prompt = read(world.question(MISUSE))[3]["prompt"]
    change(world.question(MISUSE), 5, prompt=prompt)
    path = world.record("results/safety/misuse/{}/do_not_answer.json")
    change(path, 5, prompt=prompt)
    rows = read(path)
    assert [r["prompt"] for r in rows].count(prompt) == 2
    _, recorded = world.replay(tmp_path / "out")
    texts = [r.text for r in recorded.responses("safety/misuse", "gpt-4")[:6]]
    assert texts == [r["res"] for r in rows[:6]]
    assert not recorded.report.unmatched


def test_rows_that_meet_no_item_are_counted_and_left_out(world, tmp_path):
    change(world.record(QBB), 1, prompt="a prompt nobody asked")
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.unmatched == {GPT4_QBB: 1}
    assert json.loads((run.path / "import.json").read_bytes())["unmatched_rows"] == {GPT4_QBB: 1}
    assert len(recorded.responses("safety/jailbreak", "gpt-4")) == 11


def test_a_file_without_rows(world, tmp_path):
    world.put(world.record(QBB), [])
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.read[GPT4_QBB] == 0
    cells = run.cells[(run.cells["model"] == "gpt-4") & (run.cells["table"] == "safety_jailbreak")]
    line = cells[(cells["column"] == "jailbreak") & (cells["rule"] == "authors")].iloc[0]
    assert pd.isna(line["value"])
    assert line["reason"]


# --- models and files nobody knows ---------------------------------------------------------------


def test_an_unknown_model_changes_nothing_else(world, tmp_path):
    run, recorded = world.replay(tmp_path / "with")
    assert "newcomer-1b" in recorded.models
    for path in world.records.rglob("newcomer-1b"):
        shutil.rmtree(path)
    without, _ = world.replay(tmp_path / "without")
    assert (run.path / "verify.csv").read_bytes() == (without.path / "verify.csv").read_bytes()
    new = run.cells["model"] == "newcomer-1b"
    assert set(run.cells.loc[new, "verdict"]) == {"not published"}
    assert run.cells.loc[new, "value"].notna().all()
    rest = run.cells[~new].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without.cells)


def test_an_unknown_model_on_the_command_line(world, tmp_path):
    done = cli("replay", "--unverified", "--records", world.records, "--benchmark",
               world.benchmark, "--out", tmp_path / "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not among the 16 models of the paper" in done.stderr
    assert "newcomer-1b" in done.stderr
    assert "gpt-4" not in done.stderr


def test_files_of_unknown_form_are_listed_as_ignored(world, tmp_path):
    odd = "results/safety/jailbreak/gpt-4/jailbreak_XYZ.json"
    (world.records / odd).write_text("this is not even JSON", encoding="utf-8")
    (world.records / "results/safety/jailbreak/gpt-4/readme.txt").write_text("x", encoding="utf-8")
    run, recorded = world.replay(tmp_path / "out")
    assert recorded.report.ignored == [odd]
    assert json.loads((run.path / "import.json").read_bytes())["ignored_files"] == [odd]


def test_desktop_litter_and_unfinished_files_are_not_seen(world, tmp_path):
    digest = Archive(world.records).digest()
    folder = world.record(QBB).parent
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / ".jailbreak_QBB.json-ab12.partial").write_bytes(b"[{")
    _, recorded = world.replay(tmp_path / "out")
    assert recorded.digest == digest
    assert recorded.report.ignored == []


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


def test_the_hash_of_a_folder_depends_on_names_and_bytes(world):
    before = Archive(world.records).digest()
    world.record(QBB).rename(world.record(QBB).with_name("other.json"))
    assert Archive(world.records).digest() != before


def test_the_zip_and_its_bytes_have_one_hash(world):
    target = in_zip(world)
    assert Archive(target).digest() == hashlib.sha256(target.read_bytes()).hexdigest()


def test_a_new_folder_is_not_made_when_a_source_is_bad(world, tmp_path):
    change(world.record(QBB), 0, res=...)
    with pytest.raises(SchemaError):
        replay_records(world.records, world.benchmark, tmp_path / "new" / "run", verify=False)
    assert not (tmp_path / "new").exists()
    assert not leftovers(tmp_path)
    assert finished(tmp_path / "world")
