"""The optional vLLM backend: refused where it is absent, equal in form where it is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models.prompts import set_generation
from trustllm_repro.errors import SettingsError
from trustllm_repro.models import vllm
from trustllm_repro.models.base import Finish, Request
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.vllm import _completion, _nats

absent = importlib.util.find_spec("vllm") is None


@pytest.mark.skipif(not absent, reason="vLLM is installed here")
def test_without_vllm_the_way_out_is_named(tiny: Path) -> None:
    with pytest.raises(SettingsError, match="pip install vllm"):
        find_model(f"vllm:{tiny}")


def test_settings_are_passed_on_and_what_vllm_lacks_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = SimpleNamespace(SamplingParams=lambda **given: given)
    monkeypatch.setattr(vllm, "_imported", lambda: stub)
    own = {"top_k": 7, "top_p": 0.5}
    set_generation(copy, **own)
    model = find_model(f"vllm:{copy}", system="blank", sampling="model")
    local = LocalModel(copy, system="blank", sampling="model")
    assert model.identity == {**local.identity, "backend": "vllm"}
    drawn = model._sampling(Request("x", 5, 1.0, 3))
    assert {k: drawn.get(k) for k in own} == own
    assert not model._sampling(Request("x", 5)).keys() & own
    plain = find_model(f"vllm:{copy}")
    assert not plain._sampling(Request("x", 5, 1.0, 3)).keys() & own
    set_generation(copy, typical_p=0.5)
    with pytest.raises(SettingsError, match="typical_p") as caught:
        find_model(f"vllm:{copy}", sampling="model")
    assert "--sampling plain" in caught.value.remedy


def test_outputs_become_completions() -> None:
    one = SimpleNamespace(text="x y", finish_reason="length", token_ids=[1, 2, 3])
    done = _completion(SimpleNamespace(outputs=[one]), 7, 2)
    assert (done.text, done.finish, done.prompt_tokens) == ("x y", Finish.LENGTH, 7)
    assert (done.new_tokens, done.cut_tokens) == (3, 2)


def test_only_the_tokens_of_the_option_count() -> None:
    def at(token: int, nats: float) -> dict[int, SimpleNamespace]:
        return {token: SimpleNamespace(logprob=nats)}

    given = [None, at(5, -9.0), at(6, -1.0), at(7, -0.5)]
    assert _nats(given, [6, 7]) == -1.5


@pytest.mark.skipif(absent, reason="vLLM is not installed (it needs a GPU)")
def test_greedy_answers_have_the_form_of_local_ones(tiny: Path) -> None:
    requests = [Request(f"Say {i}", 5) for i in range(4)]
    local = dict(x for some in LocalModel(tiny).complete(requests) for x in some)
    found = dict(x for some in find_model(f"vllm:{tiny}").complete(requests) for x in some)
    assert found.keys() == local.keys()
    assert all(found[i].prompt_tokens == local[i].prompt_tokens for i in local)
