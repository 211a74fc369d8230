"""Attention on the CPU: what torch's own kernel says, to rounding, whatever the shapes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.tiny import tiny_model  # noqa: E402
from trustllm_repro.models import cpu as at  # noqa: E402

# float32 differs by the order of sums alone; half precision also by the rounding of scores.
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 3e-2}
shapes = st.tuples(
    st.integers(1, 20), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.booleans()
)


class Layer(torch.nn.Module):
    """What torch's path reads of a layer."""

    is_causal = True

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.num_key_value_groups = groups


def made(rows: int, shared: int, groups: int, columns: int, queries: int, dtype, seed: int = 0):
    """Query, key, value, mask and the first column of each row (left padding, causal)."""
    g = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, shared * groups, queries, 8, generator=g).to(dtype)
    key, value = (torch.randn(rows, shared, columns, 8, generator=g).to(dtype) for _ in range(2))
    starts = torch.randint(0, columns - queries + 1, (rows,), generator=g)
    at_column = torch.arange(columns)
    causal = at_column <= torch.arange(columns - queries, columns)[:, None]
    mask = causal[None, None] & (at_column >= starts[:, None, None, None])
    return query, key, value, mask, starts.tolist()


def both(query, key, value, mask, **more):
    layer = Layer(query.shape[1] // key.shape[1])
    ours = at.attention(layer, query, key, value, mask, **more)[0]
    wide = (x.float() for x in (query, key, value))
    theirs = at.sdpa_attention_forward(layer, *wide, mask, **more)[0]
    return ours, theirs


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from(list(CLOSE)), st.sampled_from([None, 0.3]))
def test_as_torchs_kernel(shape, dtype, scaling) -> None:
    rows, shared, groups, columns, one = shape
    queries = 1 if one else columns
    query, key, value, mask, _ = made(rows, shared, groups, columns, queries, dtype)
    ours, theirs = both(query, key, value, mask, scaling=scaling)
    read = mask.any(-1)[:, 0, :, None, None].expand_as(ours)  # of padding nothing is asked
    assert ours.dtype == dtype
    assert torch.allclose(ours.float()[read], theirs[read], atol=CLOSE[dtype], rtol=CLOSE[dtype])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 150), st.sampled_from(list(CLOSE)))
def test_columns_that_no_row_of_a_group_needs_are_not_read(rows, columns, dtype) -> None:
    query, key, value, mask, starts = made(rows, 2, 2, columns, 1, dtype)
    whole = at.attention(Layer(2), query, key, value, mask)[0]
    for k in range(0, rows, at.ROWS):
        first = min(starts[k : k + at.ROWS]) // at.GRAIN * at.GRAIN
        key[k : k + at.ROWS, :, :first] = value[k : k + at.ROWS, :, :first] = float("nan")
    part = at.attention(Layer(2), query, key, value, mask)[0]
    assert torch.allclose(part.float(), whole.float(), atol=CLOSE[dtype])


def test_one_mask_may_hold_for_all_rows() -> None:
    query, key, value, mask, _ = made(9, 1, 1, 70, 1, torch.float32)
    ours, theirs = both(query, key, value, mask[:1])
    assert torch.allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("mask", [None, "float"])
def test_other_masks_go_to_torch(mask) -> None:
    query, key, value, known, _ = made(3, 1, 2, 7, 1, torch.float32)
    given_mask = None if mask is None else torch.zeros(known.shape).masked_fill(~known, -1e9)
    ours, theirs = both(query, key, value, given_mask)
    assert torch.equal(ours, theirs)


def test_only_models_on_the_cpu_with_torchs_kernel_change(tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_model(tmp_path / "tiny")
    model = AutoModelForCausalLM.from_pretrained(folder)
    at.use_cpu_attention(model)
    assert model.config._attn_implementation == at.ATTENTION
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    at.use_cpu_attention(plain)
    assert plain.config._attn_implementation == "eager"
    ids = torch.arange(40).view(2, 20) + 5
    ours, theirs = (m(input_ids=ids).logits for m in (model, plain))
    assert torch.allclose(ours, theirs, atol=1e-5)
