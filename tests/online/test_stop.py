"""Stopping transformers' own generation: at the token where the alarm is due, and no other row."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from transformers import StoppingCriteriaList  # noqa: E402

from trustllm_repro.errors import SettingsError  # noqa: E402
from trustllm_repro.models.base import Request  # noqa: E402
from trustllm_repro.models.local import LocalModel  # noqa: E402
from trustllm_repro.online.generations.traces import generated  # noqa: E402
from trustllm_repro.online.monitors.base import Seen, all_monitors  # noqa: E402
from trustllm_repro.online.stop import MonitorStop  # noqa: E402
from trustllm_repro.online.studies.operate import first_alarm, peak  # noqa: E402

PROMPTS = ["Tell me about trams.", "Why?", "Name three colours of the rainbow, please."]
LAYERS = (1, 2)
MONITORS = all_monitors()


@pytest.fixture(scope="module")
def stock(tiny) -> LocalModel:
    """With transformers' own kernels, as its users have it."""
    return LocalModel(tiny, device="cpu", stock=True)


@pytest.fixture(scope="module")
def seen(stock) -> list[Seen]:
    found = {
        i: t for b in generated(stock, [Request(p, 12) for p in PROMPTS], LAYERS) for i, _, t in b
    }
    return [Seen(found[i]) for i in range(len(PROMPTS))]


def stopped(stock: LocalModel, monitor, threshold: float, prompts=PROMPTS):
    texts = [
        stock.tokenizer.apply_chat_template(
            [{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True
        )
        for p in prompts
    ]
    stock.tokenizer.padding_side = "left"
    inputs = stock.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    stop = MonitorStop(stock.model, stock.tokenizer, monitor, threshold, LAYERS)
    with stop.watching():
        out = stock.model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
            max_new_tokens=12, do_sample=False, stopping_criteria=StoppingCriteriaList([stop]),
        )  # fmt: skip
    return stop, out[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize(
    "name", ["maximum entropy", "average likelihood", "linear probe, last layer", "first token"]
)
def test_rows_stop_where_the_recorded_answer_alarms(stock, seen, name: str) -> None:
    monitor = MONITORS[name]
    if monitor.trained:
        monitor = monitor.fit(seen * 4, np.array([True, False, False] * 4))
    scores = monitor(seen)
    threshold = float(np.sort(peak(scores))[1]) - 1e-3  # two of the three are alarmed
    due = first_alarm(scores, threshold)
    assert (due > 0).sum() == 2
    stop, out = stopped(stock, monitor, threshold)
    assert stop.alarms == due.tolist()
    for row, n, one in zip(out, due, seen, strict=True):
        length = int(n) or len(one.trace)
        assert row[:length].tolist() == one.trace.ids[:length].tolist()


def test_thresholds_beyond_all_stop_nothing_or_everything(stock, seen) -> None:
    stop, _ = stopped(stock, MONITORS["always"], 2.0)
    assert stop.alarms == [0, 0, 0]
    stop, out = stopped(stock, MONITORS["always"], 0.5)
    assert (stop.alarms, out.shape[1]) == ([1, 1, 1], 1)


def test_what_comes_after_an_end_is_padding(stock) -> None:
    stop = MonitorStop(stock.model, stock.tokenizer, MONITORS["average likelihood"], -math.inf)
    end = min(stock.ends)
    with stop.watching():
        stock.model(torch.tensor([[7, 8], [7, 8]]))
        assert stop(torch.tensor([[7, end], [7, 9]]), None).tolist() == [False, True]
        assert stop(torch.tensor([[end, end], [9, 5]]), None).tolist() == [False, True]
    assert stop.alarms == [0, 1]


def test_no_number_raises_no_alarm(stock) -> None:
    class Nothing:
        name, needs = "nothing", frozenset()

        def __call__(self, seen):
            return [np.full(len(s.trace), math.nan) for s in seen]

    assert stopped(stock, Nothing(), -math.inf)[0].alarms == [0, 0, 0]


def test_monitors_of_several_passes_are_refused(stock) -> None:
    with pytest.raises(SettingsError, match="further answers"):
        MonitorStop(stock.model, stock.tokenizer, MONITORS["sample VR, words"], 0.5)
    with pytest.raises(SettingsError, match="no layer"):
        MonitorStop(stock.model, stock.tokenizer, MONITORS["always"], 0.5, layers=(9,))


def test_outside_of_watching_it_says_so(stock) -> None:
    stop = MonitorStop(stock.model, stock.tokenizer, MONITORS["always"], 0.5)
    with pytest.raises(SettingsError, match="hears nothing"):
        stop(torch.tensor([[1, 2]]), None)


def test_it_can_be_used_again_and_leaves_no_hook(stock) -> None:
    head = stock.model.get_output_embeddings()
    before = len(head._forward_hooks)
    stop = MonitorStop(stock.model, stock.tokenizer, MONITORS["always"], 0.5)
    ids = torch.tensor([[5, 6, 7]])
    for _ in range(2):
        with stop.watching():
            out = stock.model.generate(ids, max_new_tokens=5, stopping_criteria=[stop])
        assert (stop.alarms, out.shape[1]) == ([1], 4)
    assert len(head._forward_hooks) == before
