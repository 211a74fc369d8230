"""Traces of a model: of answers it gives, and of given texts as it would have predicted them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size

from trustllm_repro.models.base import Completion, Request
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations.recorder import Hooks, Recorder, to_half
from trustllm_repro.online.generations.statistics import TOP, Statistics, likeliest, statistics
from trustllm_repro.online.generations.trace import Trace, token_ends

# Tokens of one forward pass over given texts, and rows of logits made of it at a time.
PASS_TOKENS = {"cpu": 2048, "cuda": 32768}
HEAD_ROWS = {"cpu": 64, "cuda": 1024}


def generated(
    model: LocalModel, requests: Sequence[Request], layers: Sequence[int] = (), k: int = TOP
) -> Iterator[list[tuple[int, Completion, Trace | None]]]:
    """Answer requests and yield (index, completion, trace) as answers end.

    There is no trace (None) where the model gave no finite logits.
    """
    recorder = Recorder(model.model, layers, k)
    with recorder.hooks():
        for ended in model.decode(requests, recorder):
            yield [(job.prompt.index, *_made(model, recorder, job, f, c)) for job, f, c in ended]


def _made(model, recorder, job, finish, cut) -> tuple[Completion, Trace | None]:
    track = recorder.take(job)
    done = model.completion(job, finish, cut)
    if done.text is None:
        return done, None
    ends = token_ends(model.tokenizer, job.ids, done.text)
    facts = {"finish": str(finish), "prompt_tokens": done.prompt_tokens}
    return done, Trace("", np.array(job.ids, np.int32), done.text, ends, **vars(track), **facts)


@dataclass(frozen=True)
class Given:
    """A text to be read after a prompt. At most `limit` of its tokens are read.

    `ids`: its tokens, where they are known; else the tokenizer's.
    """

    prompt: str
    text: str
    limit: int = 512
    ids: tuple[int, ...] | None = None


@torch.inference_mode()
def given(
    model: LocalModel, texts: Sequence[Given], layers: Sequence[int] = (), k: int = TOP
) -> Iterator[list[tuple[int, Trace]]]:
    """Traces of given texts (teacher forcing), yielded pass by pass, the longest first.

    When memory runs out, passes are halved and the rest goes on.
    """
    hooks = Hooks(model.model, layers)
    rows = [_Row.of(model, i, t) for i, t in enumerate(texts)]
    rows.sort(key=lambda r: (-len(r.tokens), r.index))
    most = PASS_TOKENS.get(model.device.type, 8192)
    with hooks(last_only=False) as out:
        while rows:
            batch = _first_pass(rows, most)
            try:
                found = _read(model, batch, hooks.layers, out, k)
            except Exception as e:
                if not should_reduce_batch_size(e) or len(batch) == 1:
                    raise
                most = most // 2
            else:
                rows = rows[len(batch) :]
                yield found
            out.clear()  # states of the pass before would be there beside the next one's


@dataclass(frozen=True)
class _Row:
    index: int
    text: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """What is read: the last token of the answer is predicted only."""
        return (*self.prompt, *self.answer[:-1])

    @classmethod
    def of(cls, model: LocalModel, index: int, text: Given) -> _Row:
        answer = text.ids
        if answer is None:
            answer = tuple(model.tokenizer(text.text, add_special_tokens=False).input_ids)
        answer = answer[: min(text.limit, model.context // 2)]
        prompt, _ = model.fit(model.tokens(text.prompt), len(answer))
        return cls(index, model.tokenizer.decode(answer), prompt, answer)


def _first_pass(rows: Sequence[_Row], most: int) -> Sequence[_Row]:
    """As many of the rows, longest first, as make at most so many tokens with padding; or one."""
    return rows[: max(most // max(len(rows[0].tokens), 1), 1)]


def _read(model, batch, layers, out, k) -> list[tuple[int, Trace]]:
    """One forward pass; padding stands behind, where no token sees it."""
    width = len(batch[0].tokens)
    ids = torch.full((len(batch), width), model.reader.pad)
    mask = torch.zeros_like(ids)
    for b, row in enumerate(batch):
        ids[b, : len(row.tokens)] = torch.tensor(row.tokens)
        mask[b, : len(row.tokens)] = 1
    places = torch.arange(width).expand(len(batch), -1)
    to = model.device
    decoder = model.model.get_decoder()
    last = decoder(
        input_ids=ids.to(to), attention_mask=mask.to(to), position_ids=places.to(to),
        use_cache=False,
    ).last_hidden_state  # fmt: skip
    found = []
    for b, row in enumerate(batch):
        # A token is predicted from the state of the one before it.
        columns = slice(len(row.prompt) - 1, len(row.prompt) - 1 + len(row.answer))
        known, first = _statistics(model, last[b, columns], row.answer, k)
        states = {n: to_half(out[n][b, columns]).cpu().numpy() for n in layers}
        found.append((row.index, _trace(model, row, known, first, states)))
    return found


def _statistics(model, states: torch.Tensor, answer: Sequence[int], k: int):
    """In pieces: the logits of a long text would take more memory than the model.

    Returns:
        A list of Statistics, and ids and log-probabilities of the likeliest first tokens.
    """
    head = model.model.get_output_embeddings()
    cap = getattr(model.model.config.get_text_config(), "final_logit_softcapping", None)
    tokens = torch.tensor(answer, dtype=torch.long, device=states.device)
    rows = HEAD_ROWS.get(model.device.type, 512)
    found: list[Statistics] = []
    first = (torch.zeros(0), torch.zeros(0))
    for piece, taken in zip(states.split(rows), tokens.split(rows), strict=True):
        logits = head(piece)
        logits = torch.tanh(logits / cap) * cap if cap else logits
        if len(taken) and not found:
            first = tuple(t[0] for t in likeliest(logits[:1]))
        found.append(statistics(logits, taken, k))
    return found, first


def _trace(model, row: _Row, known: list[Statistics], first, states) -> Trace:
    def joined(name: str) -> np.ndarray:
        return torch.cat([getattr(s, name) for s in known]).cpu().numpy()

    return Trace(
        "", np.array(row.answer, np.int32), row.text,
        token_ends(model.tokenizer, row.answer, row.text), joined("logp"), joined("entropy"),
        joined("top_ids").astype(np.int32), joined("top_logp"),
        first[0].cpu().numpy().astype(np.int32), first[1].cpu().numpy().astype(np.float32), states,
        prompt_tokens=len(row.prompt),
    )  # fmt: skip
