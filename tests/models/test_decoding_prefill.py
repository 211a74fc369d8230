"""Reading prompts: passes of bounded size, shared beginnings computed once."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.models.decoding import PREFIXES, Prompt, Reader, schedule
from trustllm_repro.models.local import LocalModel

TOKENS = st.lists(st.integers(3, 200), min_size=1, max_size=30).map(tuple)


class Counted:
    """Notes the shape of every forward pass of a real model."""

    def __init__(self, model) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.handle = model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module, args, kwargs) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))


@pytest.fixture
def model(tiny) -> LocalModel:
    return LocalModel(tiny)


def begun(count: int, size: int = 40) -> list[tuple[int, ...]]:
    """Prompts of which all share the first `size` tokens."""
    return [(*range(10, 10 + size), 100 + i, *range(20, 20 + i % 7)) for i in range(count)]


@given(st.lists(TOKENS, max_size=20), st.integers(1, 120))
def test_passes_hold_every_prompt_once_and_no_more_than_they_may(prompts, most):
    class Anything:
        device = torch.device("cpu")

        def get_output_embeddings(self):
            return None

    reader = Reader(Anything(), pad=0, pass_tokens=most)
    planned = schedule(prompts, least=2, share=2)
    passes = list(reader.passes(planned))
    assert [p for some in passes for p in some] == planned
    for some in passes:
        assert len({p.tokens[: p.prefix] for p in some}) == 1
        width = max(len(p.tokens) - p.prefix for p in some)
        assert len(some) == 1 or width * len(some) <= most


def test_a_shared_beginning_is_read_once(model):
    prompts = begun(20)
    planned = schedule(prompts, least=24, share=16)
    assert {p.prefix for p in planned} == {40}
    counted = Counted(model.model)
    model.reader.pass_tokens = 40
    passes = [model.reader.read(some) for some in model.reader.passes(planned)]
    assert counted.shapes[0] == (1, 40)  # the beginning
    assert all(width <= 8 for _, width in counted.shapes[1:])
    assert sum(rows for rows, _ in counted.shapes[1:]) == 20
    assert len(passes) == len(counted.shapes) - 1


def test_few_shared_beginnings_are_kept(model):
    for first in range(3, 3 + PREFIXES + 4):
        start = (first,) * 30
        model.reader.read([Prompt(i, (*start, 100 + i), 30) for i in range(2)])
    assert model.reader._prefix.cache_info().currsize == PREFIXES
    counted = Counted(model.model)
    model.reader.read([Prompt(0, (*start, 99), 30)])
    assert counted.shapes == [(1, 1)]  # the last one is still there
    model.reader.read([Prompt(0, ((3,) * 30) + (99,), 30)])
    assert counted.shapes[1:] == [(1, 30), (1, 1)]  # the first one is not


@pytest.mark.parametrize("which", ["tiny", "sliding"])
@pytest.mark.parametrize("shared", [0, 20, 40])
def test_a_pass_gives_the_logits_and_the_cache_of_each_prompt_alone(request, which, shared):
    model = LocalModel(request.getfixturevalue(which))
    prompts = [Prompt(i, t, shared) for i, t in enumerate(begun(6))]
    cache, mask, logits = model.reader.read(prompts)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([prompt.tokens])
        with torch.inference_mode():
            alone = model.model(ids, use_cache=True)
        assert torch.allclose(logits[row], alone.logits[0, -1], atol=1e-4)
        for layer, want in zip(cache.layers, alone.past_key_values.layers, strict=True):
            found = layer.keys[row][:, mask[row].bool()]
            kept = want.keys.shape[2]  # a sliding layer of the usual cache forgets
            assert torch.allclose(found[:, -kept:], want.keys[0], atol=1e-4)


def test_the_kept_beginning_is_not_changed_by_its_use(model):
    start = tuple(range(10, 50))
    _, _, first = model.reader.read([Prompt(0, (*start, 3), 40), Prompt(1, (*start, 4, 5), 40)])
    kept = [layer.keys.clone() for layer in model.reader._prefix(start).layers]
    _, _, again = model.reader.read([Prompt(0, (*start, 3), 40), Prompt(1, (*start, 4, 5), 40)])
    assert torch.equal(first, again)
    for before, layer in zip(kept, model.reader._prefix(start).layers, strict=True):
        assert torch.equal(before, layer.keys)


def test_the_output_layer_gets_the_last_positions_in_one_piece(model):
    """Else torch copies that layer's weights for every row."""
    seen, reader = [], model.reader
    model.model.get_output_embeddings().register_forward_pre_hook(
        lambda _, given: seen.append((given[0].shape[:2], given[0].is_contiguous()))
    )
    reader.read([Prompt(i, t) for i, t in enumerate(begun(5))])
    Reader(model.model, pad=0, pass_tokens=512)  # a second reader of the same model adds nothing
    assert len(model.model.get_output_embeddings()._forward_pre_hooks) == 2
    assert seen == [((5, 1), True)]
