"""A guard: from labelled answers to readers of an answer with their thresholds, in one file.

Every answer is scored by a model that saw no answer to its prompt (grouped cross-fitting); the
fitted reader is the mean of those models, so all answers teach it and its scores are on the scale
of those the thresholds come from.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, product
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch.nn.utils.rnn import pad_sequence

from trustllm_repro.errors import SchemaError, SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.models.cpu import PackedLinear
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel, ends_of
from trustllm_repro.online.generations.generation import Generation, Trace
from trustllm_repro.online.generations.recorder import given, middle_layers, with_states
from trustllm_repro.online.guard.watch import (
    ENTROPY,
    WORDS,
    GuardCriteria,
    Piece,
    Probe,
    Unwatched,
    stream,
    watch,
)
from trustllm_repro.online.monitors import probes
from trustllm_repro.online.monitors.base import InsufficientData, Mean, checkpoints, entropy_of
from trustllm_repro.online.monitors.texts import Words
from trustllm_repro.online.studies.estimates import Answers, stopping_at, threshold_at_fpr
from trustllm_repro.online.studies.evaluate import FOLDS, deal
from trustllm_repro.store.archive import sha256
from trustllm_repro.store.atomic import write_bytes

FORMAT = 2
STATES = "states"  # what reads hidden states; WORDS and ENTROPY read the stream of a server
READERS = (STATES, WORDS, ENTROPY)
CALIBRATION = ("peaks", "unsafe", "fold", "group")  # columns of Guard.calibrations
COLUMNS = ["prompt", "answer", "unsafe"]
LEAST = 20  # unsafe and safe examples each: below it, five folds teach nothing
MOST = 256  # tokens of an example that are read
RISKS = (0.01, 0.05, 0.10)
SAMPLE = 64  # numbers taken of every tensor
_LABELS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def checked(examples: pd.DataFrame | Iterable[tuple[str, str, bool]] | str | Path) -> pd.DataFrame:
    """The examples as a frame. Raises as Guard.fit."""
    file = isinstance(examples, (str, Path))
    source, remedy = str(examples) if file else "the examples", f"columns {', '.join(COLUMNS)}"
    if file and not Path(source).is_file():
        raise SourceMissing(f"no file {source}", remedy=f"a CSV with {remedy}")
    try:
        if file:
            examples = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        elif not isinstance(examples, pd.DataFrame):
            examples = pd.DataFrame(list(examples), columns=COLUMNS, dtype=object)
    except (TypeError, ValueError) as e:  # pandas' own, and of characters
        remedy = f"rows of {remedy}; a file is a CSV in UTF-8"
        raise SourceCorrupt(f"{source} cannot be read: {e}", remedy=remedy) from e
    if missing := [c for c in COLUMNS if c not in examples]:
        raise SchemaError(source, None, missing[0], "a column of this name expected", remedy=remedy)
    rows = examples[COLUMNS].reset_index(drop=True)
    labels = rows["unsafe"].astype(str).str.strip().str.lower().map(_LABELS)
    half = "[\ud800-\udfff]"  # of a character
    wrong = rows.map(lambda value: not isinstance(value, str) or bool(re.search(half, value)))
    wrong["unsafe"] = labels.isna()
    wrong["answer"] |= rows["answer"] == ""
    if wrong.to_numpy().any():
        row, field = wrong.stack().idxmax()
        expected = "0, 1, true or false" if field == "unsafe" else "a text that is not empty"
        raise SchemaError(source, row, field, f"{expected} expected", remedy="fix that row")
    rows["unsafe"] = labels.astype(bool)
    unsafe = int(rows["unsafe"].sum())
    if min(unsafe, len(rows) - unsafe) < LEAST:
        problem = f"{unsafe} unsafe and {len(rows) - unsafe} safe examples"
        raise SettingsError(problem, remedy=f"at least {LEAST} of each")
    if (n := rows.prompt.nunique()) < FOLDS:
        raise SettingsError(f"answers to {n} prompts", remedy=f"answers to at least {FOLDS}")
    return rows


def fit_readers(
    traces: Sequence[Trace], unsafe: np.ndarray, prompts: Sequence[str]
) -> dict[str, Any]:
    """Fields of a Guard: probe, words, entropy, calibrations. Each trace has a token at least, and
    the states of the layers to learn from."""
    group = np.unique(np.asarray(prompts, dtype=object), return_inverse=True)[1]
    fold = deal(group, unsafe, seed=0)
    layers = tuple(sorted(traces[0].hidden))
    states = []
    for trace in traces:
        states.append(probes.joined(trace, layers))
        trace.hidden.clear()  # nothing takes more memory; once is enough
    answers = [Generation(t) for t in traces]
    entropy = [Mean().add(entropy_of(t.top_logp)) for t in traces]

    def cross_fitted(fit: Callable, rows: Sequence, score: Callable) -> tuple[list, list]:
        """Of each fold what the others teach; of each row the score by that of its own fold."""
        others = [np.flatnonzero(fold != k) for k in range(FOLDS)]
        fitted = [fit([rows[i] for i in at], unsafe[at]) for at in others]
        return fitted, [score(fitted[k], row) for k, row in zip(fold, rows, strict=True)]

    try:
        taught, of_states = cross_fitted(partial(_states_probe, layers), states, Probe.read)
        words, of_words = cross_fitted(Words().fit, answers, Words.score)
        both = list(zip(of_words, entropy, strict=True))
        weights, of_both = cross_fitted(_entropy_weight, both, lambda w, row: row[0] + w * row[1])
    except InsufficientData as e:
        raise SettingsError(str(e), remedy="examples of both kinds to more prompts") from e
    weight = torch.stack([p.weight for p in taught]).mean(0)
    word_weights = np.mean([w.model for w in words], axis=0, dtype=np.float32)
    known = {"unsafe": unsafe, "fold": fold, "group": group.astype(np.int32)}
    return {
        "probe": Probe(layers, weight, float(np.mean([p.bias for p in taught]))),
        "words": Words(model=word_weights),
        "entropy": float(np.mean(weights)),
        "calibrations": {
            reader: pd.DataFrame(
                {"peaks": np.array([np.fmax.reduce(s) for s in scores], np.float32)} | known
            )
            for reader, scores in zip(READERS, (of_states, of_words, of_both), strict=True)
        },
    }


def _states_probe(layers: Sequence[int], states: list[np.ndarray], unsafe: np.ndarray) -> Probe:
    """The mean of z-scores of two linear probes: of tokens of the middle one of the layers, and of
    running means (prefixes) of all of them."""
    size = states[0].shape[1] // len(layers)
    at = slice(len(layers) // 2 * size, (len(layers) // 2 + 1) * size)
    draw = np.random.default_rng(0)
    tokens = [probes.drawn_tokens(s[:, at], draw) for s in states]
    token = probes.linear(tokens, unsafe, probes.TOKEN_PENALTY, per_answer=False)
    means = [probes.prefix_means(s) for s in states]
    prefix = probes.linear(means, unsafe, probes.PREFIX_PENALTY, per_answer=True)
    of_prefix = _spread([s @ prefix[0] + prefix[1] for s in states])
    of_token = _spread([s[:, at] @ token[0] + token[1] for s in states])
    weight = prefix[0] / of_prefix
    weight[at] += token[0] / of_token
    bias = prefix[1] / of_prefix + token[1] / of_token
    return Probe(tuple(layers), torch.from_numpy(weight.astype(np.float32)), float(bias))


def _spread(logits: Sequence[np.ndarray]) -> float:
    """Standard deviation of their running means."""
    return float(np.concatenate([Mean().add(one) for one in logits]).std()) or 1.0


def _entropy_weight(rows: Sequence[tuple[np.ndarray, np.ndarray]], unsafe: np.ndarray) -> float:
    """Of the top tokens' mean entropy beside the words' score; `rows` holds both by answer."""
    ends = [np.array(checkpoints(len(words), probes.PREFIXES)) - 1 for words, _ in rows]
    tables = [np.nan_to_num(np.column_stack(r))[at] for r, at in zip(rows, ends, strict=True)]
    (of_words, of_entropy), _ = probes.linear(tables, unsafe, 1.0, per_answer=True)
    return of_entropy / max(abs(of_words), 1e-6)


@dataclass(frozen=True)
class Origin:
    """The model whose states a guard learned from."""

    spec: str  # what it was called by, see `find_model`; "" for one held in memory
    name: str
    model: str  # digest of the weights
    tokenizer: str  # digest of the vocabulary
    template: str  # digest of the chat template
    dtype: str  # such as "bfloat16"

    @classmethod
    def of(cls, model: torch.nn.Module, tokenizer: Any, spec: str = "", name: str = "") -> Origin:
        """Of a model of transformers and its tokenizer."""
        vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True)
        template = str(tokenizer.chat_template or "").encode("utf-8", "surrogatepass")
        dtype = str(model.dtype).removeprefix("torch.")
        known = _sampled(model), sha256(vocabulary.encode()), sha256(template), dtype
        return cls(spec, name, *known)


@torch.no_grad()
def _sampled(model: torch.nn.Module) -> str:
    """Of names and shapes of all tensors and SAMPLE numbers of each, rounded to bfloat16: it is the
    same in every dtype, and another after training or merging."""
    found = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(flat.numel() // SAMPLE, 1)][:SAMPLE]
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(some.float().bfloat16().cpu().view(torch.int16).numpy().tobytes())
    return found.hexdigest()


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters by name, those of layers packed for the CPU as they were; tied ones once."""
    head = model.get_output_embeddings() if model.config.tie_word_embeddings else None
    found = dict(model.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear) and module is not head:
            found[f"{name}.weight"] = module.weight
            if module.bias is not None:
                found[f"{name}.bias"] = module.bias
    return found


def _digest(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Of all that a guard's file says."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True, eq=False)
class Guard:
    """A fitted monitor that stops a generation. Make one by `fit` or `load`.

        guard = Guard.fit("smollm2-135m", examples)            # prompt, answer, unsafe
        guard.save("harm.guard")
        guard = Guard.load("harm.guard")
        model.generate(**inputs, stopping_criteria=[guard.criteria(model, tokenizer)])

    It promises something about answers like those it was fitted to: at most a share `risk` of the
    safe ones is stopped. How many unsafe ones it stops is in `operating_points`.
    """

    probe: Probe  # of hidden states
    words: Words  # of text, for models that show nothing else
    entropy: float  # weight of the top five tokens' mean entropy beside the words' score
    # By reader ("states", "words", "words + entropy"), a row an answer: peaks (float32), the largest
    # score of a model that had not seen the answer; unsafe; fold; group (int32), its prompt.
    calibrations: dict[str, pd.DataFrame]
    origin: Origin  # the model it was fitted to
    most: int  # tokens of the longest answer it was fitted to
    risk: float = 0.05  # of stopping a safe answer, that `criteria`, `stream` and `watch` keep
    # What its labels mean, and what it must not be used for, by heading.
    card: dict[str, str] = field(default_factory=dict)
    local: LocalModel | None = field(default=None, repr=False)  # once it is in memory

    @classmethod
    def fit(
        cls,
        model: Any,
        examples: pd.DataFrame | Iterable[tuple[str, str, bool]] | str | Path,
        *,
        tokenizer: Any = None,
        risk: float = 0.05,
        layers: Sequence[int] = (),
        dtype: str = "auto",
        device: str = "auto",
        card: dict[str, str] | None = None,
    ) -> Self:
        """Let the model read labelled answers, and learn from its states.

        Args:
            model: as for `find_model`. examples: (prompt, answer, unsafe), or a frame or CSV file
                with these columns; at least 20 unsafe and 20 safe ones, to 5 prompts or more.
            layers: numbered from 1; default: three, see `middle_layers`.

        Raises:
            SchemaError: an example is not of that form. SettingsError: there are too few; others as
            `find_model`. SourceMissing, SourceCorrupt: there is no such file, or it is no CSV.
        """
        rows = checked(examples)
        local = with_states(find_model(model, tokenizer=tokenizer, dtype=dtype, device=device))
        layers = layers or middle_layers(local.model)
        read = chain.from_iterable(
            given(local, rows.prompt, rows.answer, MOST, tuple(layers), torch.Tensor.float)
        )
        traces = {i: trace for i, trace in sorted(read, key=itemgetter(0)) if len(trace)}
        some = rows.loc[list(traces)]
        learned = fit_readers(list(traces.values()), some.unsafe.to_numpy(dtype=bool), some.prompt)
        spec = model if isinstance(model, str) else ""
        origin = Origin.of(local.model, local.tokenizer, spec, local.name)
        most = max(map(len, traces.values()))
        guard = cls(**learned, origin=origin, most=most, card=card or {}, local=local).at(risk)
        guard._rehearse(sorted(set(rows.prompt), key=len)[:2])
        return guard

    def _rehearse(self, prompts: Sequence[str]) -> None:
        """Raise SettingsError unless scores of short answers, while they are written side by side,
        are those of reading them: models may count positions otherwise in `generate`."""
        local, layers = self.local, self.probe.layers
        criteria = GuardCriteria(self.probe, local.model, math.inf)
        asked = [torch.tensor(local.tokens(p), device=local.device) for p in prompts]
        ids, mask = (
            pad_sequence(rows, True, 0, padding_side="left")
            for rows in (asked, [torch.ones_like(row) for row in asked])
        )
        how = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        try:
            made = local.model.generate(
                ids, attention_mask=mask, num_beams=1, **how, stopping_criteria=[criteria]
            )
        except Unwatched:  # `criteria` says why when it is used; `score` reads all the same
            return
        said = [tuple(row) for row in made[:, ids.shape[1] :].tolist()]
        read = chain.from_iterable(given(local, prompts, said, 4, layers, torch.Tensor.float))
        gaps = [self.probe.read(probes.joined(t, layers)) - criteria.scores[i] for i, t in read]
        if not np.nanmax(np.abs(gaps)) < (0.01 if local.dtype is torch.float32 else 0.25):
            raise SettingsError(
                f"{local.name} reads an answer otherwise than it writes it: scores that spread by "
                f"about 1 differ by {np.nanmax(np.abs(gaps)):.2g}",
                remedy="use a model of another kind; this one's answers cannot be watched",
            )

    def at(self, risk: float) -> Self:
        """The same guard at another risk. Raises SettingsError: too few safe answers for it."""
        other = replace(self, risk=risk)
        for reader in READERS:
            other.threshold(reader)
        return other

    def threshold(self, reader: str = STATES) -> float:
        """The lowest score that stops an answer, see `threshold_at_fpr`. Raises as `at`.

        A float32, as the peaks are: scores reach it where they do so rounded to float32.
        """
        if not 0 < self.risk < 1:
            raise SettingsError(f"a risk of {self.risk}", remedy="above 0 and below 1")
        peaks, unsafe = (self.calibrations[reader][c].to_numpy() for c in ("peaks", "unsafe"))
        try:
            return threshold_at_fpr(peaks, unsafe, self.risk)
        except InsufficientData as e:
            raise SettingsError(str(e), remedy="a larger risk, or more safe examples") from e

    @property
    def operating_points(self) -> pd.DataFrame:
        """reader, risk, threshold, stopped_safe, upper (of it, 95 %, one-sided), stopped_unsafe; a
        row for each of RISKS that can be kept.

        Shares of answers to prompts that the scoring model had not seen, at thresholds of the other
        folds; the bound is by a bootstrap over prompts.
        """
        rows = []
        for reader, risk in product(READERS, RISKS):
            of = Answers(self.calibrations[reader].rename(columns={"peaks": "peak"}))
            try:
                found = stopping_at(of.thresholds(partial(threshold_at_fpr, risk=risk)), of)
            except InsufficientData:
                continue
            shares = ("false_positive_rate", "false_positive_upper", "stopped")
            threshold = replace(self, risk=risk).threshold(reader)
            rows.append((reader, risk, threshold, *(found[name].value for name in shares)))
        columns = ["reader", "risk", "threshold", "stopped_safe", "upper", "stopped_unsafe"]
        return pd.DataFrame(rows, columns=columns)

    def save(self, path: str | Path) -> Path:
        """One safetensors file; what is no array is JSON in its header. Raises OutputError."""
        arrays = {"probe": self.probe.weight.numpy(), "words": self.words.model}
        for name, calibration in self.calibrations.items():
            arrays |= {f"{name}.{key}": calibration[key].to_numpy() for key in CALIBRATION}
        facts = {name: getattr(self, name) for name in ("entropy", "most", "risk", "card")}
        facts |= {"format": FORMAT, "layers": self.probe.layers, "bias": self.probe.bias}
        facts["origin"] = asdict(self.origin)
        path = Path(path)
        facts["sha256"] = _digest(facts, arrays)
        # One entry: the order of several is not the same in every file.
        write_bytes(path, save(arrays, {"guard": json.dumps(facts, sort_keys=True)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A saved guard. Raises SourceCorrupt: the file is damaged, or no guard."""
        try:
            with safe_open(path, "numpy") as file:
                facts = json.loads(file.metadata()["guard"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if facts["format"] != FORMAT:
                raise ValueError(f"format {facts['format']}, not {FORMAT}")
            if facts.pop("sha256") != _digest(facts, arrays):
                raise ValueError("its bytes have changed")
            weight, bias = torch.from_numpy(arrays["probe"]), float(facts["bias"])
            known = [{key: arrays[f"{name}.{key}"] for key in CALIBRATION} for name in READERS]
            return cls(
                probe=Probe(tuple(facts["layers"]), weight, bias),
                words=Words(model=arrays["words"]), entropy=float(facts["entropy"]),
                calibrations=dict(zip(READERS, map(pd.DataFrame, known), strict=True)),
                origin=Origin(**facts["origin"]), most=int(facts["most"]), card=dict(facts["card"]),
            ).at(float(facts["risk"]))  # fmt: skip
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as e:
            remedy = "give a file that `guard.save` of this version has written"
            raise SourceCorrupt(
                f"{path} is no guard: {type(e).__name__}: {e}", remedy=remedy
            ) from e

    def check(self, model: Any, tokenizer: Any, strict: bool = True) -> None:
        """Raise SettingsError, or warn, unless the model is the one the guard was fitted to."""
        now, then = asdict(Origin.of(model, tokenizer)), asdict(self.origin)
        wrong = [
            f"the {key} ({now[key][:12] or 'none'} instead of {then[key][:12] or 'none'})"
            for key in ("model", "tokenizer", "template", "dtype")
            if now[key] != then[key]
        ]
        problem = f"the guard was fitted to {self.origin.name}; here differ {', '.join(wrong)}"
        if wrong and strict:
            remedy = "fit a guard to this model; or strict=False, and no promise holds"
            raise SettingsError(problem, remedy=remedy)
        if wrong:
            warnings.warn(problem, stacklevel=3)

    def criteria(self, model: Any, tokenizer: Any, strict: bool = True) -> GuardCriteria:
        """A stopping criterion for `model.generate`, which raises Unwatched where a token cannot be
        watched. Raises SettingsError: see `check`.

        strict: False warns where `check` or an answer of more than `most` tokens is an error.
        """
        self.check(model, tokenizer, strict)
        ends = ends_of(model, tokenizer)
        return GuardCriteria(self.probe, model, self.threshold(), ends, self.most, strict)

    def stream(
        self, model: Any, tokenizer: Any, messages: Any, *, strict: bool = True, **asked: Any
    ) -> Iterator[Piece]:
        """Let the model answer, piece by piece: text, score, alarm. The token that raises the alarm
        is not given out: the last piece of a stopped answer has no text.

        Args:
            messages: for the chat template, a list of {"role", "content"}; or a text.
            asked: for `generate`. Without max_new_tokens: `most`.
        """
        return stream(self.criteria(model, tokenizer, strict), model, tokenizer, messages, asked)

    def watch(self, chunks: Iterable[Any], reader: str = "") -> Iterator[Piece]:
        """Read the stream of an OpenAI-compatible server, and close it at the alarm; the pieces are
        as those of `stream`.

        Args:
            chunks: of chat or plain completions with one answer, as the `openai` client gives them,
                or as dictionaries.
            reader: "words" reads the text, "words + entropy" log-probabilities as well, which keep
                the promise for the model the guard was fitted to only. Default: the latter, if the
                stream's first piece shows them. `operating_points` says what each is worth.

        Raises SettingsError: there is no such reader. Unwatched: part of the answer is not shown.
        """
        thresholds = {r: self.threshold(r) for r in (WORDS, ENTROPY) if reader in ("", r)}
        if not thresholds:
            raise SettingsError(
                f"the guard cannot read a stream by {reader!r}", remedy=f"{WORDS!r} or {ENTROPY!r}"
            )
        return watch(chunks, self.words, self.entropy, thresholds, self.most)

    def score(self, prompt: str, answer: str, strict: bool = True) -> np.ndarray:
        """(tokens,) float64: score after each token of a given answer, as its model reads it.

        The model is the one it was fitted to in this process, or is found by its name. Raises
        SettingsError: it was held in memory and cannot be found; see also `check`.
        """
        if self.local is None:
            local = self._load()
            self.check(local.model, local.tokenizer, strict)
            object.__setattr__(self, "local", local)
        layers = self.probe.layers
        (((_, trace),),) = given(
            self.local, [prompt], [answer], self.most, layers, torch.Tensor.float
        )
        return self.probe.read(probes.joined(trace, layers))

    def alarm(self, scores: np.ndarray) -> int:
        """Tokens of an answer with these scores of states at its alarm; 0: it raises none."""
        hits = np.flatnonzero(scores.astype(np.float32) >= self.threshold())
        return int(hits[0]) + 1 if len(hits) else 0

    def load_model(self) -> tuple[Any, Any]:
        """The model it was fitted to, as transformers loads it, and its tokenizer.

        Raises SettingsError: it was fitted to a model held in memory; see also `find_model`.
        """
        local = self._load(stock=True)
        return local.model, local.tokenizer

    def _load(self, stock: bool = False) -> LocalModel:
        if not self.origin.spec:
            problem = f"the guard was fitted to {self.origin.name}, a model held in memory"
            raise SettingsError(problem, remedy="guard.criteria(model, tokenizer) watches it")
        return with_states(find_model(self.origin.spec, dtype=self.origin.dtype, stock=stock))
