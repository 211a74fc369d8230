"""What an answering model is, whatever runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from trustllm_repro.errors import SettingsError

# How a model on this machine is asked. The first of each is the official toolkit's way.
SYSTEM = ("blank", "default")  # no system message, or the one the chat template puts in by itself
SAMPLING = ("model", "plain")  # draws by the model's generation config, or of the whole softmax


class Finish(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the model ended it
    LENGTH = "length"  # the limit of new tokens was reached
    NAN = "nan"  # the model gave no finite logits: there is no answer
    FILTER = "filter"  # the endpoint's content filter cut it off
    ERROR = "error"  # the endpoint gave no answer after all retries; asked again by the next run


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to be generated. `seed` matters only at a temperature above 0."""

    prompt: str
    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated answer."""

    text: str | None  # None where there is none (finish "nan" or "error")
    finish: Finish
    prompt_tokens: int  # as the model saw them, template included
    new_tokens: int
    cut_tokens: int = 0  # out of the middle of the prompt, to make it fit the context


class LanguageModel(Protocol):
    """A model that answers. Batches come back in any order, each as soon as it is done."""

    name: str  # the model's row in the tables
    # Whatever decides the answers besides the request (digests of weights and tokenizer, dtype,
    # template); it enters every key of the store. "sampling", what narrows the draws, enters those
    # of drawn answers only.
    identity: Mapping[str, Any]

    def complete(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Completion]]]:
        """Yield finished answers as (index into `requests`, completion)."""

    def score_options(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, list[float]]]:
        """Yield (index, summed log-probability in nats of each option after the prompt)."""


def check_asking(system: str, sampling: str) -> None:
    """Raises SettingsError: neither of SYSTEM, or neither of SAMPLING."""
    for name, value, known in (("system", system, SYSTEM), ("sampling", sampling, SAMPLING)):
        if value not in known:
            raise SettingsError(f"unknown {name} {value!r}", remedy=f"one of: {', '.join(known)}")


def content_key(identity: Mapping[str, Any], request: Request, sample: int = 0) -> str:
    """Key of an answer: equal keys mean the same answer, so it is generated once. At temperature 0
    neither seed, sample nor sampling has any effect, so they stay out."""
    facts = asdict(request)
    seed = facts.pop("seed")
    if request.temperature:
        return _digest(facts | {"model": dict(identity), "seed": seed, "sample": sample})
    return _digest(facts | {"model": _undrawn(identity)})


def options_key(identity: Mapping[str, Any], prompt: str, options: Sequence[str]) -> str:
    """Key of the log-probabilities of options after a prompt."""
    return _digest({"model": _undrawn(identity), "prompt": prompt, "options": list(options)})


def _undrawn(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in identity.items() if k != "sampling"}


def _digest(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def item_seed(seed: int, task: str, number: int, sample: int) -> int:
    """Seed of one answer, independent of the order in which answers are generated (63 bits)."""
    digest = hashlib.sha256(f"{seed}|{task}|{number}|{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
