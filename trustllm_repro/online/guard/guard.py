"""A guard: fitted readers of an answer with their thresholds, in one file, and their model."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trustllm_repro.errors import SettingsError, SourceCorrupt
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel, ends_of
from trustllm_repro.online.generations.generation import Trace
from trustllm_repro.online.generations.recorder import blocks_of, given
from trustllm_repro.online.guard.criteria import GuardCriteria, Piece, Probe, stream
from trustllm_repro.online.guard.fit import (
    ENTROPY,
    STATES,
    WORDS,
    Calibration,
    checked,
    fit_readers,
)
from trustllm_repro.online.guard.watch import Watch
from trustllm_repro.online.monitors.words import Words
from trustllm_repro.store.atomic import write_bytes

FORMAT = 1
MOST = 256  # tokens of an example that are read
SAMPLE = 64  # numbers taken of every tensor


@dataclass(frozen=True)
class Origin:
    """The model whose states a guard learned from; model, tokenizer and template are digests."""

    spec: str  # what it was called by, see models.find.FORMS; "" for one held in memory
    name: str
    model: str
    tokenizer: str
    template: str
    dtype: str  # such as "bfloat16"

    @classmethod
    def of(cls, model: torch.nn.Module, tokenizer: Any, spec: str = "", name: str = "") -> Origin:
        """Digests of a model of transformers and its tokenizer.

        The model's covers names and shapes of all tensors and SAMPLE numbers of each, rounded to
        bfloat16: it is the same in every dtype, and another after training or merging.
        """
        vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True)
        template = str(tokenizer.chat_template or "")
        dtype = str(model.dtype).removeprefix("torch.")
        return cls(spec, name, _sampled(model), _sha256(vocabulary), _sha256(template), dtype)


_WHAT = {
    "model": "the weights",
    "tokenizer": "the tokenizer's vocabulary",
    "template": "the chat template",
    "dtype": "the dtype",
}


@dataclass(frozen=True, eq=False)
class Guard:
    """A fitted monitor that stops a generation. Make one by `fit` or `load`.

        guard = Guard.fit("smollm2-135m", examples)            # prompt, answer, unsafe
        guard.save("harm.guard")
        guard = Guard.load("harm.guard")
        model.generate(**inputs, stopping_criteria=[guard.criteria(model, tokenizer)])

    It promises something about answers like those it was fitted to: at most a share `risk` of the
    safe ones is stopped. How many unsafe ones it stops is in `operating_points`.

    Attributes:
        probe: of hidden states. words: of text, for models that show nothing else.
        entropy: weight of the mean entropy of the five most likely tokens beside the words' score.
        calibrations: by reader ("states", "words", "words + entropy"; older files lack the last),
            largest scores of answers to unseen prompts.
        origin: the model it was fitted to. most: tokens of the longest answer it was fitted to.
        risk: of stopping a safe answer, that `criteria`, `stream` and `watch` keep.
        card: what its labels mean, and what it must not be used for; free words, by heading.
        local: the model itself, once it is in memory.
    """

    probe: Probe
    words: Words
    entropy: float
    calibrations: dict[str, Calibration]
    origin: Origin
    most: int
    risk: float = 0.05
    card: dict[str, str] = field(default_factory=dict)
    local: LocalModel | None = field(default=None, repr=False)

    @classmethod
    def fit(
        cls,
        model: Any,
        examples: pd.DataFrame | Iterable[tuple[str, str, bool]],
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
            model: as for `find_model`. examples: (prompt, answer, unsafe), or a frame with these
                columns; at least 20 unsafe and 20 safe ones, to 5 prompts or more.
            layers: numbered from 1; default: three, at a third, a half and two thirds of the depth.

        Raises:
            SettingsError: an example is not of that form, or there are too few; see `find_model`.
        """
        rows = checked(examples)
        local = _local(model, tokenizer, dtype, device)
        depth = len(blocks_of(local.model))
        layers = layers or sorted({max(depth * k // 6, 1) for k in (2, 3, 4)})
        traces = _read(local, rows.prompt, rows.answer, MOST, layers)
        some = rows[[len(t) > 0 for t in traces]]
        learned = fit_readers(
            [t for t in traces if len(t)], some.unsafe.to_numpy(dtype=bool), some.prompt
        )
        spec = model if isinstance(model, str) else ""
        origin = Origin.of(local.model, local.tokenizer, spec, local.name)
        most = max(map(len, traces))
        return cls(**learned, origin=origin, most=most, card=card or {}, local=local).at(risk)

    def at(self, risk: float) -> Self:
        """The same guard at another risk. Raises SettingsError: too few safe answers for it."""
        for calibration in self.calibrations.values():
            calibration.threshold(risk)
        return replace(self, risk=risk)

    @property
    def operating_points(self) -> pd.DataFrame:
        """reader, risk, threshold, stopped_safe, upper (of it, 95 %, one-sided), stopped_unsafe.

        Shares of answers to prompts that the scoring model had not seen.
        """
        frames = {name: c.operating_points() for name, c in self.calibrations.items()}
        return pd.concat(frames, names=["reader"]).reset_index("reader").reset_index(drop=True)

    def save(self, path: str | Path) -> Path:
        """One safetensors file; what is no array is JSON in its header. Raises OutputError."""
        arrays = {"probe": self.probe.weight.numpy(), "words": self.words.model}
        for name, calibration in self.calibrations.items():
            arrays |= {f"{name}.{key}": value for key, value in vars(calibration).items()}
        facts = {
            "format": FORMAT,
            "layers": self.probe.layers,
            "bias": self.probe.bias,
            "entropy": self.entropy,
            "origin": asdict(self.origin),
            "most": self.most,
            "risk": self.risk,
            "card": self.card,
        }
        path = Path(path)
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
            return cls._of(facts, arrays)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as e:
            raise SourceCorrupt(
                f"{path} is no guard: {type(e).__name__}: {e}",
                remedy="give a file that `guard.save` of this version has written",
            ) from e

    @classmethod
    def _of(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        weight = arrays["probe"]
        entropy = float(facts.get("entropy", 0.0))  # files of earlier versions have none
        if not all(np.isfinite(x).all() for x in (weight, arrays["words"], entropy)):
            raise ValueError("a weight is not finite")
        readers = [STATES, WORDS, *([ENTROPY] if "entropy" in facts else [])]
        return cls(
            probe=Probe(tuple(facts["layers"]), torch.from_numpy(weight), float(facts["bias"])),
            words=Words(model=arrays["words"]),
            entropy=entropy,
            calibrations={
                name: Calibration(*(arrays[f"{name}.{f.name}"] for f in fields(Calibration)))
                for name in readers
            },
            origin=Origin(**facts["origin"]),
            most=int(facts["most"]),
            card=dict(facts["card"]),
        ).at(float(facts["risk"]))

    def check(self, model: Any, tokenizer: Any, strict: bool = True) -> None:
        """Raise SettingsError, or warn, unless the model is the one the guard was fitted to."""
        now, then = asdict(Origin.of(model, tokenizer)), asdict(self.origin)
        wrong = [
            f"{what} ({now[key][:12] or 'none'} instead of {then[key][:12] or 'none'})"
            for key, what in _WHAT.items()
            if now[key] != then[key]
        ]
        if not wrong:
            return
        problem = f"the guard was fitted to {self.origin.name}; here differ {', '.join(wrong)}"
        if strict:
            raise SettingsError(
                problem, remedy="fit a guard to this model; or strict=False, and no promise holds"
            )
        warnings.warn(problem, stacklevel=3)

    def criteria(self, model: Any, tokenizer: Any, strict: bool = True) -> GuardCriteria:
        """A stopping criterion for `model.generate`.

        Args:
            strict: see `check`; also, whether an answer longer than `most` is an error.

        Raises:
            SettingsError: see `check`. From `generate`, Unwatched: a token cannot be watched.
        """
        self.check(model, tokenizer, strict)
        ends, threshold = ends_of(model, tokenizer), self._threshold(STATES)
        return GuardCriteria(self.probe, model, threshold, ends, self.most, strict)

    def stream(
        self, model: Any, tokenizer: Any, messages: Any, *, strict: bool = True, **asked: Any
    ) -> Iterator[Piece]:
        """Let the model answer, piece by piece; the token that raises the alarm is not given out.

        Args:
            messages: for the chat template, a list of {"role", "content"}; or a text.
            asked: for `generate`. Without max_new_tokens: `most`.

        Yields:
            Piece: text, score, alarm. The last one of a stopped answer has the alarm and no text.
        """
        return stream(self.criteria(model, tokenizer, strict), model, tokenizer, messages, asked)

    def watch(self, chunks: Iterable[Any], reader: str = "") -> Iterator[Piece]:
        """Read the stream of an OpenAI-compatible server, and end it at the alarm.

        Args:
            chunks: of chat or plain completions with one answer, as the `openai` client gives them,
                or as dictionaries.
            reader: "words" reads the text, "words + entropy" log-probabilities as well, which keep
                the promise for the model the guard was fitted to only. Default: the latter, if the
                file has it and the stream's first piece shows them. `operating_points` says what
                each is worth.

        Yields:
            Piece: given out when it has been read; at the alarm one without text, and the stream is
                closed.

        Raises:
            SettingsError: the guard has no such reader. Unwatched: something of the answer is not
                shown, or cannot be read.
        """
        readers = [name for name in self.calibrations if name != STATES]
        if reader and reader not in readers:
            raise SettingsError(
                f"the guard cannot read a stream by {reader!r}", remedy=" or ".join(readers)
            )
        thresholds = {r: self._threshold(r) for r in readers if reader in ("", r)}
        return Watch(self.words, self.entropy, thresholds, self.most).pieces(chunks)

    def score(self, prompt: str, answer: str, strict: bool = True) -> np.ndarray:
        """(tokens,) float64: score after each token of a given answer, as its model reads it.

        The model is the one it was fitted to in this process, or is found by its name.

        Raises:
            SettingsError: a model that was held in memory then cannot be found; see also `check`.
        """
        if self.local is None:
            local = self._load()
            self.check(local.model, local.tokenizer, strict)
            object.__setattr__(self, "local", local)
        (trace,) = _read(self.local, [prompt], [answer], self.most, self.probe.layers)
        states = [trace.hidden[n] for n in self.probe.layers]
        return self.probe.read(np.concatenate(states, axis=1).astype(np.float32))

    def _threshold(self, reader: str) -> float:
        return self.calibrations[reader].threshold(self.risk)

    def alarm(self, scores: np.ndarray) -> int:
        """Tokens of an answer with these scores of states at its alarm; 0: it raises none."""
        hits = np.flatnonzero(scores >= self._threshold(STATES))
        return int(hits[0]) + 1 if len(hits) else 0

    def load_model(self) -> tuple[Any, Any]:
        """The model it was fitted to, as transformers loads it, and its tokenizer.

        Raises:
            SettingsError: it was fitted to a model held in memory. Others as `find_model`.
        """
        local = self._load(stock=True)
        return local.model, local.tokenizer

    def _load(self, stock: bool = False) -> LocalModel:
        if not self.origin.spec:
            raise SettingsError(
                f"the guard was fitted to {self.origin.name}, a model held in memory",
                remedy="guard.criteria(model, tokenizer) watches it",
            )
        return _local(self.origin.spec, None, self.origin.dtype, "auto", stock)


def _local(model: Any, tokenizer: Any, dtype: str, device: str, stock: bool = False) -> LocalModel:
    found = find_model(model, tokenizer=tokenizer, dtype=dtype, device=device, stock=stock)
    if not isinstance(found, LocalModel):
        raise SettingsError(
            f"{found.name} shows no hidden states", remedy="give a model that runs on this machine"
        )
    return found


def _read(
    local: LocalModel, prompts: Sequence[str], answers: Sequence[str], most: int,
    layers: Sequence[int],
) -> list[Trace]:  # fmt: skip
    """Traces of answers to prompts, in their order."""
    found = dict(chain.from_iterable(given(local, prompts, answers, most, tuple(layers))))
    return [found[i] for i in range(len(prompts))]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@torch.no_grad()
def _sampled(model: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(flat.numel() // SAMPLE, 1)][:SAMPLE]
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(some.float().bfloat16().cpu().view(torch.int16).numpy().tobytes())
    return found.hexdigest()


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters by name, those of layers packed for the CPU as they were (models.cpu)."""
    head = model.get_output_embeddings() if model.config.tie_word_embeddings else None
    found: dict[str, torch.Tensor] = {}
    for prefix, module in model.named_modules():
        if module is head:
            continue
        own = dict(module.named_parameters(recurse=False))
        if (packed := getattr(module, "packed", None)) is not None:
            own = {"weight": packed.to_dense()}
            if module.bias is not None:
                own["bias"] = module.bias
        found.update({f"{prefix}.{name}": tensor for name, tensor in own.items()})
    return found
