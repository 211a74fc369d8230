"""Option scores against one plain forward pass per option."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from trustllm_repro.models.local import LocalModel

INTRO = "Which of the words after the colon is right? Say it, and nothing else: "
# One token, many tokens, equal beginnings, none at all.
SETS = (["A", "B", "C"], ["yes", "yes, it is", "no"], ["", "true"], ["a rather long one", "b"], [])


def plain(model: LocalModel, prompt: str, option: str) -> float:
    """Log-probability in nats by one forward pass over prompt and option."""
    head = model.tokens(prompt)
    tail = model.tokenizer(option, add_special_tokens=False).input_ids
    if not tail:
        return 0.0
    with torch.inference_mode():
        logits = model.model(torch.tensor([[*head, *tail]])).logits[0].float()
    after = torch.log_softmax(logits, dim=-1)
    return sum(float(after[len(head) - 1 + i, t]) for i, t in enumerate(tail))


def questions(count: int) -> tuple[list[str], list[list[str]]]:
    prompts = [(INTRO if i % 3 else "") + f"{i}" + " and more" * (i % 5) for i in range(count)]
    return prompts, [SETS[i % len(SETS)] for i in range(count)]


@pytest.mark.parametrize("which", ["tiny", "base", "sliding"])
@pytest.mark.parametrize("pass_tokens", [64, 2048])
def test_scores_are_those_of_plain_forward_passes(request, which, pass_tokens):
    model = LocalModel(request.getfixturevalue(which))
    model.reader.pass_tokens = pass_tokens
    prompts, options = questions(30)
    found = dict(model.score_options(prompts, options))
    assert sorted(found) == list(range(30))
    for i, scores in found.items():
        want = [plain(model, prompts[i], o) for o in options[i]]
        assert scores == pytest.approx(want, abs=1e-4), (prompts[i], options[i])


def test_options_in_many_small_passes(tiny, monkeypatch):
    prompts, options = questions(20)
    want = dict(LocalModel(tiny).score_options(prompts, options))
    monkeypatch.setattr("trustllm_repro.models.decoding.OPTION_TOKENS", {"cpu": 1})
    found = dict(LocalModel(tiny).score_options(prompts, options))
    assert all(found[i] == pytest.approx(want[i], abs=1e-4) for i in want)


def test_windows_narrower_than_beginning_padding_and_option(sliding):
    """Padding between the shared beginning and the rest must not push anything out of sight."""
    model = LocalModel(sliding)
    assert model.reader.window == 48
    prompts = ["b" * 26 + chr(ord("A") + i) * (1 + i % 10) for i in range(20)]
    options = [["x" * 20, "y" * 12, "z"]] * 20
    for i, scores in model.score_options(prompts, options):
        want = [plain(model, prompts[i], o) for o in options[i]]
        assert scores == pytest.approx(want, abs=1e-4), prompts[i]


def test_one_token_options_add_up_to_one(tiny):
    model = LocalModel(tiny)
    everything = [model.tokenizer.decode([t]) for t in range(len(model.tokenizer))]
    single = [o for o in everything if len(model.tokenizer(o).input_ids) == 1]
    ((_, scores),) = model.score_options(["Hello"], [single])
    assert 0.3 < sum(math.exp(s) for s in scores) <= 1.0 + 1e-5


def test_long_prompts_are_cut_for_options_too(tiny):
    model = LocalModel(tiny)
    ((_, scores),) = model.score_options(["word " * 300], [["yes", "no"]])
    assert all(math.isfinite(s) and s < 0 for s in scores)


def test_nothing_to_score(tiny):
    model = LocalModel(tiny)
    assert list(model.score_options([], [])) == []
    assert sorted(model.score_options(["a", "bc"], [[], []])) == [(0, []), (1, [])]
