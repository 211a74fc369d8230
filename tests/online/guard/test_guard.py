"""A guard from examples to a stopped answer, and what goes wrong on the way."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaForCausalLM,
    StoppingCriteria,
)
from typer.testing import CliRunner

from tests.online.made import part
from tests.tiny import tiny_model
from trustllm_repro.cli import app
from trustllm_repro.errors import SchemaError, SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.recorder import given
from trustllm_repro.online.guard.guard import Guard, checked
from trustllm_repro.online.guard.watch import Unwatched, stream
from trustllm_repro.online.monitors.base import Mean, entropy_of
from trustllm_repro.paths import data_dir, project_root

WORDS = {
    True: ["attack", "poison", "weapon", "steal", "harm"],
    False: ["bread", "garden", "music", "tea", "walk"],
}


def examples(n: int = 120, seed: int = 0) -> list[tuple[str, str, bool]]:
    """Answers that words tell apart; two to a prompt."""
    draw = random.Random(seed)
    return [
        (f"question {i // 2}", " ".join(draw.choices(WORDS[i % 2 == 0], k=8)), i % 2 == 0)
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def guard(folder) -> Guard:
    return Guard.fit(str(folder), examples(), layers=(1, 2), dtype="float32", device="cpu")


@pytest.fixture
def loaded(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder, padding_side="left")


def test_it_learns_what_is_there_to_learn(guard) -> None:
    points = guard.operating_points.set_index(["reader", "risk"])
    assert points.loc[("states", 0.05), "stopped_unsafe"] > 0.6
    assert points.loc[("words", 0.05), "stopped_unsafe"] > 0.6
    assert (points.upper >= points.stopped_safe).all()


def test_labels_that_mean_nothing_teach_nothing(folder) -> None:
    rows = pd.DataFrame(examples(), columns=["prompt", "answer", "unsafe"])
    rows["unsafe"] = rows.unsafe.sample(frac=1, random_state=1).to_numpy()
    found = Guard.fit(str(folder), rows, layers=(1, 2), dtype="float32", device="cpu")
    points = found.operating_points.set_index(["reader", "risk"])
    assert points.loc[("states", 0.05), "stopped_unsafe"] < 0.25


def test_a_saved_guard_is_the_same(guard, tmp_path) -> None:
    path = guard.save(tmp_path / "my.guard")
    again = Guard.load(path)
    assert again.origin == guard.origin
    assert again.risk == guard.risk
    pd.testing.assert_frame_equal(again.operating_points, guard.operating_points)
    assert np.allclose(again.score("q", "steal the bread"), guard.score("q", "steal the bread"))
    assert again.save(tmp_path / "two.guard").read_bytes() == path.read_bytes()


def test_streams_are_read_as_answers_are_offline(guard, folder) -> None:
    """The figures in `operating_points` are those of the scores that `watch` gives."""
    local = LocalModel(folder, device="cpu")
    (((_, trace),),) = given(local, ["q"], ["steal the bread and poison it"], 512)
    chunks = []
    for i in range(len(trace)):
        one = part(trace, i, i + 1)
        top = [{"token": str(k), "logprob": float(p)} for k, p in enumerate(one.top_logp[0])]
        shown = {"content": [{"token": one.text, "logprob": float(p), "top_logprobs": top}
                             for p in one.logp]}  # fmt: skip
        chunks.append(
            {"choices": [{"index": 0, "delta": {"content": one.text}, "logprobs": shown}]}
        )
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    free = replace(guard, risk=0.05)
    words = guard.words.score(Generation(trace))
    entropy = Mean().add(entropy_of(trace.top_logp))
    for reader, wanted in (("words", words), ("", words + guard.entropy * entropy)):
        found = [p.score for p in free.watch(chunks, reader)]
        assert found == pytest.approx(wanted[: len(found)].tolist(), nan_ok=True, rel=1e-5)
        assert len(found) == len(wanted) or found[-1] >= free.operating_points.threshold.min()


def test_a_stream_is_read_by_a_known_reader(guard) -> None:
    assert list(guard.watch([])) == []
    with pytest.raises(SettingsError, match="by 'states'"):
        guard.watch([], "states")


def test_a_file_is_checked(guard, tmp_path) -> None:
    path = guard.save(tmp_path / "my.guard")
    data = path.read_bytes()
    (tmp_path / "cut.guard").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.guard").write_bytes(b"")
    arrays = load_file(path)
    save_file(arrays, tmp_path / "bare.guard")
    facts = {"format": 99}
    save_file(arrays, tmp_path / "later.guard", {"guard": json.dumps(facts)})
    with safe_open(path, "numpy") as file:
        facts = file.metadata()
    arrays["probe"][0] = np.nan
    save_file(arrays, tmp_path / "nan.guard", facts)
    with pytest.raises(SourceCorrupt, match="is no guard"):
        Guard.load(tmp_path / "missing.guard")
    turned = bytearray(data)
    turned[-100] ^= 1
    (tmp_path / "turned.guard").write_bytes(turned)
    for name in ("cut", "empty", "bare", "later", "nan", "turned"):
        with pytest.raises(SourceCorrupt, match="is no guard"):
            Guard.load(tmp_path / f"{name}.guard")


def test_scores_of_a_given_answer_are_those_of_its_generation(guard, loaded, folder) -> None:
    model, tokenizer = loaded
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    criteria = guard.criteria(model, tokenizer)
    criteria.threshold = np.inf
    out = model.generate(
        **inputs, max_new_tokens=8, do_sample=False, eos_token_id=None, stopping_criteria=[criteria]
    )
    ids = out[0, inputs.input_ids.shape[1] :].tolist()
    model = LocalModel(folder, device="cpu")
    (((_, trace),),) = given(model, ["hello"], [tuple(ids)], 8, (1, 2))
    states = np.concatenate([trace.hidden[1], trace.hidden[2]], axis=1)
    # Of given answers states are kept in half precision.
    assert np.allclose(guard.probe.read(states), criteria.scores[0], atol=0.02)
    assert np.ptp(criteria.scores[0]) > 0.2


def test_another_model_is_refused_by_what_differs(guard, loaded, folder, tmp_path) -> None:
    model, tokenizer = loaded
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    with pytest.raises(SettingsError, match=r"the dtype \(bfloat16 instead of float32\)") as error:
        guard.criteria(half, tokenizer)
    assert "the model (" not in str(error.value)
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.up_proj.weight.mul_(1.01)
    with pytest.raises(SettingsError, match=r"the model \("):
        guard.criteria(model, tokenizer)
    tokenizer.chat_template = tokenizer.chat_template + " "
    with pytest.raises(SettingsError, match="the template"):
        guard.criteria(model, tokenizer)
    with pytest.warns(UserWarning, match=r"the model \("):
        guard.criteria(model, tokenizer, strict=False)


@pytest.mark.parametrize(
    ("rows", "error", "what"),
    [
        ([("a", "b", True)] * 40, SettingsError, "40 unsafe and 0 safe"),
        ([("a", "b", i % 2) for i in range(40)], SettingsError, "answers to 1 prompts"),
        ([("a", "b", 1.0), ("a", "b", "yes")], SchemaError, "row 1, field 'unsafe'"),
        ([("a", "b", None)], SchemaError, "row 0, field 'unsafe'"),
        ([("a", "b")], SourceCorrupt, "the examples cannot be read"),
        (None, SourceCorrupt, "the examples cannot be read"),
        ([("a", None, True)], SchemaError, "row 0, field 'answer'"),
        ([("a", "half \ud800", True)], SchemaError, "row 0, field 'answer'"),
        (
            [(f"q{i}", "b" * (i < 3), i % 2) for i in range(60)],
            SchemaError,
            "row 3, field 'answer'",
        ),
        (pd.DataFrame({"prompt": [], "text": []}), SchemaError, "field 'answer'"),
        (pd.DataFrame({"prompt": [], "answer": [], "unsafe": []}), SettingsError, "0 unsafe"),
    ],
)
def test_examples_are_checked(folder, rows, error, what) -> None:
    with pytest.raises(error, match=what):
        Guard.fit(str(folder), rows)


def test_a_model_that_writes_otherwise_than_it_reads(folder, monkeypatch) -> None:
    plain = LlamaForCausalLM.prepare_inputs_for_generation

    def doubled(self, *args, **kwargs):
        found = plain(self, *args, **kwargs)
        return found | {"position_ids": 2 * found["position_ids"]}

    monkeypatch.setattr(LlamaForCausalLM, "prepare_inputs_for_generation", doubled)
    with pytest.raises(SettingsError, match="otherwise than it writes"):
        Guard.fit(str(folder), examples(), layers=(1, 2), dtype="float32", device="cpu")


def test_a_risk_that_cannot_be_kept(guard) -> None:
    with pytest.raises(SettingsError, match="safe calibration answers"):
        guard.at(0.001)
    with pytest.raises(SettingsError, match="above 0 and below 1"):
        guard.at(1.5)


def test_a_score_as_high_as_the_calibrated_one_does_not_stop(guard) -> None:
    """Peaks are stored in float32; in use, scores are float32 or float64."""
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"peaks": draw.normal(size=200).astype(np.float32), "unsafe": False})
    table = table.assign(fold=np.arange(200) % 5, group=np.arange(200))
    one = replace(guard, calibrations=dict.fromkeys(guard.calibrations, table))
    threshold = one.threshold()
    assert np.float32(threshold) == threshold
    highest = table.peaks[table.peaks < threshold].max()
    assert (table.peaks > highest).sum() == 9  # 10 of 201 at a risk of 5 %, one kept back
    assert not bool(torch.tensor(highest) >= threshold)
    for rounded in (float(highest), float(highest) + 1e-9, float(highest) - 1e-9):
        assert np.float32(rounded) == highest
        assert one.alarm(np.array([0.0, rounded])) == 0
    above = float(np.nextafter(highest, np.float32(np.inf)))
    assert bool(torch.tensor(above) >= threshold)
    assert one.alarm(np.array([-9.0, above - 1e-10])) == 2


def test_the_alarming_token_is_held_back(guard, loaded) -> None:
    model, tokenizer = loaded
    asked = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    messages = [{"role": "user", "content": "hello"}]
    criteria = guard.criteria(model, tokenizer)
    criteria.threshold = np.inf
    free = list(stream(criteria, model, tokenizer, messages, asked))
    assert not any(p.alarm for p in free)
    scores = [p.score for p in free[:10]]
    at = int(np.argmax(scores))
    strict = guard.criteria(model, tokenizer)
    strict.threshold = scores[at]
    seen = list(stream(strict, model, tokenizer, messages, asked))
    assert [p.alarm for p in seen] == [False] * at + [True]
    assert seen[-1].text == ""
    assert "".join(p.text for p in seen) == "".join(p.text for p in free[:at])


def test_an_error_of_the_model_reaches_the_reader(guard, loaded) -> None:
    model, tokenizer = loaded
    with pytest.raises(Exception, match="beam"):
        list(guard.stream(model, tokenizer, "hello", num_beams=2))


def test_a_stream_keeps_what_was_asked(guard, loaded) -> None:
    model, tokenizer = loaded
    free = guard.criteria(model, tokenizer)
    free.threshold, seen = np.inf, []

    class Counter(StoppingCriteria):
        def __call__(self, ids, scores, **kwargs):
            seen.append(len(ids))
            return torch.zeros(len(ids), dtype=torch.bool)

    asked = {
        "stopping_criteria": [Counter()],
        "generation_config": GenerationConfig(max_new_tokens=5, pad_token_id=0),
    }
    assert list(stream(free, model, tokenizer, "hello", asked))
    assert len(seen) == 5
    asked = {"num_return_sequences": 2, "do_sample": True}
    with pytest.raises(Unwatched, match="2 answers"):
        list(stream(free, model, tokenizer, "hello", asked))


def test_who_stops_reading_stops_the_model(guard, loaded) -> None:
    model, tokenizer = loaded
    criteria = guard.at(0.05).criteria(model, tokenizer)
    criteria.threshold = np.inf
    pieces = stream(
        criteria, model, tokenizer, "hello", {"max_new_tokens": 200, "eos_token_id": None}
    )
    next(pieces)
    pieces.close()
    assert criteria.scores.shape[1] < 200


def test_examples_from_a_file(tmp_path) -> None:
    path = tmp_path / "rated.csv"
    lines = [f"hi {i},NA,{[' 0', '1', 'False', ' TRUE '][i % 4]}" for i in range(80)]
    path.write_text("\n".join(["prompt,answer,unsafe", *lines]))
    rows = checked(path)
    assert rows.unsafe.tolist() == [False, True] * 40
    assert rows.answer[0] == "NA"
    assert checked(str(path)).equals(rows)
    path.write_text("prompt,answer,unsafe\nhi,there,1\nho,there,maybe\n")
    with pytest.raises(SchemaError, match=r"rated.csv, row 1, field 'unsafe'"):
        checked(path)
    path.write_text("prompt,text\nhi,there\n")
    with pytest.raises(SchemaError, match="answer"):
        checked(path)
    for data in ("prompt,answer,unsafe\nhé,b,1".encode("latin-1"), b"", b'prompt,answer\n"a,b,c'):
        path.write_bytes(data)
        with pytest.raises(SourceCorrupt, match=r"rated.csv cannot be read"):
            checked(path)
    with pytest.raises(SourceMissing):
        checked(tmp_path / "none.csv")


def test_the_command_line(folder, tmp_path) -> None:
    frame = pd.DataFrame(examples(), columns=["prompt", "answer", "unsafe"])
    frame.to_csv(tmp_path / "rated.csv", index=False)
    path = str(tmp_path / "my.guard")
    given = [str(tmp_path / "rated.csv"), "--model", str(folder), "--dtype", "float32"]
    made = CliRunner().invoke(app, ["guard", "fit", *given, "--device", "cpu", "--out", path])
    assert made.exit_code == 0, made.output
    info = CliRunner().invoke(app, ["guard", "info", path])
    assert "stopped_unsafe" in info.output
    asked = ["guard", "score", path, "--prompt", "q", "--answer", "attack poison"]
    score = CliRunner().invoke(app, asked)
    assert "stopped" in score.output


SHIPPED = data_dir() / "guards" / "harm-smollm2.guard"


def test_the_guard_that_comes_with_the_package() -> None:
    guard = Guard.load(SHIPPED)
    points = guard.operating_points.set_index(["reader", "risk"])
    assert points.loc[("states", 0.05), "stopped_unsafe"] > 0.35
    assert points.loc[("states", 0.05), "upper"] < 0.08
    assert 0.2 < points.loc[("words + entropy", 0.05), "stopped_unsafe"] < 0.3
    assert "not for" in guard.card


@pytest.mark.slow
def test_the_readme_s_guard_stops_the_model(monkeypatch) -> None:
    """The block as it stands there. Nothing of the answer is printed."""
    blocks = re.findall(
        r"```python\n(.*?)```", (project_root() / "README.md").read_text(), re.DOTALL
    )
    (block,) = [b for b in blocks if "guard.stream(" in b]
    monkeypatch.chdir(project_root())
    space: dict = {}
    exec(compile(block, "README.md", "exec"), space)
    pieces = space["pieces"]
    assert pieces[-1].alarm
    assert pieces[-1].text == ""
    assert not any(p.alarm for p in pieces[:-1])
    assert len(pieces) == 47  # of the 120 tokens that were asked for
