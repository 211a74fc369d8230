"""Packed linear layers: the same products, the same model, and a way back to torch's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.tiny import tiny_model  # noqa: E402
from trustllm_repro.models import cpu  # noqa: E402
from trustllm_repro.models.cpu import PackedLinear, pack_linears, packs  # noqa: E402
from trustllm_repro.models.local import LocalModel  # noqa: E402

DTYPES = [d for d in (torch.float32, torch.bfloat16) if packs(d)]
pytestmark = pytest.mark.skipif(not DTYPES, reason="no oneDNN in this torch, or for this processor")
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 5), max_size=2), st.integers(1, 70), st.integers(1, 90),
    st.booleans(), st.sampled_from(DTYPES),
)  # fmt: skip
@torch.no_grad()
def test_the_same_products(rows, inputs, outputs, bias, dtype) -> None:
    layer = torch.nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(*rows, 3, inputs)
    exact = layer.to(dtype).float()(x.to(dtype).float())
    said = PackedLinear(layer.to(dtype))(x.to(dtype))
    assert said.dtype == dtype
    assert torch.allclose(said.float(), exact, atol=CLOSE[dtype], rtol=CLOSE[dtype])


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours() -> None:
    layer = PackedLinear(torch.nn.Linear(64, 96))
    x = torch.randn(40, 64)
    alone = torch.cat([layer(row[None]) for row in x])
    assert torch.allclose(layer(x), alone, atol=1e-5)


def test_a_model_says_the_same_and_gives_its_old_weights_away(tmp_path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    fast, stock = LocalModel(folder), LocalModel(folder, stock=True)
    kinds = {type(m) for m in fast.model.modules()}
    assert PackedLinear in kinds
    assert torch.nn.Linear not in kinds
    assert PackedLinear not in {type(m) for m in stock.model.modules()}
    ids = torch.arange(60).view(3, 20)
    with torch.inference_mode():
        one, two = (m.model(input_ids=ids).logits for m in (fast, stock))
    assert torch.allclose(one, two, atol=1e-4)
    left, all_of_them = (sum(p.numel() for p in m.model.parameters()) for m in (fast, stock))
    assert left < all_of_them / 2


@pytest.mark.parametrize("failure", [AttributeError("no such operator"), RuntimeError("refused")])
def test_a_torch_without_these_operators_keeps_its_own(tmp_path, monkeypatch, failure) -> None:
    def fail(*_):
        raise failure

    monkeypatch.setattr(cpu, "_agrees", fail)
    model = LocalModel(tiny_model(tmp_path / "tiny")).model
    assert PackedLinear not in {type(m) for m in model.modules()}


def test_operators_that_count_differently_are_not_used(monkeypatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: torch.zeros(len(x), 40))
    assert not packs(torch.float32)


def test_double_precision_stays_with_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2)).double()
    model.device, model.dtype = torch.device("cpu"), torch.float64
    pack_linears(model)
    assert type(model[0]) is torch.nn.Linear
