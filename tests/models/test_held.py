"""The stock model of transformers, and a model that a notebook holds: gradients, hooks, answers."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.models.prompts import answers, requests  # noqa: E402
from trustllm_repro.data.benchmark import MINIATURE  # noqa: E402
from trustllm_repro.errors import SettingsError  # noqa: E402
from trustllm_repro.evaluation.generate import EvaluationConfig, Settings  # noqa: E402
from trustllm_repro.evaluation.run import evaluate  # noqa: E402
from trustllm_repro.models.find import find_model  # noqa: E402
from trustllm_repro.models.local import LocalModel  # noqa: E402
from trustllm_repro.models.weights import file_sha256  # noqa: E402
from trustllm_repro.online.generations.tasks import Case, OnlineTask  # noqa: E402
from trustllm_repro.online.studies.run import Job as MonitorJob  # noqa: E402
from trustllm_repro.online.studies.run import collector_of  # noqa: E402
from trustllm_repro.progress import Progress  # noqa: E402

CASES = [Case(i, str(i), f"Question {i}?") for i in range(3)]
TASK = OnlineTask("toy", "nothing", "made here", lambda: CASES, ("harm",), max_new_tokens=8)


def held(folder: Path, **more):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, transformers.AutoTokenizer.from_pretrained(folder, **more)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    ids = torch.arange(40).view(2, 20)
    model(input_ids=ids, labels=ids).loss.backward()
    return {n: p.grad for n, p in model.named_parameters()}


def test_the_stock_model_has_the_gradients_of_transformers(tiny: Path) -> None:
    found = find_model(str(tiny), stock=True)
    answers(found, requests(3))  # asked before, in inference mode
    mine, theirs = gradients(found.model), gradients(held(tiny)[0])
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[n], theirs[n]) for n in theirs)
    assert sum(float(g.abs().sum()) for g in mine.values()) > 0
    assert type(found.model) is type(held(tiny)[0])


def test_a_hook_on_the_stock_model_changes_its_answers(tiny: Path) -> None:
    found = find_model(str(tiny), stock=True)
    before = answers(found, requests(3))
    patch = found.model.model.layers[0].register_forward_hook(lambda m, a, out: out * 0 + 1)
    assert answers(found, requests(3)) != before
    patch.remove()
    assert answers(found, requests(3)) == before


def test_a_held_model_answers_as_its_folder_does_and_keeps_its_gradients(tiny: Path) -> None:
    model, tokenizer = held(tiny)
    modules, attention = [type(m) for m in model.modules()], model.config._attn_implementation
    found = find_model(model, tokenizer=tokenizer, name="mine")
    assert (found.name, found.model) == ("mine", model)
    assert answers(found, requests(6)) == answers(LocalModel(tiny, stock=True), requests(6))
    assert [type(m) for m in model.modules()] == modules
    assert model.config._attn_implementation == attention
    assert all(g is not None for g in gradients(model).values())


def test_other_weights_and_other_tokenizers_are_other_models(tiny: Path) -> None:
    model, tokenizer = held(tiny)
    one = find_model(model, tokenizer=tokenizer)
    assert find_model(held(tiny)[0], tokenizer=tokenizer).identity == one.identity
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    two = find_model(model, tokenizer=tokenizer)
    assert two.identity["weights"] != one.identity["weights"]
    tokenizer.chat_template = None
    assert find_model(model, tokenizer=tokenizer).identity["tokenizer"] != two.identity["tokenizer"]


def test_what_was_found_is_asked_another_way_with_the_same_weights(tiny: Path) -> None:
    found = find_model(str(tiny), stock=True)
    other = find_model(found, system="blank", sampling="model")
    assert other.model is found.model
    assert other.identity == find_model(str(tiny), system="blank", sampling="model").identity
    assert find_model(other).identity == found.identity
    model, tokenizer = held(tiny)
    asked = find_model(find_model(model, tokenizer=tokenizer), sampling="model")
    assert asked.identity["sampling"] == {"top_k": 50}


def test_a_held_model_is_evaluated_as_its_folder_is(tiny: Path, tmp_path: Path) -> None:
    asked = Settings(dimensions=("privacy",), limit=2, max_new_tokens=3, likelihood=False)
    mine = find_model(*held(tiny)[:1], tokenizer=held(tiny)[1], name=tiny.name)
    jobs = [
        EvaluationConfig(m, MINIATURE, tmp_path / str(i), asked)
        for i, m in enumerate((mine, str(tiny)))
    ]
    one, two = (evaluate(j, progress=Progress()) for j in jobs)
    assert one.cells.equals(two.cells)
    with pytest.raises(SettingsError, match="several processes"):
        evaluate(
            EvaluationConfig(mine, MINIATURE, tmp_path / "2", asked, workers=2), progress=Progress()
        )


def test_a_held_model_is_watched_as_its_folder_is(tiny: Path, tmp_path: Path) -> None:
    model, tokenizer = held(tiny)
    mine = find_model(model, tokenizer=tokenizer, name=tiny.name)
    traces = []
    for k, given in enumerate((mine, find_model(str(tiny), stock=True))):
        collector = collector_of(MonitorJob(given, tmp_path / str(k)))
        assert collector.model.model is given.model
        traces.append(collector.collect(TASK, CASES, frozenset()))
    assert [s.trace.text for s in traces[0]] == [s.trace.text for s in traces[1]]
    assert all(len(s.trace) for s in traces[0])


def test_what_cannot_be_used_is_said(tiny: Path) -> None:
    model, tokenizer = held(tiny)
    with pytest.raises(SettingsError, match="tokenizer"):
        find_model(model)
    with pytest.raises(SettingsError, match="training mode"):
        find_model(model.train(), tokenizer=tokenizer)


def test_weights_are_hashed_once(tiny: Path, monkeypatch, tmp_path: Path) -> None:
    from tests.models.tiny_gguf import write_gguf
    from trustllm_repro.models import weights

    pytest.importorskip("gguf")
    monkeypatch.setenv("TRUSTLLM_DATA", str(tmp_path / "home"))
    spec = str(write_gguf(tiny, tmp_path / "m.gguf"))
    known = find_model(spec).identity
    read: list[str] = []
    monkeypatch.setattr(weights, "file_sha256", lambda p: read.append(p.name) or file_sha256(p))
    assert find_model(spec).identity == known
    assert read.count("model.safetensors") == 1
    for folder in (tmp_path / "home" / "models").iterdir():
        assert LocalModel(folder).identity["weights"] == known["weights"]
