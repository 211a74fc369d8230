"""Watching an answer while it is made: in transformers' `generate`, or in the stream of a server.

A guard must know that no token went past it. So every forward pass is recorded with its rows, its
columns and the position it ended at, and `check` compares the passes since the last token with the
ids that `generate` has by now. Every thread has its own passes only. Of a server's stream, what
cannot be read is refused.
"""

from __future__ import annotations

import queue
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import StoppingCriteria

from trustllm_repro.errors import ReproError
from trustllm_repro.models.endpoint import TOP_LOGPROBS, TokenLogprobs, read_logprobs
from trustllm_repro.online.generations.recorder import chosen_blocks
from trustllm_repro.online.monitors.base import Mean, entropy_of
from trustllm_repro.online.monitors.texts import Reading, Words

WORDS, ENTROPY = "words", "words + entropy"  # what reads a stream
# Of a piece. What else is not empty may be text that somebody sees, or acts on: tools, reasoning.
_KNOWN = {"role", "content", "refusal"}
# Fewer than TOP_LOGPROBS tokens are enough if nothing is left of the distribution beyond them.
_WHOLE = 0.999
_ASK = f"ask for logprobs=True, top_logprobs={TOP_LOGPROBS}; or reader={WORDS!r}"


class Unwatched(ReproError):
    """A token cannot be watched; generation ends here, because an unwatched one may not go on."""


class Piece(NamedTuple):
    """Some of an answer, the score with it, and whether the guard ends the answer here."""

    text: str
    score: float
    alarm: bool = False


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear probe of hidden states; the score after n tokens is the mean of its values.

    A linear probe of the running mean of states is the running mean of a linear probe, so probes
    trained on tokens, on prefixes, or on both are one vector, and a step is one product for all
    rows, on the model's device.
    """

    layers: tuple[int, ...]  # whose states stand one after the other, numbered from 1
    weight: torch.Tensor  # (layers x size,) float32
    bias: float

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, layers x size) -> (rows,), what each row's last token says."""
        return states.float() @ self.weight + self.bias

    def read(self, states: np.ndarray) -> np.ndarray:
        """(tokens, layers x size) of one answer -> (tokens,) float64, the score after each."""
        return Mean().add(states.astype(np.float64) @ self.weight.double().numpy() + self.bias)


@dataclass(frozen=True)
class Pass:
    """One forward pass."""

    read: torch.Tensor  # ids, (rows, columns), or embeddings, (rows, columns, size)
    end: int  # positions behind what was read, those in its cache included
    cache: Any
    drafted: bool  # several tokens are checked at once that something else has proposed
    padded: bool  # a row ends in padding
    dtype: torch.dtype | None  # of the model; None while it trains
    states: torch.Tensor | None  # (rows, layers x size), of the last column; None: layers skipped


class ThreadRecord(threading.local):
    """Of one thread: states of the current pass, passes, ids of the last call."""

    def __init__(self) -> None:
        self.states: dict[int, torch.Tensor] = {}
        self.passes: list[Pass] = []
        self.ids: torch.Tensor | None = None


class PassRecorder:
    """Hooks on a model and on some of its blocks (numbered from 1). `close` removes them."""

    def __init__(self, model: torch.nn.Module, layers: Sequence[int]) -> None:
        self.layers, self.record = tuple(layers), ThreadRecord()
        self._handles = [
            block.register_forward_hook(partial(self._block, n))
            for n, block in chosen_blocks(model, self.layers).items()
        ]
        self._handles.append(model.register_forward_hook(self._model, with_kwargs=True))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self) -> list[Pass]:
        """This thread's passes since the last call, of more than two the last two."""
        passes, self.record.passes = self.record.passes, []
        return passes

    def _block(self, layer: int, module, args, output) -> None:
        states = (output[0] if isinstance(output, (tuple, list)) else output).detach()
        # A prompt's other columns must not be kept alive by a view of its last.
        self.record.states[layer] = states[:, -1].clone() if states.shape[1] > 1 else states[:, -1]

    def _model(self, module, args, kwargs, output) -> None:
        """It never raises: the pass may belong to a generation that nobody watches."""
        states, self.record.states = self.record.states, {}
        ids = kwargs.get("input_ids", args[0] if args else None)
        read = kwargs.get("inputs_embeds") if ids is None else ids
        if read is None:  # of a decoder that goes with an encoder
            return
        cache, end = getattr(output, "past_key_values", None), read.shape[1]
        with suppress(AttributeError, ValueError):  # none, or of a kind that `check` refuses
            end = int(cache.get_seq_length())
        keep = kwargs.get("logits_to_keep", 0)
        padded = read.shape[1] > 1 and _hides_last(kwargs.get("attention_mask"), end)
        parts = [states[n] for n in self.layers if n in states]
        whole = len(parts) == len(self.layers)
        states = torch.cat([x.to(parts[0].device) for x in parts], dim=-1) if whole else None
        drafted = isinstance(keep, int) and keep > 1
        dtype = None if module.training else module.dtype
        # Two are enough to see that there were others; each keeps a cache alive.
        new = Pass(read, end, cache, drafted, padded, dtype, states)
        self.record.passes = [*self.record.passes[-1:], new]


def _hides_last(mask: Any, end: int) -> bool:
    """Whether an attention mask hides the last of `end` columns from any row: 1 or True counts, or 0
    among numbers to be added to scores. Static caches give (rows, 1, queries, columns), or one for
    each kind of layer; of a form unknown here it is taken to."""
    if mask is None:
        return False
    if isinstance(mask, Mapping):
        return any(_hides_last(one, end) for one in mask.values())
    if not isinstance(mask, torch.Tensor) or mask.dim() not in (2, 4):
        return True
    last = (mask if mask.dim() == 2 else mask[:, 0, -1])[:, : max(end, 1)][:, -1]
    hidden = last < -1 if mask.dim() == 4 and last.is_floating_point() else last == 0
    return bool(hidden.any())


def check(passes: Sequence[Pass], ids: torch.Tensor, before: Pass | None, goes_on: bool) -> Pass:
    """The pass that chose the last token of `ids`, (rows, tokens).

    Args:
        passes: since the last token. before: the pass that chose that one, if there is one.
        goes_on: whether ids are those of the last call and one token more.

    Raises Unwatched: tokens were or may have been chosen by something else.
    """
    if not passes:
        raise Unwatched(
            "the guard recorded no forward pass",
            remedy="give generate() the model the criteria were made for, not compiled or wrapped",
        )
    # Before the first token, the model may have been used for something else.
    own = passes if goes_on else _one_text(passes)
    for wrong, problem, remedy in _faults(own, ids, before, goes_on):
        if wrong:
            raise Unwatched(problem, remedy=remedy)
    return passes[-1]


def _faults(
    own: Sequence[Pass], ids: torch.Tensor, before: Pass | None, goes_on: bool
) -> Iterator[tuple[bool, str, str]]:
    """What may be wrong with a text's passes, the clearest first: whether it is, problem, remedy."""
    last, n = own[-1], ids.shape[1] - 1
    rows, columns = last.read.shape[:2]
    yield (
        any(p.drafted for p in own),
        "several tokens are chosen in one forward pass (prompt lookup, an assistant)",
        "generate without prompt_lookup_num_tokens and assistant_model",
    )
    beams = f"{len(ids)} rows are continued from a forward pass over {rows} (beam search)"
    yield rows != len(ids), beams, "num_beams=1"
    yield (
        any(p.states is None for p in own),
        "a forward pass skipped layers the guard reads",
        "generate without early exit, layer skipping or compiled blocks",
    )
    yield last.dtype is None, "the model is in training mode", "model.eval()"
    yield (
        last.cache is None and columns < n,
        f"a pass read {columns} of {n} tokens and shows no cache of the rest (it is recurrent)",
        "watch a model with a cache of keys and values; guard.score reads whole answers",
    )
    same = torch.equal(last.read, ids[:, -1 - columns : -1])  # embeddings are not: other shapes
    yield (
        len(_one_text(own)) < len(own) or last.end != n or not same,
        "a token was not chosen by one forward pass over all the text before it (guidance, an "
        "edited cache, embeddings, two generations at once)",
        "plain greedy decoding or sampling; one criteria object for each generation",
    )
    yield (
        bool(before and last.cache is not None and last.cache is before.cache and not goes_on),
        "more than a token followed in one cache (beams, drafts, an edited cache, a second turn)",
        "num_beams=1, no assistant; new criteria for an answer that goes on in its cache",
    )
    yield last.padded, "a prompt is padded on its right", 'padding_side="left"'


def _one_text(passes: Sequence[Pass]) -> Sequence[Pass]:
    """The last pass and those before it that filled the same cache, piece by piece."""
    at = len(passes) - 1
    while at:
        one, two = passes[at - 1], passes[at]
        follows = one.end + two.read.shape[1] == two.end
        if two.cache is None or one.cache is not two.cache or not follows:
            break
        at -= 1
    return passes[at:]


class GuardCriteria(StoppingCriteria):
    """Ends a row as soon as its score reaches the threshold; every generation is a new one.

    From `generate` it raises Unwatched as soon as a token cannot be watched, see `check`. Its hooks
    on the model are removed when it is.

    Args:
        threshold: the lowest score that stops. ends: tokens that end an answer.
        most: longest answer calibrated on; 0: any. strict: a longer one is an error, else a warning.
    """

    def __init__(
        self,
        probe: Probe,
        model: torch.nn.Module,
        threshold: float,
        ends: frozenset[int] = frozenset(),
        most: int = 0,
        strict: bool = True,
    ) -> None:
        self.probe = replace(probe, weight=probe.weight.to(model.device))
        self.threshold, self.ends, self.most, self.strict = threshold, ends, most, strict
        # Called after each token with (ids, scores), (rows,) each; if it is true, all rows stop.
        self.tell: Callable[[torch.Tensor, torch.Tensor], bool] = lambda ids, scores: False
        self._passes, self._dtype = PassRecorder(model, probe.layers), model.dtype
        self._busy = threading.Lock()
        weakref.finalize(self, self._passes.close)
        self._begin()

    def _begin(self) -> None:
        self._ids: torch.Tensor | None = None
        self._before: Pass | None = None
        self._scores: list[torch.Tensor] = []
        self._total: torch.Tensor | float = 0.0
        self._stopped: torch.Tensor | bool = False

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs) -> torch.BoolTensor:
        if not self._busy.acquire(blocking=False):
            raise _two_threads()
        try:
            return self._step(input_ids)
        finally:
            self._busy.release()

    def _step(self, ids: torch.Tensor) -> torch.BoolTensor:
        passes, old = self._passes.take(), self._passes.record.ids
        grown = old is not None and ids.shape == (len(old), old.shape[1] + 1)
        goes_on = grown and torch.equal(ids[:, :-1], old)
        if goes_on and old is not self._ids:
            raise _two_threads()
        last = check(passes, ids, self._before, goes_on)
        if last.dtype != self._dtype:
            raise Unwatched(
                f"the model was made {last.dtype} after the criteria were made",
                remedy="guard.criteria(model, tokenizer) once the model is as it will be used",
            )
        if not goes_on:
            self._begin()
        self._ids = self._passes.record.ids = ids
        self._before = last
        return self._read(last.states)

    def _read(self, states: torch.Tensor) -> torch.BoolTensor:
        self._total = self._total + self.probe(states)
        n = len(self._scores) + 1
        score = self._total / n
        if not torch.isfinite(score).all():
            raise Unwatched(
                f"the model's states at token {n} are not finite",
                remedy="load the model in float32 or bfloat16",
            )
        self._scores.append(score)
        if n == self.most + 1 > 1:
            problem = f"answers have more than the {self.most} tokens it was calibrated on"
            remedy = f"max_new_tokens={self.most}, or fit the guard to longer answers"
            if self.strict:
                raise Unwatched(problem, remedy=f"{remedy}; or strict=False")
            warnings.warn(f"{problem}; {remedy}", stacklevel=2)
        self._stopped = self._stopped | (score >= self.threshold)
        if self.tell(self._ids[:, -1], score):
            return torch.ones_like(self._stopped).to(self._ids.device)
        return self._stopped.to(self._ids.device)

    @property
    def scores(self) -> np.ndarray:
        """(rows, tokens) float32, of the last generation; NaN behind the end of an answer."""
        if not self._scores:
            return np.zeros((0, 0), np.float32)
        found = torch.stack(self._scores, dim=1).float().cpu().numpy()
        ids = self._ids[:, -found.shape[1] :].cpu().numpy()
        # An answer ends with the first end token that only one and the same token follows.
        repeats = np.logical_and.accumulate((ids == ids[:, -1:])[:, ::-1], axis=1)[:, ::-1]
        ends = np.isin(ids, list(self.ends))
        ends[:, :-1] &= repeats[:, 1:]
        return np.where(np.cumsum(ends, axis=1) > ends, np.float32(np.nan), found)

    @property
    def alarms(self) -> np.ndarray:
        """(rows,) int: tokens of each answer up to the one that raised the alarm; 0: none."""
        hits = self.scores >= self.threshold
        before = (np.cumsum(hits, axis=1) == 0).sum(axis=1)
        return np.where(hits.any(axis=1), before + 1, 0)


def _two_threads() -> Unwatched:
    return Unwatched(
        "two threads generate with one criteria object",
        remedy="guard.criteria(model, tokenizer) for each of them",
    )


def stream(
    criteria: GuardCriteria, model: Any, tokenizer: Any, messages: Any, asked: dict[str, Any]
) -> Iterator[Piece]:
    """See Guard.stream. Whoever stops reading stops the model, too."""
    told: queue.Queue[tuple[int, float] | BaseException | None] = queue.Queue()
    left = threading.Event()

    def tell(ids: torch.Tensor, scores: torch.Tensor) -> bool:
        if len(ids) > 1:
            raise Unwatched(
                f"{len(ids)} answers are written at once",
                remedy="one conversation a stream, num_return_sequences=1",
            )
        told.put((int(ids[0]), float(scores[0])))
        return left.is_set()

    def generate() -> None:
        try:
            text, plain = messages, isinstance(messages, str)
            if not plain:
                turns = {"tokenize": False, "add_generation_prompt": True}
                text = tokenizer.apply_chat_template(messages, **turns)
            inputs = tokenizer(text, return_tensors="pt", add_special_tokens=plain)
            model.generate(**inputs.to(model.device), **settings)
            told.put(None)
        except BaseException as e:  # handed to the reader, who must not take silence for an end
            told.put(e)

    criteria.tell = tell
    settings = asked | {"stopping_criteria": [criteria, *asked.get("stopping_criteria", ())]}
    if not asked.keys() & {"max_new_tokens", "max_length", "generation_config"}:
        settings["max_new_tokens"] = criteria.most
    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    try:
        yield from _pieces(told, tokenizer, criteria.threshold)
    finally:
        left.set()
        thread.join()


def _pieces(told: queue.Queue, tokenizer: Any, threshold: float) -> Iterator[Piece]:
    ids, given, score = [], "", 0.0
    while (one := told.get()) is not None:
        if isinstance(one, BaseException):
            raise one
        token, score = one
        if score >= threshold:
            yield Piece("", score, alarm=True)
            return
        ids.append(token)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        # A character of several tokens decodes as a replacement until its last one.
        new = text[len(given) :] if not text.endswith("\ufffd") else ""
        given += new
        yield Piece(new, score)
    if rest := tokenizer.decode(ids, skip_special_tokens=True)[len(given) :]:
        yield Piece(rest, score)


def watch(
    chunks: Iterable[Any], words: Words, weight: float, thresholds: Mapping[str, float], most: int
) -> Iterator[Piece]:
    """See Guard.watch.

    Args:
        weight: of the top tokens' mean entropy beside the words' score. thresholds: of the readers
            that may be used; the first piece decides which one is.
        most: tokens of the longest answer; they can be counted with log-probabilities only.
    """
    reader, reading, entropy, behind = "", Reading(), Mean(), 0
    try:
        # A stream may end without saying so: its last word has not been read.
        for text, shown, last in chain(map(_read, chunks), [("", [], True)]):
            # Of each token as many of the most likely ones as count, or all there can be.
            tops = [np.array([nats for _, nats in token.top]) for token in shown]
            full = (len(top) >= TOP_LOGPROBS or np.exp(top).sum() > _WHOLE for top in tops)
            # Bytes of text less those of its tokens, which may be ahead by a part of a character.
            behind += len(text.replace("\ufffd", "").encode("utf-8", "surrogatepass"))
            behind = max(behind - sum(len(token.said) for token in shown), -3)
            whole = bool(shown or not text) and all(full) and behind <= 0
            if not reader and (text or shown):
                reader = ENTROPY if whole and ENTROPY in thresholds else WORDS
                if reader not in thresholds:
                    raise Unwatched("the stream does not begin with log-probabilities", remedy=_ASK)
            score = words.add(reading, text, end=last)
            if reader == ENTROPY:
                if not whole:
                    every = f"a server that sends them with every piece; or reader={WORDS!r}"
                    raise Unwatched(
                        f"a piece comes without its {TOP_LOGPROBS} most likely tokens",
                        remedy=_ASK if shown else every,
                    )
                entropy.add(np.array([entropy_of(top) for top in tops]))
                if entropy.n > most:
                    raise Unwatched(
                        f"the answer has more than the {most} tokens the threshold was calibrated on",
                        remedy=f"ask for max_tokens={most}",
                    )
                score += weight * entropy.total / max(entropy.n, 1)
            if reader and np.float32(score) >= thresholds[reader]:
                yield Piece("", score, alarm=True)
                return
            if text:
                yield Piece(text, score)
    finally:
        with suppress(AttributeError):
            chunks.close()  # type: ignore[attr-defined]


def _read(chunk: Any) -> tuple[str, list[TokenLogprobs], bool]:
    """What a chunk adds, with its tokens where they are shown, and whether it is the last."""
    data = chunk.model_dump() if hasattr(chunk, "model_dump") else chunk
    if not isinstance(data, dict) or data.get("error") or "choices" not in data:
        raise Unwatched(
            "the stream holds an error, or something that is no chunk of a completion",
            remedy="give the stream of chat.completions.create or completions.create",
        )
    choices = data["choices"] or []
    if not choices:  # figures of use, at the end, or a filter's of the prompt, before it
        return "", [], False
    choice = choices[0] if isinstance(choices, list) else None
    delta = (choice.get("delta") or {}) if isinstance(choice, dict) else None
    if not isinstance(delta, dict) or choice.get("message"):
        raise Unwatched(
            "the stream holds an answer in a form that is not read", remedy="stream=True"
        )
    if len(choices) > 1 or (choice.get("index") or 0) != 0:
        raise Unwatched("the stream holds several answers", remedy="ask with n=1")
    other = [name for name, value in delta.items() if value and name not in _KNOWN]
    other += [name for name in choice if name.startswith("reasoning") and choice[name]]
    if other:
        raise Unwatched(
            f"the stream holds {other[0]}, which the guard does not read",
            remedy="ask for text alone",
        )
    texts = [t for t in (delta.get("content"), delta.get("refusal"), choice.get("text")) if t]
    if len(texts) > 1 or not all(isinstance(t, str) for t in texts):
        raise Unwatched("a piece holds several texts, or none", remedy="ask for text alone")
    text = texts[0] if texts else ""
    return text, read_logprobs(choice), bool(choice.get("finish_reason"))
