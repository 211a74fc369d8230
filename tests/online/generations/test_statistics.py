"""Statistics of next-token distributions: the same as from all log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax

torch = pytest.importorskip("torch")

from trustllm_repro.online.generations.statistics import likeliest, mean_of, statistics, top_k  # noqa: E402


def drawn(seed: int, rows: int, width: int, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * scale


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([7, 300, 12_000, 13_001]))
def test_the_same_as_from_all_log_probabilities(seed: int, rows: int, width: int) -> None:
    logits = drawn(seed, rows, width) + 20
    tokens = torch.arange(rows) % width
    found = statistics(logits, tokens)
    logp = log_softmax(logits.double().numpy(), axis=-1)
    at = np.arange(rows)
    assert found.logp.numpy() == pytest.approx(logp[at, tokens.numpy()], abs=2e-4)
    assert found.entropy.numpy() == pytest.approx(stats.entropy(np.exp(logp), axis=-1), abs=2e-4)
    best = np.sort(logp, axis=-1)[:, ::-1][:, :5]
    assert found.top_logp.numpy() == pytest.approx(best, abs=2e-4)
    assert logp[at[:, None], found.top_ids.numpy()] == pytest.approx(best, abs=2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [10_240, 49_152, 50_001])
def test_the_largest_are_found_with_many_ties(dtype: torch.dtype, width: int) -> None:
    logits = drawn(1, 9, width).to(dtype)
    logits[3] = 1.0  # all alike
    logits[4, -3:] = 99  # in the piece that fills no chunk
    values, places = top_k(logits, 5)
    assert torch.equal(values, logits.topk(5).values)
    assert torch.equal(logits.gather(1, places), values)
    assert all(len(set(row.tolist())) == 5 for row in places)


def test_known_distributions() -> None:
    flat = statistics(torch.zeros(1, 1000), torch.tensor([3]))
    assert flat.entropy.item() == pytest.approx(np.log(1000), abs=1e-4)
    assert flat.logp.item() == pytest.approx(-np.log(1000), abs=1e-4)
    sure = statistics(torch.tensor([[1000.0, 0, 0]]), torch.tensor([0]))
    assert (sure.entropy.item(), sure.logp.item()) == (0, 0)


def test_ruled_out_tokens_do_not_spoil_the_entropy() -> None:
    logits = torch.tensor([[1.0, 1.0, -torch.inf, -torch.inf], [2.0, 2.0, 2.0, 2.0]])
    found = statistics(logits, torch.tensor([0, 0]))
    assert found.entropy.numpy() == pytest.approx([np.log(2), np.log(4)], abs=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_no_number_stays_no_number(bad: float) -> None:
    logits = drawn(2, 3, 50)
    logits[1, 7] = bad
    found = statistics(logits, torch.tensor([0, 0, 0]))
    assert torch.isnan(found.entropy).tolist() == [False, True, False]
    assert not torch.isfinite(found.logp[1])


def test_ruled_out_tokens_with_and_without_a_look() -> None:
    x = drawn(3, 4, 60)
    x[1, 5:] = -torch.inf
    x[2] = -torch.inf
    x[3, 0] = torch.nan
    shares, best = torch.softmax(x, dim=-1), x.amax(dim=-1)
    looked, blind = (mean_of(x, shares, best, look) for look in (True, False))
    assert torch.allclose(looked, blind, equal_nan=True)
    assert looked.isnan().tolist() == [False, False, True, True]


def test_a_gpu_is_not_waited_for() -> None:
    """Tensors of the device "meta" have no numbers: whoever looks at one fails."""
    logits = torch.empty(3, 300_000, device="meta", dtype=torch.bfloat16)
    found = statistics(logits, torch.zeros(3, dtype=torch.long, device="meta"))
    assert (found.entropy.shape, found.top_ids.shape) == ((3,), (3, 5))
    assert likeliest(logits)[0].shape == (3, 256)
