"""Memory of generation, measured in a process of its own: a small room beside weights and cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from trustllm_repro.models.cpu import packs  # noqa: E402
from trustllm_repro.models.weights import wheel_models  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROOM = 300  # MB besides the weights and the cache of one batch
# Freed pieces of up to 32 MB stay with glibc, 0 to 90 MB of them from run to run; the bound is for
# what the code holds, so pieces from 1 MB on go back at once (MALLOC_MMAP_THRESHOLD_).
ONLY_WHERE_QUICK = pytest.mark.skipif(
    not packs(torch.bfloat16),
    reason="this processor has no products of bfloat16: the bound is not for its slow way round",
)
# Base is taken after imports and tokenizer, the peak after the weights; prompts are of mixed length,
# a few of them long.
MEASURE = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from trustllm_repro.models.base import Request
from trustllm_repro.models.decoding import Decoder
from trustllm_repro.models.local import LocalModel

def kb(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(name))

most, step = 0, Decoder._step
def seen(self):
    global most
    layers = self.cache.layers
    most = max(most, sum(t.numel() * t.element_size() for x in layers for t in (x.keys, x.values)))
    return step(self)
Decoder._step = seen

model = LocalModel(Path(sys.argv[1]), dtype=sys.argv[2], device="cpu", batch_size=32)
base = kb("VmRSS")
model.reader
words = "The old mill by the river turns slowly while two children look for flat stones. "
sizes = [70, 55, 30] + [2 + i % 12 for i in range(45)]
asked = [Request(f"{i}. " + words * n + "What comes next?", 8 + i % 9) for i, n in enumerate(sizes)]
asked[-1] = Request(asked[-1].prompt, 100)  # many steps, each with one column more
model.model
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
answers = sum(map(len, model.complete(asked)))
size = Path(sys.argv[1], "model.safetensors").stat().st_size
weights = size * model.dtype.itemsize / 4 / 2**20  # the file is in float32
print(json.dumps({"answers": answers, "over": (kb("VmHWM") - base) / 1024,
                  "cache": most / 2**20, "weights": weights}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=ONLY_WHERE_QUICK), "float32"])
def test_the_peak_is_weights_cache_and_little_more(real_data, dtype):
    folder = real_data(wheel_models()["smollm2-135m"].folder)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), dtype], cwd=ROOT, text=True, check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["answers"] == 48
    assert found["cache"] > 100  # MB: batches were as wide as they may be
    assert found["over"] < found["weights"] + found["cache"] + ROOM, found
