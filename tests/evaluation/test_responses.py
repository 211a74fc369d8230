"""The answers of a live model on disk: whose lines count, and four writers at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.evaluation.generate import Asked, ResponseStore, file_name
from trustllm_repro.models.base import Completion, Finish

ROOT = Path(__file__).resolve().parents[2]
# Starts writing when told to, so that all writers write at once; no torch is imported.
WRITER = """
import sys
from pathlib import Path
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.evaluation.generate import ResponseStore
from trustllm_repro.evaluation.generate import Asked
who, batches = sys.argv[2], int(sys.argv[3])
store = ResponseStore(Path(sys.argv[1]), "m")
print("ready", flush=True)
sys.stdin.readline()
for b in range(batches):
    store.add(
        (Asked("task", i, 0, f"{who}-{b}-{i}"),
         Completion(f"{who} {b} {i} \\n" * (i * 40), Finish.STOP, 3, 4))
        for i in range(8)
    )
"""
TEXT = st.one_of(st.none(), st.text(st.characters(codec=None, exclude_categories=())))


def said(text: str | None, finish: Finish = Finish.STOP) -> Completion:
    return Completion(text, finish, 5, 2, 1)


def asked(key: str, number: int = 0) -> Asked:
    return Asked("task", number, 0, key)


@given(st.lists(st.tuples(TEXT, st.sampled_from([f for f in Finish if f is not Finish.ERROR]))))
def test_answers_come_back_as_they_were(tmp_path_factory, answers):
    store = ResponseStore(tmp_path_factory.mktemp("run"), "m")
    made = {f"k{i}": Completion(t, f, i, i + 1, i % 2) for i, (t, f) in enumerate(answers)}
    store.add((asked(k), c) for k, c in made.items())
    assert store.load() == made
    assert list(store.load()) == list(made)


def test_the_first_line_of_a_key_counts(tmp_path):
    store = ResponseStore(tmp_path, "m")
    store.add([(asked("k"), said("first"))])
    store.add([(asked("k"), said("second")), (asked("other"), said("third"))])
    assert store.load() == {"k": said("first"), "other": said("third")}


def test_missing_is_what_has_no_answer_and_each_key_once(tmp_path):
    store, wanted = ResponseStore(tmp_path, "m"), [asked(f"{i:08x}", i) for i in range(4)]
    store.add((a, said("x")) for a in wanted[::2])
    assert store.missing([*wanted, asked(wanted[1].key, 9)]) == wanted[1::2]


def test_every_key_belongs_to_one_part_whatever_is_stored(tmp_path):
    store = ResponseStore(tmp_path, "m")
    wanted = [asked(f"{i * 2654435761 % 2**32:08x}" + "0" * 24, i) for i in range(300)]
    parts = [[store.missing(wanted, (k, n)) for k in range(n)] for n in (1, 2, 5)]
    for some in parts:
        assert sorted((a for part in some for a in part), key=lambda a: a.number) == wanted
        assert min(map(len, some)) > 0.5 * len(wanted) / len(some)
    store.add((a, said("x")) for a in wanted[::2])
    for k, part in enumerate(parts[-1]):
        assert store.missing(wanted, (k, 5)) == [a for a in part if a.number % 2]


def test_failed_calls_are_asked_again_and_then_count(tmp_path):
    store = ResponseStore(tmp_path, "m")
    store.add([(asked("k"), said(None, Finish.ERROR)), (asked("other"), said(None, Finish.NAN))])
    assert store.load() == {"other": said(None, Finish.NAN)}
    store.add([(asked("k"), said("now"))])
    assert store.load()["k"] == said("now")


@pytest.mark.parametrize(
    "change",
    [
        {"key": None}, {"key": 7}, {"key": ["a"]}, {"text": 7}, {"text": ["a"]}, {"finish": "won"},
        {"finish": None}, {"finish": []}, {"prompt_tokens": "many"}, {"prompt_tokens": None},
        {"new_tokens": float("inf")}, {"new_tokens": float("nan")}, {"cut_tokens": {}},
    ],
    ids=str,
)  # fmt: skip
def test_lines_of_other_tools_do_not_count(tmp_path, change):
    store = ResponseStore(tmp_path, "m")
    store.add([(asked("k"), said("mine"))])
    line = next(store.lines.read())
    with open(store.lines.path, "a", encoding="utf-8") as f:
        f.write(json.dumps({**line, "key": "foreign", **change}) + "\n")
        name = next(iter(change))
        f.write(json.dumps({k: v for k, v in line.items() if k != name}) + "\n")
    assert store.load() == {"k": said("mine")}


def test_unknown_fields_are_no_reason_to_ask_again(tmp_path):
    store = ResponseStore(tmp_path, "m")
    store.add([(asked("k"), said("mine"))])
    line = next(store.lines.read())
    store.lines.append([{**line, "key": "later", "note": "of a later version"}])
    assert set(store.load()) == {"k", "later"}


def test_four_writers_of_one_file(tmp_path):
    batches = 25
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(w), str(batches)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for w in range(4)
    ]  # fmt: skip
    for w in writers:
        assert w.stdout.readline() == "ready\n"
    for w in writers:
        w.stdin.write("go\n")
        w.stdin.flush()
    for w in writers:
        w.communicate()
        assert w.returncode == 0
    store = ResponseStore(tmp_path, "m")
    rows = list(store.lines.read())
    want = {f"{w}-{b}-{i}" for w in range(4) for b in range(batches) for i in range(8)}
    assert sorted(r["key"] for r in rows) == sorted(want)
    assert set(store.load()) == want
    for at in range(0, len(rows), 8):  # a batch is written by one call, so it stands together
        assert [r["number"] for r in rows[at : at + 8]] == list(range(8))


@given(st.text(min_size=1))
def test_a_models_name_as_a_file_name(name):
    made = file_name(name)
    assert made
    assert not made.startswith(".")
    assert not set(made) & set("/\\:\0\n ")


@pytest.mark.parametrize(
    ("name", "file"), [("org/name@abc", "org-name@abc"), ("../../etc", "-..-etc"), ("...", "model")]
)
def test_names_that_look_like_paths(tmp_path, name, file):
    assert file_name(name) == file
    assert ResponseStore(tmp_path, name).lines.path == tmp_path / "responses" / f"{file}.jsonl"
