"""Ways to generate and to score options that `bench` times against each other.

One process runs one contender (`python -m benchmarks.contenders JOB.json`): it loads its
model, says so, and then does the whole job once for every line it is sent.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from trustllm_repro.models.base import Request
from trustllm_repro.models.local import LocalModel

PASS = 2048  # tokens that continuous batching reads at a time
PAGE = 64  # tokens of a page of its cache
Outcome = dict[int, list[Any]]  # index of the prompt -> [text, new tokens], or nats per option


def one_at_a_time(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """transformers' generate, prompt by prompt in file order, as the official toolkit does."""
    return {i: _generate(model, [p], job)[0] for i, p in share(job)}


def batched(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """transformers' generate over batches in file order, left-padded."""
    found: Outcome = {}
    for some in batches(share(job), job["batch_size"]):
        made = _generate(model, [p for _, p in some], job)
        found.update({i: ids for (i, _), ids in zip(some, made, strict=True)})
    return found


def sorted_batched(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """transformers' generate over batches of prompts of like length, left-padded."""
    mine = sorted(share(job), key=lambda p: len(model.tokens(p[1])))
    found: Outcome = {}
    for some in batches(mine, job["batch_size"]):
        made = _generate(model, [p for _, p in some], job)
        found.update({i: ids for (i, _), ids in zip(some, made, strict=True)})
    return found


def continuous(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """transformers' continuous batching (generate_batch)."""
    mine, new = share(job), job["max_new_tokens"]
    tokens = [model.fit(model.tokens(p), new)[0] for _, p in mine]
    made = continuous_batching(model, tokens, new, sorted(model.ends))
    texts = [[model.tokenizer.decode(ids, skip_special_tokens=True), len(ids)] for ids in made]
    return {i: text for (i, _), text in zip(mine, texts, strict=True)}


def continuous_batching(
    model: LocalModel, prompts: Sequence[Sequence[int]], new: int, ends: Sequence[int]
) -> list[list[int]]:
    """New tokens of each prompt. The cache is made for these; left to itself `generate_batch` takes
    nearly all memory of the machine."""
    pages = sum(-(-(len(p) + new) // PAGE) + 1 for p in prompts)
    made = model.model.generate_batch(
        [list(p) for p in prompts],
        generation_config=GenerationConfig(
            max_new_tokens=new, do_sample=False, eos_token_id=list(ends) or -1,
            pad_token_id=model.reader.pad,
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=pages, max_batch_tokens=PASS
        ),
    )  # fmt: skip
    answers = sorted(made.values(), key=lambda a: int(a.request_id.rpartition("_")[2]))
    return [_until_end(list(a.generated_tokens), model) for a in answers]


def _generate(model: LocalModel, prompts: Sequence[str], job: dict[str, Any]) -> list[list[Any]]:
    tokens = [model.fit(model.tokens(p), job["max_new_tokens"])[0] for p in prompts]
    width, pad = max(map(len, tokens)), model.reader.pad
    ids = torch.tensor([[pad] * (width - len(t)) + list(t) for t in tokens])
    mask = torch.tensor([[0] * (width - len(t)) + [1] * len(t) for t in tokens])
    with torch.inference_mode():
        out = model.model.generate(
            ids, attention_mask=mask, do_sample=False, max_new_tokens=job["max_new_tokens"],
            pad_token_id=pad, eos_token_id=sorted(model.ends),
            repetition_penalty=1.0, temperature=None, top_p=None, top_k=None,
        )  # fmt: skip
    made = [_until_end(row[width:].tolist(), model) for row in out]
    return [[model.tokenizer.decode(ids, skip_special_tokens=True), len(ids)] for ids in made]


def _until_end(ids: list[int], model: LocalModel) -> list[int]:
    """New tokens up to the first end, as `Completion.new_tokens` counts them."""
    ends = [k for k, t in enumerate(ids) if t in model.ends]
    return ids[: ends[0]] if ends else ids


def this_package(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """Sorted, shared beginnings read once, finished rows replaced."""
    mine = share(job)
    requests = [Request(p, job["max_new_tokens"]) for _, p in mine]
    found: Outcome = {}
    for some in model.complete(requests):
        found.update({mine[at][0]: [done.text, done.new_tokens] for at, done in some})
    return found


def one_forward_per_option(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """The whole prompt is read anew for every option, in file order."""
    found: Outcome = {}
    for i, prompt in share(job):
        tokens = model.tokens(prompt)
        found[i] = [_nats(model, tokens, o) for o in job["options"][i]]
    return found


def _nats(model: LocalModel, tokens: Sequence[int], option: str) -> float:
    ids = model.tokenizer(option, add_special_tokens=False).input_ids
    with torch.inference_mode():
        out = model.model(torch.tensor([[*tokens, *ids]]), logits_to_keep=len(ids) + 1)
        after = torch.log_softmax(out.logits[0, :-1].float(), dim=-1)
    return sum(float(after[k, t]) for k, t in enumerate(ids))


def options_of_this_package(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """The prompt is read once, all options go on from its cache."""
    mine = share(job)
    scored = model.score_options([p for _, p in mine], [job["options"][i] for i, _ in mine])
    return {mine[at][0]: nats for at, nats in scored}


def lm_eval_generate(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """EleutherAI's lm-evaluation-harness: batches sorted by length, padded (where installed)."""
    settings = {"until": [], "max_gen_toks": job["max_new_tokens"], "do_sample": False}
    mine = share(job)
    asked = [_instance("generate_until", (templated(model, p), settings), i) for i, p in mine]
    made = _lm_eval(model, job).generate_until(asked, disable_tqdm=True)
    count = model.tokenizer
    return {
        i: [text, len(count(text, add_special_tokens=False).input_ids)]
        for (i, _), text in zip(mine, made, strict=True)
    }


def lm_eval_options(model: LocalModel, job: dict[str, Any]) -> Outcome:
    """The harness again: prompt and option together, batches sorted by length."""
    asked, where = [], []
    for i, prompt in share(job):
        for option in job["options"][i]:
            arguments = (templated(model, prompt), option)
            asked.append(_instance("loglikelihood", arguments, len(asked)))
            where.append(i)
    found: Outcome = {}
    scored = _lm_eval(model, job).loglikelihood(asked, disable_tqdm=True)
    for i, (nats, _) in zip(where, scored, strict=True):
        found.setdefault(i, []).append(nats)
    return found


def templated(model: LocalModel, prompt: str) -> str:
    if not model.tokenizer.chat_template:
        return prompt
    turns = [{"role": "user", "content": prompt}]
    return model.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def _instance(kind: str, arguments: tuple[Any, ...], i: int) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(request_type=kind, doc={}, arguments=arguments, idx=i)


def _lm_eval(model: LocalModel, job: dict[str, Any]) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=model.model, tokenizer=model.tokenizer, backend="causal",
        batch_size=job["batch_size"], max_length=model.context,
    )  # fmt: skip


CONTENDERS: dict[str, Callable[[LocalModel, dict[str, Any]], Outcome]] = {
    f.__name__: f
    for f in (
        one_at_a_time,
        batched,
        sorted_batched,
        continuous,
        this_package,
        one_forward_per_option,
        options_of_this_package,
        lm_eval_generate,
        lm_eval_options,
    )
}


def contender(name: str) -> Callable[[LocalModel, dict[str, Any]], Outcome]:
    """One of CONTENDERS, or one of another module: "package.module:function"."""
    module, _, function = name.rpartition(":")
    return getattr(importlib.import_module(module), function) if module else CONTENDERS[name]


def batches(prompts: Sequence[tuple[int, str]], size: int) -> Iterator[Sequence[tuple[int, str]]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def share(job: dict[str, Any]) -> list[tuple[int, str]]:
    """This process's share: prompts go by turns, so that all shares are alike."""
    worker, workers = job["part"]
    return [(i, p) for i, p in enumerate(job["prompts"]) if i % workers == worker]


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """Most bytes since `forget_peak` (Linux: VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(path: str) -> None:
    """Load, say so, then one job per line of stdin, its outcome as one line of stdout."""
    job = json.loads(Path(path).read_text())
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    torch.set_num_threads(job["threads"])
    before = resident()
    work = contender(job["contender"])
    model = LocalModel(
        Path(job["model"]), dtype=job["dtype"], batch_size=job["batch_size"], stock=job["stock"]
    )
    _ = model.model, model.reader
    print(json.dumps({"before": before, "loaded": resident()}), file=said, flush=True)
    for _ in sys.stdin:
        forget_peak()
        start = time.perf_counter()
        outcome = work(model, job)
        seconds = time.perf_counter() - start
        facts = {"seconds": seconds, "peak": peak(), "outcome": outcome}
        print(json.dumps(facts), file=said, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
