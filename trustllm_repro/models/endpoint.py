"""A model behind an OpenAI-compatible server: chat or plain completions, log-probabilities if given.

Nothing is loaded here, and no key is ever stored: it is read from the environment and sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import Completion, Finish, Request
from trustllm_repro.models.http import Caller, CallFailed

PARALLEL = 8  # calls in flight
GIVE_UP = 8  # failed prompts before any is answered
_KEYS = ("TRUSTLLM_API_KEY", "OPENAI_API_KEY")
_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTER}


class Endpoint:
    """See LanguageModel. A prompt that fails after all tries becomes an answer with finish "error",
    which the next run asks again.

    Args:
        caller: how the server is called.
        model: its name there.
        chat: chat completions; else plain ones, the prompt as it is.
        parallel: calls in flight.
    """

    def __init__(
        self, caller: Caller, model: str, chat: bool = True, parallel: int = PARALLEL
    ) -> None:
        self.caller, self.model, self.chat, self.parallel = caller, model, chat, parallel
        self.name = re.sub(r"[^\w.@+-]+", "-", model)

    @classmethod
    def of(cls, spec: str) -> Endpoint:
        """From http://host:port/v1#model; `?api=completions` asks for plain completions.

        Without a name after #, the server must offer exactly one model.

        Raises:
            SettingsError: a key in the address, several models, or the key is refused.
            SourceMissing: nobody answers there.
        """
        parts = urlsplit(spec)
        if parts.username or parts.password:
            raise SettingsError(
                "the endpoint's address holds a user name or a key",
                remedy=f"pass the key through the environment variable {_KEYS[1]}",
            )
        query = dict(p.partition("=")[::2] for p in parts.query.split("&") if p)
        if set(query) - {"api"} or query.get("api", "chat") not in ("chat", "completions"):
            raise SettingsError(
                f"unknown part of the endpoint's address: ?{parts.query}",
                remedy="?api=chat or ?api=completions",
            )
        base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        key = next((os.environ[k] for k in _KEYS if os.environ.get(k)), "")
        caller = Caller(base, key)
        model = parts.fragment or _only_model(caller)
        return cls(caller, model, chat=query.get("api", "chat") == "chat")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Name and server. What weights answer there, only the server's owner knows."""
        return {
            "endpoint": self.caller.base,
            "model": self.model,
            "template": "chat" if self.chat else "none",
        }

    def complete(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Completion]]]:
        """See LanguageModel. Each answer comes as soon as it is there.

        Raises:
            SourceMissing: none of the first prompts was answered.
            SettingsError: the key is refused.
        """
        answered, lost = False, 0
        for index, result in self._spread(len(requests), lambda i: self._ask(requests[i])):
            if isinstance(result, Completion):
                answered = True
                yield [(index, result)]
                continue
            lost += 1
            if not answered and lost >= min(GIVE_UP, len(requests)):
                raise SourceMissing(
                    f"no answer from {self.caller.base}; the last call: {result.problem}",
                    remedy="see that the server runs, and that address and model are right; then "
                    "run the same command again",
                )
            yield [(index, _FAILED)]

    def _spread(self, n: int, call: Any) -> Iterator[tuple[int, Any]]:
        """(index, result or CallFailed), `parallel` calls at a time, in the order they end."""
        todo = iter(range(n))
        with ThreadPoolExecutor(self.parallel) as pool:
            running: dict[Future[Any], int] = {}
            try:
                while True:
                    for i in todo:
                        running[pool.submit(_caught, call, i)] = i
                        if len(running) >= self.parallel:
                            break
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield running.pop(future), future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, request: Request) -> Completion:
        body = {
            "model": self.model,
            "temperature": request.temperature,
            "max_tokens": request.max_new_tokens,
            **({"seed": request.seed % 2**31} if request.temperature else {}),
        }
        if self.chat:
            body["messages"] = [{"role": "user", "content": request.prompt}]
            return self.caller.post("chat/completions", body, _read_chat)
        return self.caller.post("completions", body | {"prompt": request.prompt}, _read_plain)

    def score_options(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, list[float]]]:
        """See LanguageModel. Needs plain completions that echo the prompt with log-probabilities.

        Raises:
            SettingsError: the server, or the chat form, does not offer that.
        """
        if self.chat:
            raise SettingsError(
                "chat completions give no log-probabilities of a given text",
                remedy="add ?api=completions to the address if the server offers them",
            )

        def one(i: int) -> list[float]:
            return [self._nats(prompts[i], o) for o in options[i]]

        for index, result in self._spread(len(prompts), one):
            if isinstance(result, CallFailed):
                raise SettingsError(
                    f"{self.caller.base} gives no log-probabilities of a given text: {result}",
                    remedy="--no-likelihood leaves this reading out",
                )
            yield index, result

    def _nats(self, prompt: str, option: str) -> float:
        body = {
            "model": self.model, "prompt": prompt + option, "max_tokens": 0, "temperature": 0,
            "echo": True, "logprobs": 1,
        }  # fmt: skip
        return self.caller.post("completions", body, lambda d: _after(d, len(prompt)))


_FAILED = Completion(None, Finish.ERROR, 0, 0)


def _caught(call: Any, i: int) -> Any:
    """The call's result, or its failure; errors that concern all prompts go through."""
    try:
        return call(i)
    except CallFailed as e:
        return e


def _only_model(caller: Caller) -> str:
    try:
        names = caller.get("models", lambda d: [str(m["id"]) for m in d["data"]])
    except CallFailed as e:
        raise SourceMissing(
            f"cannot ask {caller.base} which models it offers: {e}",
            remedy="name one after a #, as in http://localhost:8000/v1#model",
        ) from e
    if len(names) != 1:
        raise SettingsError(
            f"{caller.base} offers {len(names)} models",
            remedy="name one after a #: " + ", ".join(names[:20]),
        )
    return names[0]


def _read_chat(data: Any) -> Completion:
    choice = data["choices"][0]
    return _completion(choice["message"]["content"], choice, data)


def _read_plain(data: Any) -> Completion:
    choice = data["choices"][0]
    return _completion(choice["text"], choice, data)


def _completion(text: Any, choice: Any, data: Any) -> Completion:
    """An answer without content (null) is an empty one: the server did answer."""
    if text is not None and not isinstance(text, str):
        raise TypeError("the answer is no text")
    usage = data.get("usage") or {}
    finish = _FINISH.get(choice.get("finish_reason"), Finish.STOP)
    read, made = (int(usage.get(k) or 0) for k in ("prompt_tokens", "completion_tokens"))
    return Completion(text or "", finish, read, made)


def _after(data: Any, start: int) -> float:
    """Summed log-probability of the tokens that begin at or after character `start`."""
    given = data["choices"][0]["logprobs"]
    pairs = zip(given["text_offset"], given["token_logprobs"], strict=True)
    found = [nats for offset, nats in pairs if offset >= start and nats is not None]
    if not found:
        raise ValueError("no tokens of the option")
    return float(sum(found))
