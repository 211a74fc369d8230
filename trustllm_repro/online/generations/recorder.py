"""Traces of a model: of answers it gives, and of given texts as it would have predicted them.

Nothing of the size of the vocabulary is kept, and of the hidden states only the declared layers, by
hooks. Both ways give the same numbers up to rounding: the same statistics of the same logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.utils.rnn import pad_sequence

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Finish, LanguageModel, Request
from trustllm_repro.models.decoding import DecodeRequest, Watch
from trustllm_repro.models.endpoint import TOP_LOGPROBS
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.generation import Trace, token_ends

FIRST = 256  # kept of the first token, once an answer
STEPS = 16  # after which what was seen leaves the device
# Rows of logits that are looked at together on a CPU, where larger tables would be new memory at
# every step, which takes longer than the sums; elsewhere so many logits, a quarter GiB in float32.
ROWS, CELLS = 8, 2**26
LEAST = -1e30  # nats
# Tokens of one forward pass over given texts, and rows of logits made of it at a time: the logits
# of a long text would take more memory than the model.
PASS_TOKENS = {"cpu": 2048, "cuda": 32768}
HEAD_ROWS = {"cpu": 64, "cuda": 1024}
Name = str | int  # of an array in Trace, or of a layer in its `hidden`
Known = dict[Name, np.ndarray]  # arrays of one answer
Traces = Iterator[list[tuple[int, Trace]]]  # as answers end, each with the number of its request


def generated(model: LocalModel, requests: Sequence[Request], layers: Sequence[int] = ()) -> Traces:
    """Traces of the model's answers. Where it gave no finite logits, there is no token, and `finish`
    is "nan"."""
    with listening(model.model, layers) as states:
        recorder = Recorder(states)
        for ended in model.decode(requests, recorder):
            found = []
            for job in ended:
                known, ids = recorder.take(job), job.ids
                if job.finish is Finish.NAN:
                    ids, known = [], {name: array[:0] for name, array in known.items()}
                text = model.tokenizer.decode(ids, skip_special_tokens=True)
                trace = _trace(model, ids, text, known, str(job.finish), len(job.prompt.tokens))
                found.append((job.prompt.index, trace))
            yield found


def _trace(model, ids, text: str, known: Known, finish: str, prompt_tokens: int) -> Trace:
    hidden = {layer: known.pop(layer) for layer in list(known) if isinstance(layer, int)}
    facts = {"hidden": hidden, "finish": finish, "prompt_tokens": prompt_tokens}
    ends = token_ends(model.tokenizer, ids, text)
    return Trace("", np.array(ids, np.int32), text, ends, **known, **facts)


@torch.inference_mode()
def given(
    model: LocalModel,
    prompts: Sequence[str],
    texts: Sequence[str | tuple[int, ...]],
    limit: int,
    layers: Sequence[int] = (),
    keep: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Traces:
    """Traces of given texts (teacher forcing), pass by pass, the longest first.

    When memory runs out, passes are halved and the rest goes on. `texts`: one a prompt, or its
    tokens, of which at most `limit` are read. `keep`: what becomes of the states; None: `to_half`.
    """
    pairs = zip(prompts, texts, strict=True)
    rows = [(i, *_tokens(model, prompt, text, limit)) for i, (prompt, text) in enumerate(pairs)]
    rows.sort(key=lambda row: (-len(row[1]), row[0]))
    most = PASS_TOKENS.get(model.device.type, 8192)
    with listening(model.model, layers) as states:
        while rows:
            batch = rows[: max(most // max(len(rows[0][1]), 1), 1)]  # with padding; at least one
            try:
                found = _read(model, batch, states, keep or to_half)
            except Exception as e:
                if not should_reduce_batch_size(e) or len(batch) == 1:
                    raise
                most, found = most // 2, []
            states.clear()  # otherwise they would be there beside those of the next pass
            rows = rows[len(found) :]
            yield found


def _tokens(model, prompt: str, text: str | tuple[int, ...], limit: int) -> tuple[tuple, tuple]:
    """What is read, and the answer, of which the last token is predicted only."""
    if isinstance(text, str):
        text = tuple(model.tokenizer(text, add_special_tokens=False).input_ids)
    answer = text[: min(limit, model.context // 2)]
    before, _ = model.fit(model.tokens(prompt), len(answer))
    return before + answer[:-1], answer


def _read(
    model, batch: Sequence[tuple], states: Mapping, keep: Callable
) -> list[tuple[int, Trace]]:
    """One forward pass; padding is on the right, where no token sees it."""
    tokens = [torch.tensor(read) for _, read, _ in batch]
    ids = pad_sequence(tokens, batch_first=True, padding_value=model.reader.pad)
    mask = pad_sequence([torch.ones_like(t) for t in tokens], batch_first=True)
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    last = model.model.get_decoder()(**inputs, use_cache=False).last_hidden_state
    found = []
    for b, (index, read, answer) in enumerate(batch):
        columns = slice(len(read) - len(answer), len(read))  # those before the answer's tokens
        known = _of_states(model, last[b, columns], answer)
        known |= {layer: keep(out[b, columns]) for layer, out in states.items()}
        text, before = model.tokenizer.decode(answer), len(read) - max(len(answer) - 1, 0)
        found.append((index, _trace(model, answer, text, _arrays(known), "given", before)))
    return found


def _of_states(model, states: torch.Tensor, answer: Sequence[int]) -> dict[Name, torch.Tensor]:
    """Statistics of the tokens predicted from the last block's states, and of the first token."""
    head = model.model.get_output_embeddings()
    config = model.model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    # What Cohere, Falcon-H1 and Granite do to logits before anything else.
    names = "logit_scale", "lm_head_multiplier", "logits_scaling"
    one, two, divisor = (getattr(config, name, None) or 1.0 for name in names)
    scale = one * two / divisor
    tokens = torch.tensor(answer, dtype=torch.long, device=states.device)
    rows = HEAD_ROWS.get(model.device.type, 512)
    parts, first = [], {}
    for piece, taken in zip(states.split(rows), tokens.split(rows), strict=True):
        logits = head(piece) * scale if scale != 1 else head(piece)
        logits = torch.tanh(logits / cap) * cap if cap else logits
        if len(taken) and not parts:
            first = {name: values[0] for name, values in first_token(logits[:1]).items()}
        parts.append(statistics(logits, taken))
    return _joined(parts) | first


def statistics(logits: torch.Tensor, tokens: torch.Tensor) -> dict[Name, torch.Tensor]:
    """logp, entropy, top_ids and top_logp as in Trace; NaN for a row without a finite distribution.

    Nothing here waits for a GPU. `tokens`, (rows,), were taken from `logits`, (rows, vocabulary).
    With x the logits, p their softmax and Z its divisor: log p(t) = x(t) - log Z, entropy = log Z
    - sum p x, and log Z = max x - log max p. So one softmax and one product serve all.
    """
    rows = ROWS if logits.device.type == "cpu" else max(CELLS // logits.shape[1], 1)
    if len(logits) > rows:
        pieces = zip(logits.split(rows), tokens.split(rows), strict=True)
        return _joined([statistics(x, t) for x, t in pieces])
    x = logits.float()
    top, top_ids = torch.topk(x, min(TOP_LOGPROBS, x.shape[1]), dim=-1)
    best = top[:, :1]
    shares = torch.softmax(x, dim=-1)
    log_z = best - shares.gather(1, top_ids[:, :1]).log()
    # Logits are moved by the best one: far from zero, float32 would lose the sum's last digits.
    # Tokens that the model rules out (0 x -inf) add nothing.
    mean = torch.linalg.vecdot(shares, x.clamp(min=LEAST)) - best[:, 0]
    entropy = (log_z - best)[:, 0] - mean
    return {
        "logp": (x.gather(1, tokens[:, None]) - log_z)[:, 0],
        "entropy": entropy.clamp_(min=0.0),
        "top_ids": top_ids.int(),
        "top_logp": top - log_z,
    }


def first_token(logits: torch.Tensor) -> dict[Name, torch.Tensor]:
    """first_ids and first_logp as in Trace, (rows, FIRST)."""
    top, ids = torch.topk(logits, min(FIRST, logits.shape[1]), dim=-1)
    return {
        "first_ids": ids.int(),
        "first_logp": top.float() - logits.float().logsumexp(dim=-1, keepdim=True),
    }


def _joined(parts: Sequence[Mapping[Name, torch.Tensor]]) -> dict[Name, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _arrays(tensors: Mapping[Name, torch.Tensor]) -> Known:
    return {name: values.cpu().numpy() for name, values in tensors.items()}


def to_half(states: torch.Tensor) -> torch.Tensor:
    """float16; some models have states beyond its range, which become its ends."""
    most = torch.finfo(torch.float16).max
    return states.half().clamp(-most, most)  # in this order: bfloat16 would round `most` up


class Recorder(Watch):
    """Keeps what a decoder knows of every token. `states` are those of `listening`.

    Numbers stay on the model's device until an answer ends or STEPS steps are over, because a GPU
    is idle while it is waited for.
    """

    def __init__(self, states: dict[int, torch.Tensor]) -> None:
        self.states = states
        self.started()

    def started(self) -> None:
        self._passed: dict[int, list[torch.Tensor]] = defaultdict(list)
        self._waiting: list[tuple[list[int], dict[Name, torch.Tensor]]] = []  # answers, numbers
        self._known: dict[int, list[Known]] = defaultdict(list)
        self._first: dict[int, dict[Name, torch.Tensor]] = {}

    def passed(self, rows: Sequence[int] | None = None) -> None:
        for layer, states in self.states.items():
            last = states[:, -1].clone() if rows is None else states[list(rows), -1]
            self._passed[layer].append(last)
        self.states.clear()  # of a prompt the last token's alone are kept

    def chosen(
        self, jobs: Sequence[DecodeRequest], logits: torch.Tensor, tokens: Sequence[int | None]
    ) -> None:
        taken = torch.tensor([t or 0 for t in tokens], device=logits.device)
        hidden = {layer: to_half(torch.cat(states)) for layer, states in self._passed.items()}
        self._passed.clear()
        numbers = statistics(logits, taken) | hidden
        self._waiting.append(([job.prompt.index for job in jobs], numbers))
        if new := [row for row, job in enumerate(jobs) if not job.ids]:
            first = first_token(logits[new])
            for k, row in enumerate(new):
                self._first[jobs[row].prompt.index] = {n: v[k] for n, v in first.items()}
        if len(self._waiting) >= STEPS:
            self._copy()

    def take(self, job: DecodeRequest) -> Known:
        """What is known of the tokens of an answer that has ended."""
        if self._waiting:
            self._copy()
        parts, first = (kept.pop(job.prompt.index) for kept in (self._known, self._first))
        known = {n: np.concatenate([p[n] for p in parts])[: len(job.ids)] for n in parts[0]}
        return known | _arrays(first)

    def _copy(self) -> None:
        """Bring what waits off the device: one transfer a quantity."""
        owners = np.concatenate([of for of, _ in self._waiting])
        arrays = _arrays(_joined([numbers for _, numbers in self._waiting]))
        self._waiting.clear()
        for index in np.unique(owners):
            self._known[index].append({n: values[owners == index] for n, values in arrays.items()})


@contextmanager
def listening(model: Any, layers: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
    """Outputs of the declared blocks in the last forward pass: layer -> (rows, columns, size)."""
    states: dict[int, torch.Tensor] = {}

    def keep(layer: int, module, args, output) -> None:
        states[layer] = output[0] if isinstance(output, (tuple, list)) else output

    blocks = chosen_blocks(model, layers) if layers else {}
    with ExitStack() as hooks:
        hooks.callback(states.clear)
        for n, block in blocks.items():
            hooks.enter_context(block.register_forward_hook(partial(keep, n)))
        yield states


def chosen_blocks(model: Any, layers: Sequence[int]) -> dict[int, torch.nn.Module]:
    """The decoder's blocks of these numbers, from 1. Raises SettingsError: it lacks one of them."""
    blocks = blocks_of(model)
    if missing := [n for n in layers if not 1 <= n <= len(blocks)]:
        raise SettingsError(f"the model has no layer {missing[0]}", remedy=f"1 to {len(blocks)}")
    return {n: blocks[n - 1] for n in layers}


def blocks_of(model: Any) -> Sequence[torch.nn.Module]:
    """The decoder's blocks, first to last: its longest list of modules, whatever its name ("layers",
    "h", "blocks"). Raises SettingsError: the model has no such list."""
    level = [model.get_decoder()]
    while level:  # lists further down are parts of blocks, such as experts
        level = [m for parent in level for m in parent.children()]
        if lists := [m for m in level if isinstance(m, torch.nn.ModuleList)]:
            return max(lists, key=len)
    problem = f"{type(model).__name__} has no list of blocks"
    raise SettingsError(problem, remedy="record without hidden states: layers=()")


def middle_layers(model: Any) -> list[int]:
    """Those at a third, a half and two thirds of the depth, numbered from 1."""
    depth = len(blocks_of(model))
    return sorted({max(depth * k // 6, 1) for k in (2, 3, 4)})


def with_states(model: LanguageModel) -> LocalModel:
    """The model, if its states can be read here, none of which knows a token to come. Raises
    SettingsError: they cannot, or do."""
    known = isinstance(model, LocalModel)
    if problem := _unreadable(model) if known else "it shows no hidden states":
        remedy = "give a decoder that runs on this machine, and predicts the next token"
        raise SettingsError(f"{model.name} cannot be watched: {problem}", remedy=remedy)
    return model


def _unreadable(model: LocalModel) -> str:
    """Why not, by two short texts that differ in their second token; "" where nothing is wrong."""
    if model.model.config.is_encoder_decoder:
        return "it has an encoder"
    texts, last = [(0, 1, 1), (0, 2, 1)], len(blocks_of(model.model))
    try:
        read = chain.from_iterable(given(model, ["a", "a"], texts, 3, [last], torch.Tensor.float))
        one, other = (trace.hidden[last][:2] for _, trace in read)  # after the prompt, after 0
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    if one.ndim != 2:
        return "its blocks give several states a token"
    near = (1e-3 if model.model.dtype is torch.float32 else 1e-2) * np.abs(one).max()
    alike = np.allclose(one, other, rtol=0, atol=near, equal_nan=True)
    return "" if alike else "it reads tokens to come"
