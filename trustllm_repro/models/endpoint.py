"""A model behind an OpenAI-compatible server: chat or plain completions, log-probabilities if given.

Nothing is loaded here, and no key is ever stored: it is read from the environment and sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import Completion, Finish, Request
from trustllm_repro.models.http import Caller, CallFailed, Passing, Unreachable
from trustllm_repro.models.logprobs import Shown, asked, read_logprobs

PARALLEL = 8  # calls in flight
GIVE_UP = 8  # prompts that reached nobody before any was answered
TIRED = 64  # prompts in a row that failed after all tries, whatever was answered before
_KEYS = ("TRUSTLLM_API_KEY", "OPENAI_API_KEY")
_HELLO: dict[str, Any] = {"max_tokens": 1, "temperature": 0}
_TURN = [{"role": "user", "content": "Hello"}]
_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTER}


class Endpoint:
    """See LanguageModel. A prompt that fails after all tries becomes an answer with finish "error",
    which the next run asks again.

    Args:
        caller: how the server is called.
        model: its name there.
        chat: chat completions; else plain ones, the prompt as it is.
        parallel: calls in flight (8, or what TRUSTLLM_ENDPOINT_PARALLEL says).

    Raises:
        SettingsError: TRUSTLLM_ENDPOINT_PARALLEL is no number from 1 on.
    """

    def __init__(self, caller: Caller, model: str, chat: bool = True, parallel: int = 0) -> None:
        self.caller, self.model, self.chat = caller, model, chat
        self.parallel = parallel or _parallel()
        self.name = re.sub(r"[^\w.@+-]+", "-", model)
        self._shows: bool | None = None  # log-probabilities; None: not asked yet

    def plain(self) -> Endpoint:
        """The same model by plain completions: it goes on with the prompt's text."""
        return Endpoint(self.caller, self.model, chat=False, parallel=self.parallel)

    @cached_property
    def offered(self) -> bool:
        """Whether the server takes this form of completions; asked by one short call.

        A server that is down is taken to do so, as in `of`. Raises SettingsError: a refused key.
        """
        once = replace(self.caller, attempts=1)
        said = {"messages": _TURN} if self.chat else {"prompt": "Hello"}
        try:
            once.post(self._path, _HELLO | {"model": self.model} | said, self._read)
        except Passing:
            return True
        except CallFailed:
            return False
        return True

    @classmethod
    def of(cls, spec: str) -> Endpoint:
        """From http://host:port/v1#model.

        Without a name after #, the server must offer exactly one model. Chat completions are used,
        or plain ones where the server has no chat; one short call finds out. `?api=chat` or
        `?api=completions` before the # says it without a call.

        Raises:
            SettingsError: a key in the address, several models, the key is refused, or the server
                takes no completions for the model.
            SourceMissing: nobody answers there.
        """
        parts = urlsplit(spec)
        if parts.username or parts.password:
            raise SettingsError(
                "the endpoint's address holds a user name or a key",
                remedy=f"pass the key through the environment variable {_KEYS[1]}",
            )
        query = dict(p.partition("=")[::2] for p in parts.query.split("&") if p)
        api = query.get("api", "")
        if set(query) - {"api"} or api not in ("", "chat", "completions"):
            raise SettingsError(
                f"unknown part of the endpoint's address: ?{parts.query}",
                remedy="?api=chat or ?api=completions",
            )
        base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        key = next((os.environ[k] for k in _KEYS if os.environ.get(k)), "")
        caller = Caller(base, key)
        model = parts.fragment or _only_model(caller)
        return cls(caller, model, chat=api == "chat" if api else _has_chat(caller, model))

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
            SourceMissing: the first prompts, or many in a row later on, reached nobody.
            SettingsError: the key is refused.
        """
        for index, done in self._each(requests, self._ask):
            yield [(index, done or _FAILED)]

    def show(
        self, requests: Sequence[Request]
    ) -> Iterator[list[tuple[int, Completion, list[Shown]]]]:
        """As `complete`, with the tokens of each answer; none where the server shows none.

        Raises:
            SourceMissing, SettingsError: as `complete`.
        """
        for index, found in self._each(requests, self._ask_shown):
            yield [(index, *(found or (_FAILED, [])))]

    def _each(self, requests: Sequence[Request], ask: Any) -> Iterator[tuple[int, Any]]:
        """(index, what `ask` gives), as answers come; None for a prompt that failed for good."""
        answered, row = False, 0
        for index, result in self._spread(len(requests), lambda i: ask(requests[i])):
            if not isinstance(result, CallFailed):
                answered, row = True, 0
                yield index, result
                continue
            if isinstance(result, Passing) or result.status == 404:
                row += 1  # any other refusal is about that prompt, too long for instance
            if self._hopeless(result, answered, row, len(requests)):
                raise SourceMissing(
                    f"no answer from {self.caller.base}; the last call: {result.problem}",
                    remedy="see that the server runs, and that address and model are right; then "
                    "run the same command again, it goes on where it was",
                )
            yield index, None

    @staticmethod
    def _hopeless(failure: CallFailed, answered: bool, row: int, asked: int) -> bool:
        """Whether to stop instead of trying thousands of prompts in vain."""
        if row >= TIRED:
            return True
        nobody = isinstance(failure, Unreachable) or failure.status == 404
        return nobody and not answered and row >= min(GIVE_UP, asked)

    def _spread(self, n: int, call: Any) -> Iterator[tuple[int, Any]]:
        """(index, result or CallFailed), `parallel` calls at a time, in the order they end."""
        todo = iter(range(n))
        self.caller.leaving.clear()
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
                self.caller.leaving.set()  # after an error nobody waits for the calls in flight
                pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _path(self) -> str:
        return "chat/completions" if self.chat else "completions"

    def _read(self, data: Any) -> Completion:
        return (_read_chat if self.chat else _read_plain)(data)

    def _body(self, request: Request) -> dict[str, Any]:
        turn = [{"role": "user", "content": request.prompt}]
        return {
            "model": self.model,
            "temperature": request.temperature,
            "max_tokens": request.max_new_tokens,
            **({"seed": request.seed % 2**31} if request.temperature else {}),
            **({"messages": turn} if self.chat else {"prompt": request.prompt}),
        }

    def _ask(self, request: Request) -> Completion:
        return self.caller.post(self._path, self._body(request), self._read)

    def _ask_shown(self, request: Request) -> tuple[Completion, list[Shown]]:
        """Servers that give no log-probabilities send null, or refuse the request: some with the
        status of a refused key. What is refused without them too was refused for another reason."""
        if self._shows is not False:
            try:
                found = self.caller.post(
                    self._path, self._body(request) | asked(self.chat),
                    lambda d: (self._read(d), read_logprobs(d["choices"][0])),
                )  # fmt: skip
                self._shows = True
                return found
            except Passing:
                raise
            except (CallFailed, SettingsError):
                pass
        done = self._ask(request)
        if self._shows is None:  # once it took such a request, a refusal was about that prompt
            self._shows = False
        return done, []

    def score_options(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, list[float]]]:
        """See LanguageModel. Needs plain completions that echo the prompt with log-probabilities.

        A prompt that fails is left out (the next run asks it again) once another has been scored.

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

        offered = False
        for index, result in self._spread(len(prompts), one):
            if not isinstance(result, CallFailed):
                offered = True
                yield index, result
            elif not offered:
                raise SettingsError(
                    f"{self.caller.base} gives no log-probabilities of a given text: {result}",
                    remedy="--no-likelihood leaves this reading out",
                )

    def _nats(self, prompt: str, option: str) -> float:
        body = {
            "model": self.model, "prompt": prompt + option, "max_tokens": 0, "temperature": 0,
            "echo": True, "logprobs": 1,
        }  # fmt: skip
        return self.caller.post(
            "completions", body, lambda d: _between(d, len(prompt), len(prompt + option))
        )


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


def _has_chat(caller: Caller, model: str) -> bool:
    """Whether the server has chat completions for the model.

    A server that is down is taken to have them: what is stored already needs no server, and the
    first prompts that are not stored will say that it is down.

    Raises:
        SettingsError: neither chat nor plain completions, or the key is refused.
    """
    once = replace(caller, attempts=1)
    try:
        once.post("chat/completions", _HELLO | {"model": model, "messages": _TURN}, _read_chat)
        return True
    except Passing:
        return True
    except CallFailed as e:
        chat = e
    try:
        once.post("completions", _HELLO | {"model": model, "prompt": "Hello"}, _read_plain)
        return False
    except Passing:
        return True
    except CallFailed as e:
        raise SettingsError(
            f"{caller.base} takes neither chat (status {chat.status}) nor plain completions "
            f"(status {e.status}) for the model {model!r}"
            + (f": {chat.said}" if chat.said else ""),
            remedy="see that the address ends as the server wants it (often /v1) and that the "
            "model's name after the # is right",
        ) from None


def _parallel() -> int:
    said = os.environ.get("TRUSTLLM_ENDPOINT_PARALLEL", "")
    if said and not (said.isdecimal() and int(said)):
        raise SettingsError(
            f"TRUSTLLM_ENDPOINT_PARALLEL is {said!r}", remedy="a number of calls in flight, from 1"
        )
    return int(said or PARALLEL)


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


def _between(data: Any, start: int, end: int) -> float:
    """Summed log-probability of the tokens that begin at characters `start` to `end` (excluded).

    Servers that make a token though none is asked for put it after `end`.
    """
    given = data["choices"][0]["logprobs"]
    pairs = zip(given["text_offset"], given["token_logprobs"], strict=True)
    found = [nats for offset, nats in pairs if start <= offset < end and nats is not None]
    if not found:
        raise ValueError("no tokens of the option")
    return float(sum(found))
