"""Real prompts, a real model: in float32 an answer does not depend on the batch it is made in."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models.prompts import answers
from trustllm_repro.data.benchmark import FILES
from trustllm_repro.models.base import Request
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.weights import wheel_models

PER_FILE, TOKENS, MOST_CHARACTERS = 3, 24, 900


@pytest.mark.slow
@pytest.mark.shared
def test_answers_to_real_prompts_do_not_depend_on_the_batch(real_data, benchmark):
    folder = real_data(wheel_models()["smollm2-135m"].folder)
    chosen = []
    for name in FILES:
        rows = benchmark[name]
        short = [i for i, r in enumerate(rows) if len(r["prompt"]) <= MOST_CHARACTERS]
        chosen += [(name, short[k * len(short) // PER_FILE]) for k in range(PER_FILE)]
    assert len(chosen) >= 50
    asked = [Request(benchmark[name][i]["prompt"], TOKENS) for name, i in chosen]
    one, many = (
        answers(LocalModel(folder, dtype="float32", batch_size=n, device="cpu"), asked)
        for n in (1, 16)
    )
    assert sum(c.new_tokens for c in one) > TOKENS * len(asked) // 2
    differing = [
        f"{name}, row {i}: {a.finish}, {a.new_tokens} tokens alone; {b.finish}, {b.new_tokens} in "
        "a batch; equal to character "
        f"{next((k for k, (x, y) in enumerate(zip(a.text, b.text, strict=False)) if x != y), -1)}"
        for (name, i), a, b in zip(chosen, one, many, strict=True)
        if a != b
    ]
    assert not differing, "\n".join(["answers that depend on the batch:", *differing])
