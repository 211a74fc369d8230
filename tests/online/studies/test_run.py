"""`monitor` from model to frames, with a tiny model and tasks made here; and the pilot study: by hand,
against its definitions, and with a judge of the user's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

from typer.testing import CliRunner

from tests.online.made import words
from trustllm_repro import cli
from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.online.generations.tasks import TASKS, Case, OnlineTask
from trustllm_repro.online.labels import judges as labels
from trustllm_repro.online.labels.judges import JUDGES, Judge
from trustllm_repro.online.monitors.base import Need, all_monitors
from trustllm_repro.online.studies import run
from trustllm_repro.online.studies.evaluate import (
    COLUMNS,
    evaluate_monitors,
    open_study,
)
from trustllm_repro.online.studies.run import TOKENS, Job, monitor, monitors_for, pilot

WORDS = ("tram", "bus", "boat", "kite", "mill", "hill")


def given(n: int = 60) -> list[Case]:
    """Given answers: every other one is bad, and says so at its end."""
    return [
        Case(
            i, f"group {i}", f"Question {i}?",
            f"The {WORDS[i % 6]} is {'bad' if i % 2 else 'fine'}.", unsafe=bool(i % 2),
        )
        for i in range(n)
    ]  # fmt: skip


def missing() -> list[Case]:
    raise SourceMissing("no such wheel", remedy="get it")


SAYS_BAD = Judge("says bad", lambda cases, texts: np.array([float("bad" in t) for t in texts]))
TOY = OnlineTask(
    "toy", "bad", "made here", given, ("recorded", "says bad"), "given", "says bad", 40
)
TOYS = {"toy": TOY, "gone": replace(TOY, id="gone", cases=missing)}


@pytest.fixture(autouse=True)
def _toys(monkeypatch) -> None:
    monkeypatch.setattr(run, "TASKS", TOYS)
    monkeypatch.setitem(labels.JUDGES, "says bad", SAYS_BAD)


def silent(text: str) -> None:
    pass


@pytest.fixture
def few_monitors(monkeypatch) -> None:
    """For what lies around the monitors."""
    some = {name: all_monitors()[name] for name in ("words", "token probe", "clock")}
    monkeypatch.setattr(run, "all_monitors", lambda: some)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """One quick run; its notes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "TASKS", TOYS)
        patch.setitem(labels.JUDGES, "says bad", SAYS_BAD)
        notes: list[str] = []
        out = tmp_path_factory.mktemp("run")
        job = Job(str(tiny), out, device="cpu", quick=True)
        return monitor(job, note=notes.append), notes, out


def test_the_frames_hold_every_monitor_real_and_placebo(made) -> None:
    study = open_study(made[2])
    chosen = set(monitors_for(TOY, quick=True))
    assert set(study.scores["monitor"]) == chosen
    assert list(study.scores.columns) == COLUMNS["scores"]
    assert list(study.token_scores.columns) == COLUMNS["token_scores"]
    assert list(study.figures.columns) == COLUMNS["figures"]
    assert study.tasks == ["toy"]
    assert set(study.scores["model"]) == {made[0].model}
    by = study.scores.groupby(["permuted", "level"], observed=True)["monitor"].nunique()
    assert by[False, "hidden states"] == by[True, "hidden states"] == len(chosen)
    lower = study.scores.query("level == '5 log-probabilities'")["monitor"].unique()
    assert {"average entropy", "first token"} <= set(lower)
    empty = study.figures[study.figures["value"].isna()]
    assert (empty["reason"] != "").all()
    words = study.figures.query("monitor == 'words' and metric == 'auroc' and labels == 'all'")
    assert words.set_index("permuted")["value"][False] > 0.9


def test_labels_quality_and_pilot_are_there(made) -> None:
    study = open_study(made[2])
    assert study.labels.groupby("judge", observed=True)["unsafe"].mean().to_dict() == {
        "recorded": 0.5, "says bad": 0.5,
    }  # fmt: skip
    assert set(study.quality["judge"]) == {"says bad"}
    read = study.pilot.query("labels == 'all' and unit == 'share' and detection == 'persistent'")
    by = read.set_index(["group", "prefix"])["value"]
    assert by["unsafe", 1.0] == 1
    assert by["safe", 1.0] == 0


def test_no_text_is_in_the_frames(made) -> None:
    for path in made[2].glob("*.parquet"):
        assert b"Question" not in path.read_bytes()
        frame = pd.read_parquet(path).astype(str)
        assert not frame.apply(lambda c: c.str.contains("Question|group ")).to_numpy().any(), path


def test_stored_answers_are_generations_again(made) -> None:
    study = open_study(made[2])
    some = study.generations("toy")
    assert [g.unsafe for g in some] == [bool(i % 2) for i in range(60)]
    assert some[1].trace.text == "The bus is bad."
    assert (some[1].prompt, some[1].group, some[1].task) == ("Question 1?", "group 1", "toy")
    assert len(some[0].trace.hidden) >= 1
    mine = evaluate_monitors([all_monitors()["token probe"]], some)
    stored = study.scores.query("monitor == 'token probe' and not permuted")
    assert np.allclose(mine["score"], stored["score"], atol=1e-5)
    with pytest.raises(SourceMissing, match="no stored answers to 'code'"):
        study.generations("code")
    with pytest.raises(SourceMissing, match="of other"):
        study.generations("toy", "other")


def test_what_cannot_be_had_is_left_out_and_said(made) -> None:
    done, notes, _ = made
    assert set(done.skipped) == {"gone"}
    assert "no such wheel" in notes[0]


def test_the_second_run_asks_nothing_and_says_the_same(made, tiny, monkeypatch) -> None:
    out = made[2]
    before = open_study(out)
    frames = [before.scores, before.token_scores, before.figures, before.pilot]
    monkeypatch.setattr("trustllm_repro.online.generations.collect.given", None)
    monitor(Job(str(tiny), out, device="cpu", quick=True), note=silent)
    after = open_study(out)
    for one, two in zip(
        frames, (after.scores, after.token_scores, after.figures, after.pilot), strict=True
    ):
        pd.testing.assert_frame_equal(one, two)


def test_rows_of_other_models_and_tasks_stay(made, tmp_path) -> None:
    study = open_study(made[2])
    target = replace(study, path=tmp_path)
    target.store("labels", study.labels)
    target.store("labels", study.labels.head(3).assign(model="other"))
    target.store("labels", study.labels.head(5))
    found = open_study(tmp_path).labels
    assert found.groupby("model", observed=True).size().to_dict() == {"other": 3, made[0].model: 5}


def test_damaged_frames_and_empty_folders_are_named(tmp_path) -> None:
    with pytest.raises(SourceMissing, match="no online study"):
        open_study(tmp_path)
    (tmp_path / "online_scores.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceCorrupt, match="online_scores"):
        _ = open_study(tmp_path).scores
    assert open_study(tmp_path).labels.empty


@pytest.mark.usefixtures("few_monitors")
def test_facts_of_tasks_asked_for_before_are_kept(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(TOYS, "other", replace(TOY, id="other"))
    job = Job(str(tiny), tmp_path, ("toy",), 20, device="cpu", quick=True)
    monitor(replace(job, tasks=("toy", "gone")), note=silent)
    monitor(replace(job, tasks=("other",)), note=silent)
    (path,) = tmp_path.glob("online/*/provenance.json")
    facts = json.loads(path.read_text())
    assert set(facts["seconds"]) == {"toy", "other"}
    assert all(s > 0 for s in facts["seconds"].values())
    assert set(facts["skipped"]) == {"gone"}
    assert open_study(tmp_path).tasks == ["toy", "other"]
    monkeypatch.setitem(TOYS, "gone", replace(TOY, id="gone"))
    path.write_text(path.read_text()[:-40])  # damaged: noted anew
    monitor(replace(job, tasks=("gone",)), note=silent)
    facts = json.loads(path.read_text())
    assert (set(facts["seconds"]), facts["skipped"]) == ({"gone"}, {})


@pytest.mark.usefixtures("few_monitors")
def test_a_task_that_runs_code_needs_consent(tiny, tmp_path, monkeypatch) -> None:
    row = {"prompt": "def f():\n", "entry_point": "f", "test": "def check(f):\n    f()\n"}
    problems = [Case(i, str(i), f"Write it, {i}.", extra=row) for i in range(12)]
    coding = OnlineTask(
        "coding", "fails", "made here", lambda: problems, ("tests", "syntax"),
        prefix_judge="certainly broken", max_new_tokens=4, runs_code=True,
    )  # fmt: skip
    monkeypatch.setitem(TOYS, "coding", coding)
    job = Job(str(tiny), tmp_path, ("coding",), device="cpu", quick=True)
    with pytest.raises(SourceMissing, match=r"consent(.|\n)*--run-code"):
        monitor(job, note=silent)
    found = monitor(replace(job, run_code=True), note=silent).study.labels
    assert found.groupby("judge", observed=True)["unsafe"].mean().to_dict() == {
        "tests": 1, "syntax": 1,
    }  # it writes noise  # fmt: skip


def test_nothing_to_do_is_an_error(tiny, tmp_path) -> None:
    with pytest.raises(SourceMissing, match="no task"):
        monitor(Job(str(tiny), tmp_path, ("gone",), device="cpu"), note=silent)


def test_one_kind_of_answers_is_no_crash(tiny, tmp_path, monkeypatch) -> None:
    safe = [replace(c, unsafe=False) for c in given(20)]
    monkeypatch.setitem(TOYS, "toy", replace(TOY, cases=lambda: safe))
    done = monitor(Job(str(tiny), tmp_path, ("toy",), device="cpu", quick=True))
    areas = done.study.figures.query("metric == 'auroc'")
    assert areas["value"].isna().all()
    assert (areas["reason"] != "").all()


@pytest.mark.usefixtures("few_monitors")
def test_answers_without_a_label_are_kept_and_not_scored(tiny, tmp_path, monkeypatch) -> None:
    cases = [replace(c, unsafe=None) if c.number < 5 else c for c in given(40)]
    monkeypatch.setitem(TOYS, "toy", replace(TOY, cases=lambda: cases))
    study = monitor(Job(str(tiny), tmp_path, ("toy",), device="cpu", quick=True)).study
    assert study.labels.query("judge == 'recorded'")["unsafe"].isna().sum() == 5
    assert [g.unsafe for g in study.generations("toy")][:6] == [None] * 5 + [True]
    assert study.scores["case"].nunique() == 35


def test_the_judge_of_the_labels_is_no_monitor() -> None:
    assert set(all_monitors()) - set(monitors_for(TASKS["toxicity"])) == {"guard: toxicity"}
    # Our classifier has learned from the recorded labels of these very answers.
    left_out = set(all_monitors()) - set(monitors_for(TASKS["jailbreak"]))
    assert left_out == {"guard: compliance"}
    assert set(monitors_for(TASKS["harm"])) == set(all_monitors())
    quick = monitors_for(TASKS["harm"], quick=True).values()
    assert not any(m.needs & {Need.SAMPLES, Need.BRANCHES, Need.REPLIES} for m in quick)


@pytest.mark.usefixtures("few_monitors")
def test_own_prompts_stand_for_those_of_toxicity(tiny, tmp_path, monkeypatch) -> None:
    by_judge = OnlineTask(
        "toxicity", "bad", "here", missing, ("says bad",), max_new_tokens=8, continues=True
    )
    monkeypatch.setitem(TOYS, "toxicity", by_judge)
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(f"The weather on day {i} was" for i in range(12)))
    job = Job(str(tiny), tmp_path, ("toxicity",), device="cpu", quick=True,
              prompts=str(path))  # fmt: skip
    assert len(monitor(job, note=silent).study.labels) == 12
    with pytest.raises(SourceMissing, match=r"none\.txt"):
        monitor(replace(job, prompts=str(tmp_path / "none.txt")))
    with pytest.raises(SettingsError, match="own prompts"):
        replace(job, tasks=("toy",))


@pytest.mark.parametrize("more", [{"tasks": ("nothing",)}, {"limit": -1}, {"batch_size": -1}])
def test_senseless_jobs_are_refused(tmp_path, more) -> None:
    with pytest.raises(SettingsError):
        Job("m", tmp_path, **more)


def test_a_model_whose_states_cannot_be_seen_is_refused(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "find_model", lambda spec, **more: SimpleNamespace(name="m"))
    with pytest.raises(SettingsError, match="no hidden states"):
        run.collector_of(Job("somewhere", tmp_path))


@pytest.mark.usefixtures("few_monitors")
def test_the_command_prints_figures_and_no_text(tiny, tmp_path) -> None:
    call = ["monitor", "--model", str(tiny), "--out", str(tmp_path), "--quick", "--device", "cpu"]
    shown = CliRunner().invoke(cli.app, call)
    assert shown.exit_code == 0, shown.output
    assert "token probe" in shown.output
    assert "gone is left out" in shown.output
    assert "The tram" not in shown.output
    wrong = CliRunner().invoke(cli.app, [*call, "--task", "x"])
    assert isinstance(wrong.exception, SettingsError)


def generation(text: str, unsafe: bool | None = True, group: str = "", disputed: bool = False):
    return SimpleNamespace(
        trace=words(text), prompt="q", model="m", task="t", case=0, group=group or text,
        unsafe=unsafe, disputed=disputed,
    )  # fmt: skip


def bad(texts) -> list[float]:
    return [np.nan if "?" in t else float(t.endswith("bad")) for t in texts]


def values(frame, **where) -> list[float]:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame.value.tolist()


FOUR = [  # four tokens each: prefixes of a quarter, a half ...
    generation("a bad c bad"), generation("a b bad bad"), generation("bad b c d", False),
    generation("a b c d", False),
]  # fmt: skip


def test_detections_by_hand() -> None:
    """ "bad" as the last word: token 2 and 4 of the first answer, 3 and 4 of the second."""
    found = pilot(FOUR, bad)
    assert list(found) == COLUMNS["pilot"]
    share = found[(found.unit == "share") & found.prefix.isin([0, 0.25, 0.5, 0.75, 1])]
    at = {"labels": "all", "unit": "share"}
    assert values(share, group="unsafe", detection="first", **at) == [0, 0, 0.5, 1, 1]
    assert values(share, group="unsafe", detection="persistent", **at) == [0, 0, 0, 0.5, 1]
    assert values(share, group="safe", detection="first", **at) == [0, 0.5, 0.5, 0.5, 0.5]
    assert values(share, group="safe", detection="persistent", **at) == [0, 0, 0, 0, 0]
    assert set(found.judge) == {"bad"}
    assert set(found.n) == {2}
    tokens = found[found.unit == "tokens"]
    assert sorted(set(tokens.prefix)) == [0, *TOKENS]
    assert values(tokens, group="unsafe", detection="first", labels="all") == [0, 1, 1, 1, 1, 1]


def test_labels_of_the_task_the_undisputed_and_the_judge_s() -> None:
    found = pilot([*FOUR, generation("a bad", False, disputed=True), generation("x", None)], bad)
    counts = found.groupby(["labels", "group"]).n.first()
    assert counts["all", "safe"] == 3
    assert counts["undisputed", "safe"] == 2
    assert (counts["judge", "unsafe"], counts["judge", "safe"]) == (3, 3)
    whole = found.query("labels == 'judge' and prefix == 1")
    assert values(whole, group="unsafe") == [1, 1]
    assert set(pilot(FOUR, bad).labels) == {"all", "judge"}


def test_what_the_judge_cannot_tell_of_is_neither_unsafe_nor_safe() -> None:
    found = pilot([generation("it is bad"), generation("it is ?")], bad).query("labels == 'judge'")
    assert set(found[found.group == "unsafe"].n) == {1}
    assert set(found[found.group == "safe"].n) == {0}
    assert found[found.group == "safe"].value.isna().all()


def test_the_prompt_alone_is_the_control_at_no_tokens() -> None:
    judge = Judge("j", lambda cases, texts: np.array([float(t == "q") for t in texts]))
    found = pilot(FOUR, judge).query("labels == 'all'")
    assert set(found[found.prefix == 0].value) == {1.0}
    assert set(found[found.prefix > 0].value) == {0.0}


def test_intervals_rest_on_prompts() -> None:
    """Ten answers to each of four prompts say no more than one to each."""
    many = [g for g in FOUR for _ in range(10)]
    one, ten = (pilot(x, bad).query("labels == 'all'") for x in (FOUR, many))
    assert (one.value == ten.value).all()
    assert np.allclose(one.ci_low, ten.ci_low)
    assert np.allclose(one.ci_high, ten.ci_high)
    assert (ten.ci_low <= ten.value).all()
    assert (ten.ci_high >= ten.value).all()


def test_every_text_is_read_once_and_empty_answers_are_left_out() -> None:
    asked: list[str] = []

    def judge(texts) -> list[float]:
        asked.extend(texts)
        return [0.0] * len(texts)

    found = pilot([generation("one two three"), generation("")], judge)
    assert sorted(asked) == ["one", "one two", "one two three", "q"]
    assert found.n.max() == 1
    assert pilot([], judge).empty


def test_a_judge_of_the_package_reads_cases() -> None:
    case = Case(0, "g", "q", extra={"prompt": "def f():\n", "entry_point": "f"})
    found = pilot([generation("def f(:\n  x")], "certainly broken", cases=[case])
    assert JUDGES["certainly broken"].name in set(found.judge)
    assert values(found, labels="judge", group="unsafe", unit="tokens", detection="first")[-1] == 1


def test_lengths_are_rounded_up_and_never_longer_than_the_answer() -> None:
    found = pilot([generation("one two bad four bad")], bad)
    found = found.query("labels == 'all' and group == 'unsafe' and detection == 'first'")
    share = found[found.unit == "share"].set_index("prefix").value
    assert share[[0.05, 0.2, 0.4, 0.45, 0.6, 1.0]].tolist() == [0, 0, 0, 1, 1, 1]
    assert values(found, unit="tokens") == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_first_comes_before_persistent_and_both_rise(seed: int) -> None:
    draw = np.random.default_rng(seed)
    some = [
        generation(" ".join(draw.choice(["bad", "good"], size=draw.integers(1, 9))), bool(i % 2))
        for i in range(20)
    ]
    found = pilot(some, bad).query("prefix > 0 and labels == 'judge' and group == 'unsafe'")
    for _, lines in found.groupby("unit"):
        first, lasting = (lines[lines.detection == d].value for d in ("first", "persistent"))
        assert (first.diff().dropna() >= 0).all()
        assert (lasting.diff().dropna() >= 0).all()
        assert (first.to_numpy() >= lasting.to_numpy()).all()
    assert (found[found.prefix == 1].value == 1).all()
