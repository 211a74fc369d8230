"""Traces of generated and of given text: one and the same, and what transformers itself says; and the
statistics they hold: the same as from all log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax

torch = pytest.importorskip("torch")

from trustllm_repro.errors import SettingsError  # noqa: E402
from trustllm_repro.models.base import Finish, Request  # noqa: E402
from trustllm_repro.models.local import LocalModel  # noqa: E402
from trustllm_repro.online.generations import recorder  # noqa: E402
from trustllm_repro.online.generations.recorder import (  # noqa: E402
    first_token,
    generated,
    statistics,
    to_half,
)
from trustllm_repro.online.generations.recorder import given as read_given  # noqa: E402

PROMPTS = [
    "Tell me about trams.",
    "Why is the sky blue, and why is it sometimes red in the evening?",
    "Name a colour.",
    "One two three four five six seven eight nine ten eleven twelve.",
    "A much longer prompt " * 12,
    "?",
]
ARRAYS = ("ids", "ends", "logp", "entropy", "top_ids", "top_logp", "first_ids", "first_logp")


def made(model, requests, layers=(1, 2)):
    found = {i: t for batch in generated(model, requests, layers) for i, t in batch}
    return [found[i] for i in range(len(requests))]


@pytest.fixture(scope="module")
def greedy(model):
    return made(model, [Request(p, 12) for p in PROMPTS])


def test_watching_changes_no_answer(model, greedy) -> None:
    plain = dict(x for b in model.complete([Request(p, 12) for p in PROMPTS]) for x in b)
    assert [(t.text, t.finish, t.prompt_tokens, len(t)) for t in greedy] == [
        (c.text, c.finish, c.prompt_tokens, c.new_tokens) for _, c in sorted(plain.items())
    ]


def test_the_numbers_are_those_of_a_plain_forward_pass(model, greedy) -> None:
    for prompt, trace in zip(PROMPTS, greedy, strict=True):
        tokens = [*model.tokens(prompt), *trace.ids.tolist()]
        first = len(tokens) - len(trace) - 1
        with torch.inference_mode():
            out = model.model(torch.tensor([tokens]), output_hidden_states=True)
        logp = out.logits[0, first:-1].log_softmax(-1)
        assert trace.logp == pytest.approx(
            logp.gather(1, torch.tensor(trace.ids, dtype=torch.long)[:, None])[:, 0].numpy(),
            abs=1e-4,
        )
        assert trace.entropy == pytest.approx(-(logp.exp() * logp).sum(-1).numpy(), abs=1e-4)
        assert trace.top_ids[:, 0].tolist() == logp.argmax(-1).tolist() == trace.ids.tolist()
        # The last of transformers' hidden states is normalised, so the first block is compared.
        assert trace.hidden[1] == pytest.approx(
            out.hidden_states[1][0, first:-1].numpy(), abs=2e-3, rel=2e-3
        )


def test_given_text_gives_the_trace_of_the_generation(model, greedy) -> None:
    texts = [tuple(t.ids.tolist()) for t in greedy]
    read = dict(x for b in read_given(model, PROMPTS, texts, 12, (1, 2)) for x in b)
    for i, trace in enumerate(greedy):
        assert read[i].text == trace.text
        for name in ARRAYS:
            assert getattr(read[i], name) == pytest.approx(getattr(trace, name), abs=1e-4), name
        for layer, states in trace.hidden.items():
            assert read[i].hidden[layer] == pytest.approx(states, abs=2e-3, rel=2e-3)


def test_given_text_is_read_in_the_tokenizers_tokens(model) -> None:
    ((_, trace),) = next(read_given(model, ["a"], ["Hello."], 99))
    assert (trace.text, trace.ends.tolist()) == ("Hello.", [1, 2, 3, 4, 5, 6])


def test_tracks_are_those_of_their_own_rows(tiny, greedy) -> None:
    """Rows leave and enter the batch; alone, every answer has the same trace."""
    alone = LocalModel(tiny, device="cpu", batch_size=1)
    again = made(alone, [Request(p, 12) for p in PROMPTS])
    alike(greedy, again)


def test_drawn_tokens_have_their_own_probability(model) -> None:
    drawn = made(model, [Request("Tell me.", 20, 1.0, seed=k) for k in range(5)])
    below = [t.top_logp[:, 0] - t.logp for t in drawn]
    assert max(b.max(initial=0) for b in below) > 0.1
    assert min(b.min(initial=0) for b in below) > -1e-6


@pytest.mark.parametrize("layer", [0, 3, -1, 99])
def test_a_layer_that_does_not_exist_is_refused(model, layer: int) -> None:
    with pytest.raises(SettingsError, match="no layer"):
        next(generated(model, [Request("a", 2)], (layer,)))


def test_no_logits_an_empty_trace(tiny) -> None:
    broken = LocalModel(tiny, device="cpu")
    broken.model.get_input_embeddings().weight.data.fill_(torch.nan)
    (trace,) = made(broken, [Request("a", 3)])
    assert (trace.finish, len(trace), trace.text) == (Finish.NAN, 0, "")
    assert (trace.top_ids.shape, trace.hidden[1].shape[0], len(trace.first_ids)) == ((0, 5), 0, 0)


def test_empty_texts_have_empty_traces(model) -> None:
    read = dict(x for b in read_given(model, ["a", ""], ["", "b"], 9, (1,)) for x in b)
    assert (len(read[0]), read[0].text, read[0].hidden[1].shape[0]) == (0, "", 0)
    assert len(read[1]) >= 1


def test_long_texts_are_read_to_the_limit(model) -> None:
    ((_, trace),) = next(read_given(model, ["a"], ["word " * 50], 7))
    assert len(trace) == 7
    assert ("word " * 50).startswith(trace.text)


def test_hooks_are_gone_afterwards(model) -> None:
    blocks = model.model.get_decoder().layers
    before = [len(b._forward_hooks) for b in blocks]
    made(model, [Request("a", 2)])
    next(generated(model, [Request("a", 2), Request("b", 9)], (1, 2)))  # not taken to its end
    assert [len(b._forward_hooks) for b in blocks] == before


def test_kept_arrays_are_as_long_as_the_answer(greedy) -> None:
    for trace in greedy:
        assert trace.logp.base is None or trace.logp.base.size <= len(trace) + 1
        assert {a.shape[0] for a in trace.hidden.values()} == {len(trace)}
        assert all(a.dtype == np.float16 for a in trace.hidden.values())


def alike(one, two) -> None:
    """Equal traces, to the last bit of the hidden states."""
    for a, b in zip(one, two, strict=True):
        for name in ARRAYS:
            assert getattr(a, name) == pytest.approx(getattr(b, name), abs=1e-4), name
        for layer in a.hidden:
            assert a.hidden[layer] == pytest.approx(b.hidden[layer], abs=2e-3, rel=2e-3)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_how_many_logits_are_looked_at_together_changes_nothing(
    model, greedy, monkeypatch, rows: int
) -> None:
    monkeypatch.setattr(recorder, "ROWS", rows)
    alike(made(model, [Request(p, 12) for p in PROMPTS]), greedy)


class FailsOnce:
    """The n-th forward pass of a module runs out of memory."""

    def __init__(self, module, n: int) -> None:
        self.left, self.handle = n, module.register_forward_pre_hook(self)

    def __call__(self, *_) -> None:
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("n", [2, 3, 9])
def test_states_of_passes_that_broke_off_belong_to_no_token(tiny, greedy, n: int) -> None:
    short = LocalModel(tiny, device="cpu", batch_size=4)
    short.reader.pass_tokens = 30  # several passes before the first token
    broken = FailsOnce(short.model, n)
    alike(made(short, [Request(p, 12) for p in PROMPTS]), greedy)
    assert (broken.left < 0, short.batch_size) == (True, 2)


def test_given_texts_go_in_smaller_passes_when_memory_runs_out(tiny) -> None:
    asked = PROMPTS, ["word " * 9] * len(PROMPTS), 99, (1,)
    want = dict(x for b in read_given(LocalModel(tiny, device="cpu"), *asked) for x in b)
    short = LocalModel(tiny, device="cpu")
    broken = FailsOnce(short.model.get_decoder(), 1)
    read = dict(x for b in read_given(short, *asked) for x in b)
    alike([read[i] for i in want], list(want.values()))
    assert broken.left < 0
    FailsOnce(short.model.get_decoder(), 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(read_given(short, PROMPTS[:1], ["word "], 99, (1,)))


def test_states_beyond_float16_stand_at_its_end() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        found = to_half(torch.tensor([1e6, -1e6, 1.5, torch.nan], dtype=dtype))
        assert found[:3].tolist() == [65504, -65504, 1.5]
        assert found[3].isnan()


def logits_of(seed: int, rows: int, width: int, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * scale


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([7, 300, 12_000, 13_001]))
def test_the_same_as_from_all_log_probabilities(seed: int, rows: int, width: int) -> None:
    logits = logits_of(seed, rows, width) + 20
    tokens = torch.arange(rows) % width
    found = statistics(logits, tokens)
    logp = log_softmax(logits.double().numpy(), axis=-1)
    at = np.arange(rows)
    assert found["logp"].numpy() == pytest.approx(logp[at, tokens.numpy()], abs=2e-4)
    assert found["entropy"].numpy() == pytest.approx(stats.entropy(np.exp(logp), axis=-1), abs=2e-4)
    best = np.sort(logp, axis=-1)[:, ::-1][:, :5]
    assert found["top_logp"].numpy() == pytest.approx(best, abs=2e-4)
    assert logp[at[:, None], found["top_ids"].numpy()] == pytest.approx(best, abs=2e-4)


def test_known_distributions() -> None:
    flat = statistics(torch.zeros(1, 1000), torch.tensor([3]))
    assert flat["entropy"].item() == pytest.approx(np.log(1000), abs=1e-4)
    assert flat["logp"].item() == pytest.approx(-np.log(1000), abs=1e-4)
    sure = statistics(torch.tensor([[1000.0, 0, 0]]), torch.tensor([0]))
    assert (sure["entropy"].item(), sure["logp"].item()) == (0, 0)


def test_ruled_out_tokens_do_not_spoil_the_entropy() -> None:
    logits = torch.tensor([[1.0, 1.0, -torch.inf, -torch.inf], [2.0] * 4, [-torch.inf] * 4])
    found = statistics(logits, torch.tensor([0, 0, 0]))["entropy"].numpy()
    assert found[:2] == pytest.approx([np.log(2), np.log(4)], abs=1e-6)
    assert np.isnan(found[2])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_no_number_stays_no_number(bad: float) -> None:
    logits = logits_of(2, 3, 50)
    logits[1, 7] = bad
    found = statistics(logits, torch.tensor([0, 0, 0]))
    assert torch.isnan(found["entropy"]).tolist() == [False, True, False]
    assert not torch.isfinite(found["logp"][1])


def test_a_gpu_is_not_waited_for() -> None:
    """Tensors of the device "meta" have no numbers: whoever looks at one fails."""
    logits = torch.empty(3, 300_000, device="meta", dtype=torch.bfloat16)
    found = statistics(logits, torch.zeros(3, dtype=torch.long, device="meta"))
    assert (found["entropy"].shape, found["top_ids"].shape) == ((3,), (3, 5))
    assert first_token(logits)["first_ids"].shape == (3, 256)
