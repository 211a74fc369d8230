"""A model behind an OpenAI-compatible server: chat or plain completions, log-probabilities if given.

Calls, retries, Retry-After and timeouts are those of the `openai` client; replies are read here,
because servers that only resemble OpenAI's send what its types do not allow. Nothing is loaded, and
no key is ever stored: it is read from the environment and sent to the address given, nowhere else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property, partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import openai

from trustllm_repro.errors import ReproError, SettingsError, SourceMissing
from trustllm_repro.models.base import Completion, Finish, Request
from trustllm_repro.models.logprobs import TokenLogprobs, asked, read_logprobs

PARALLEL = 8  # calls in flight
GIVE_UP = 8  # prompts that reached nobody before any was answered
TIRED = 64  # prompts in a row that failed after all tries, whatever was answered before
CONNECT = 10.0  # seconds to wait for a connection; an answer may take far longer
_KEYS = ("TRUSTLLM_API_KEY", "OPENAI_API_KEY")
_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTER}
_FAILED = Completion(None, Finish.ERROR, 0, 0)


class CallFailed(ReproError):
    """One call gave no answer after all tries; the next prompt may fare better.

    `status` is 0 without a reply; `said` is what the server said of it, which may quote the prompt.
    """

    def __init__(self, problem: str, status: int = 0, said: str = "") -> None:
        super().__init__(problem)
        self.status, self.said = status, said

    @property
    def passing(self) -> bool:
        """Whether a later try may mend it. 200 is a reply that could not be read."""
        return self.status in (0, 200, 408, 409, 429) or self.status >= 500


class Server:
    """Calls one server. `base` is its address up to and with /v1; timeout is in seconds."""

    def __init__(self, base: str, key: str = "", timeout: float = 300.0, tries: int = 6) -> None:
        self.base, self.tries = base, tries
        limits = openai.Timeout(timeout, connect=min(CONNECT, timeout))
        self._client = openai.OpenAI(base_url=base, api_key=key or "none", timeout=limits)

    def call(
        self, path: str, body: Any, read: Callable[[Any], Any], tries: int | None = None
    ) -> Any:
        """`read` of the reply's JSON; a reply it cannot read (KeyError ...) is asked for again.

        Raises:
            SettingsError: the key is refused. CallFailed: no usable reply after all tries.
        """
        address, tries = f"{self.base}/{path}", tries or self.tries
        options: Any = {"max_retries": tries - 1, "follow_redirects": False}
        send = self._client.get if body is None else partial(self._client.post, body=body)
        for _ in range(tries):
            try:
                reply = send(f"/{path}", cast_to=object, options=options)
                return read(json.loads(reply) if isinstance(reply, str) else reply)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as e:
                raise SettingsError(
                    f"{address} refuses the key (status {e.status_code})",
                    remedy=f"set {_KEYS[1]} (or {_KEYS[0]}) to a key that may use this model",
                ) from None
            except openai.APIStatusError as e:
                said = e.body.get("message") if isinstance(e.body, dict) else ""
                said = " ".join(str(said or "").split())[:200]
                raise CallFailed(
                    f"{address}: status {e.status_code}", e.status_code, said
                ) from None
            except openai.APIConnectionError as e:
                raise CallFailed(f"{address} does not answer: {type(e).__name__}") from None
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
                problem = f"{address} sent an answer of another form: {type(e).__name__}"
        raise CallFailed(problem, 200)


class Endpoint:
    """See LanguageModel. A prompt that fails after all tries becomes an answer with finish "error",
    which the next run asks again.

    Args:
        model: its name on the server.
        chat: chat completions; else plain ones, the prompt as it is.
        parallel: calls in flight (8, or what TRUSTLLM_ENDPOINT_PARALLEL says).

    Raises:
        SettingsError: TRUSTLLM_ENDPOINT_PARALLEL is no number from 1 on.
    """

    def __init__(self, server: Server, model: str, chat: bool = True, parallel: int = 0) -> None:
        self.server, self.model, self.chat = server, model, chat
        self.parallel = parallel or _parallel()
        self.name = re.sub(r"[^\w.@+-]+", "-", model)
        self.identity = {  # what weights answer there, only the server's owner knows
            "endpoint": server.base,
            "model": model,
            "template": "chat" if chat else "none",
        }
        self._shows: bool | None = None  # log-probabilities; None: not asked yet

    @classmethod
    def of(cls, spec: str) -> Endpoint:
        """From http://host:port/v1#model.

        Without a name after #, the server must offer exactly one model. Chat completions are used,
        or plain ones where the server has no chat; one short call finds out. `?api=chat` or
        `?api=completions` before the # says it without a call. A server that is down is taken to
        have chat: answers that are stored need no server, and the first prompt that is not will say
        that it is down.

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
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        api = query.pop("api", "")
        if query or api not in ("", "chat", "completions"):
            raise SettingsError(
                f"unknown part of the endpoint's address: ?{parts.query}",
                remedy="?api=chat or ?api=completions",
            )
        base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        server = Server(base, next((os.environ[k] for k in _KEYS if os.environ.get(k)), ""))
        chat = cls(server, parts.fragment or _only_model(server), api != "completions")
        if api or not (refused := chat._refusal()):
            return chat
        plain = chat.plain()
        if refused_too := plain._refusal():
            raise SettingsError(
                f"{base} takes neither chat (status {refused.status}) nor plain completions "
                f"(status {refused_too.status}) for the model {chat.model!r}"
                + (f": {refused.said}" if refused.said else ""),
                remedy="see that the address ends as the server wants it (often /v1) and that the "
                "model's name after the # is right",
            )
        return plain

    def plain(self) -> Endpoint:
        """The same model by plain completions: it goes on with the prompt's text."""
        return Endpoint(self.server, self.model, chat=False, parallel=self.parallel)

    @cached_property
    def offered(self) -> bool:
        """Whether the server takes this form of completions; asked by one short call.

        A server that is down is taken to do so, as in `of`. Raises SettingsError: a refused key.
        """
        return self._refusal() is None

    def _refusal(self) -> CallFailed | None:
        try:
            self._ask(Request("Hello", 1), tries=1)
        except CallFailed as e:
            return None if e.passing else e
        return None

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
    ) -> Iterator[list[tuple[int, Completion, list[TokenLogprobs]]]]:
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
            if result.passing or result.status == 404:
                row += 1  # any other refusal is about that prompt, too long for instance
            nobody = result.status in (0, 404) and not answered
            if row >= TIRED or (nobody and row >= min(GIVE_UP, len(requests))):
                raise SourceMissing(
                    f"no answer from {self.server.base}; the last call: {result.problem}",
                    remedy="see that the server runs, and that address and model are right; then "
                    "run the same command again, it goes on where it was",
                )
            yield index, None

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
            finally:  # after an error nobody waits for the calls in flight
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, request: Request, tries: int | None = None) -> Completion:
        return self._post(request, {}, lambda data: _completion(data, self.chat), tries)

    def _ask_shown(self, request: Request) -> tuple[Completion, list[TokenLogprobs]]:
        """Servers that give no log-probabilities send null, or refuse the request: some with the
        status of a refused key. What is refused without them too was refused for another reason."""
        if self._shows is not False:
            try:
                found = self._post(
                    request, asked(self.chat),
                    lambda d: (_completion(d, self.chat), read_logprobs(d["choices"][0])),
                )  # fmt: skip
                self._shows = True
                return found
            except (CallFailed, SettingsError) as e:
                if isinstance(e, CallFailed) and e.passing:
                    raise
        done = self._ask(request)
        if self._shows is None:  # once it took such a request, a refusal was about that prompt
            self._shows = False
        return done, []

    def _post(
        self, request: Request, more: dict[str, Any], read: Any, tries: int | None = None
    ) -> Any:
        turn = [{"role": "user", "content": request.prompt}]
        body = {
            "model": self.model,
            "temperature": request.temperature,
            "max_tokens": request.max_new_tokens,
            **({"seed": request.seed % 2**31} if request.temperature else {}),
            **({"messages": turn} if self.chat else {"prompt": request.prompt}),
            **more,
        }
        path = "chat/completions" if self.chat else "completions"
        return self.server.call(path, body, read, tries)

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
                    f"{self.server.base} gives no log-probabilities of a given text: {result}",
                    remedy="--no-likelihood leaves this reading out",
                )

    def _nats(self, prompt: str, option: str) -> float:
        start, end = len(prompt), len(prompt + option)
        echoed = {"max_tokens": 0, "echo": True, "logprobs": 1}
        return self._post(Request(prompt + option), echoed, lambda data: _between(data, start, end))


def _caught(call: Any, i: int) -> Any:
    """The call's result, or its failure; errors that concern all prompts go through."""
    try:
        return call(i)
    except CallFailed as e:
        return e


def _only_model(server: Server) -> str:
    try:
        names = server.call("models", None, lambda d: [str(m["id"]) for m in d["data"]])
    except CallFailed as e:
        raise SourceMissing(
            f"cannot ask {server.base} which models it offers: {e}",
            remedy="name one after a #, as in http://localhost:8000/v1#model",
        ) from e
    if len(names) != 1:
        raise SettingsError(
            f"{server.base} offers {len(names)} models",
            remedy="name one after a #: " + ", ".join(names[:20]),
        )
    return names[0]


def _parallel() -> int:
    said = os.environ.get("TRUSTLLM_ENDPOINT_PARALLEL", "")
    if said and not (said.isdecimal() and int(said)):
        raise SettingsError(
            f"TRUSTLLM_ENDPOINT_PARALLEL is {said!r}", remedy="a number of calls in flight, from 1"
        )
    return int(said or PARALLEL)


def _completion(data: Any, chat: bool) -> Completion:
    """An answer without content (null) is an empty one: the server did answer."""
    choice = data["choices"][0]
    text = choice["message"]["content"] if chat else choice["text"]
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
