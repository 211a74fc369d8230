"""A model behind an OpenAI-compatible server: chat or plain completions, log-probabilities.

Calls, retries, Retry-After, timeouts and errors are those of the `openai` client; replies are read
here, because servers that only resemble OpenAI's send what its types do not allow. The key is read
from the environment and sent to the address given, nowhere else.
"""

from __future__ import annotations

import math
import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import openai

from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.models.base import Completion, Finish, Request

CONCURRENCY = 8  # calls in flight
FIRST_FAILURES = 8  # prompts without a reply before any was answered
FAILURES_IN_A_ROW = 64  # prompts in a row that failed after all tries, whatever was answered before
CONNECT = 10.0  # seconds to wait for a connection; an answer may take far longer
KEY = "OPENAI_API_KEY"  # the environment variable that may hold it
TOP_LOGPROBS = 5  # tokens shown at each place, as many as servers usually give
_NOT_GIVEN = -9999.0  # nats: what OpenAI's servers send for a token that is too unlikely
_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTER}


@dataclass(frozen=True)
class TokenLogprobs:
    """One token of an answer, as a server shows it."""

    said: bytes  # may be part of a character
    nats: float  # its log-probability; NaN where it was not sent
    top: tuple[tuple[str, float], ...] = ()  # (text, nats) of the most likely ones, best first


Shown = tuple[Completion, list[TokenLogprobs]]
Ask = Callable[[Request], Shown]


@dataclass(eq=False)
class Endpoint:
    """See LanguageModel. A prompt that fails after all tries becomes an answer with finish "error",
    which the next run asks again."""

    base: str  # the server's address up to and with /v1
    model: str  # its name on the server
    chat: bool = True  # chat completions; else plain ones, the prompt as it is
    parallel: int = CONCURRENCY  # calls in flight
    key: str = field(default="", repr=False)
    timeout: float = 300.0  # of a call, seconds
    tries: int = 6  # of a prompt
    _shows: bool | None = field(default=None, init=False)  # log-probabilities; None: not asked yet

    @classmethod
    def of(cls, spec: str, parallel: int = 0) -> Endpoint:
        """From http://host:port/v1#model. One short call sees that the server takes chat for it;
        `?api=chat` or `?api=completions` before the # says what it takes, without a call.

        Raises SettingsError: a key in the address, no model, a refused key, or no chat completions.
        """
        parts = urlsplit(spec)
        if parts.username or parts.password:
            raise SettingsError(
                "the endpoint's address holds a user name or a key",
                remedy=f"pass the key through the environment variable {KEY}",
            )
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        api = query.pop("api", "")
        if query or api not in ("", "chat", "completions"):
            raise SettingsError(
                f"unknown part of the endpoint's address: ?{parts.query}",
                remedy="?api=chat or ?api=completions",
            )
        base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        if not parts.fragment:
            raise SettingsError(
                f"the address {base} names no model",
                remedy="name one after a #, as in http://localhost:8000/v1#model",
            )
        chat, key = api != "completions", os.environ.get(KEY, "")
        found = cls(base, parts.fragment, chat, parallel or CONCURRENCY, key)
        if not api and found.refusal:
            raise SettingsError(
                f"{base} takes no chat completions for the model {found.model!r}: {found.refusal}",
                remedy="for a base model write ?api=completions before the #; else see that the "
                "address ends as the server wants it (often /v1), and that the name is right",
            )
        return found

    @property
    def name(self) -> str:
        """See LanguageModel."""
        return re.sub(r"[^\w.@+-]+", "-", self.model)

    @property
    def identity(self) -> dict[str, str]:
        """See LanguageModel. What weights answer there, only the server's owner knows."""
        template = "chat" if self.chat else "none"
        return {"endpoint": self.base, "model": self.model, "template": template}

    def plain(self) -> Endpoint:
        """The same model by plain completions: it goes on with the prompt's text."""
        return replace(self, chat=False)

    @cached_property
    def refusal(self) -> str:
        """Why the server takes no such completions, by one short call; "" if it does, or is down:
        stored answers do not need it, and the first other prompt will say so. Raises SettingsError:
        a refused key."""
        try:
            replace(self, tries=1)._ask(Request("Hello", 1))
        except openai.APIError as e:
            if not _may_pass(e):
                # The message alone: a whole body may echo headers, and so the key.
                said = e.body.get("message") if isinstance(e.body, dict) else None
                said = " ".join(str(said or "").split())[:200]
                return f"status {e.status_code}" + (f", {said}" if said else "")
        return ""

    def complete(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Completion]]]:
        """See LanguageModel. Each answer comes as soon as it is there. Raises SettingsError: the
        key is refused; SourceMissing: the first prompts, or many in a row later, got no reply."""
        for index, done, _ in self._each(requests, self._ask):
            yield [(index, done)]

    def show(self, requests: Sequence[Request]) -> Iterator[tuple[int, *Shown]]:
        """As `complete`, with the tokens of each answer; none where the server shows none."""
        return self._each(requests, self._ask_shown)

    def _each(self, requests: Sequence[Request], ask: Ask) -> Iterator[tuple[int, *Shown]]:
        """(index, what `ask` gives), as answers come; "error" for one that failed for good."""
        answered, row = False, 0
        for index, call in self._calls(requests, ask):
            failed = call.exception()
            if not isinstance(failed, openai.APIError):
                answered, row = True, 0
                yield index, *call.result()
                continue
            if _may_pass(failed) or isinstance(failed, openai.NotFoundError):
                row += 1  # any other refusal is about that prompt, too long for instance
            nobody = isinstance(failed, openai.APIConnectionError | openai.NotFoundError)
            first = nobody and not answered
            if row >= (min(FIRST_FAILURES, len(requests)) if first else FAILURES_IN_A_ROW):
                # A status alone: what the server says of it may quote the prompt.
                replied = isinstance(failed, openai.APIStatusError)
                problem = f"status {failed.status_code}" if replied else failed.message
                raise SourceMissing(
                    f"no answer from {self.base}; the last call: {problem}",
                    remedy="see that the server runs, and that address and model are right; then "
                    "run the same command again, it goes on where it was",
                )
            yield index, Completion(None, Finish.ERROR, 0, 0), []

    def _calls(self, requests: Sequence[Request], ask: Ask) -> Iterator[tuple[int, Future[Shown]]]:
        """(index, its call when it is over), `parallel` at a time, in the order they end."""
        todo, running = iter(enumerate(requests)), {}
        pool = ThreadPoolExecutor(self.parallel)
        try:
            while True:
                for i, request in islice(todo, self.parallel - len(running)):
                    running[pool.submit(ask, request)] = i
                if not running:
                    return
                for call in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(call), call
        finally:  # after an error nobody waits for the calls in flight
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask_shown(self, request: Request) -> Shown:
        """Servers that give no log-probabilities send null, or refuse the request: some with the
        status of a refused key. What is refused without them too was refused for another reason."""
        if self._shows is not False:
            try:
                found = self._ask(request, shown=True)
                self._shows = True
                return found
            except (openai.APIError, SettingsError) as e:
                if isinstance(e, openai.APIError) and _may_pass(e):
                    raise
        found = self._ask(request)
        if self._shows is None:  # once it took such a request, a refusal was about that prompt
            self._shows = False
        return found

    def _ask(self, request: Request, shown: bool = False) -> Shown:
        """One call; a reply that cannot be read is asked for again. Raises SettingsError: the key
        is refused; openai.APIError: no usable reply after all tries."""
        api = self._client.chat.completions if self.chat else self._client.completions
        for _ in range(self.tries):
            try:
                reply = api.with_raw_response.create(**self._body(request, shown)).http_response
            except (openai.AuthenticationError, openai.PermissionDeniedError) as e:
                raise SettingsError(
                    f"{self.base} refuses the key (status {e.status_code})",
                    remedy=f"set {KEY} to a key that may use this model",
                ) from None
            with suppress(ValueError, KeyError, IndexError, TypeError, AttributeError):
                return self._read(reply.json(), shown)
        raise openai.APIResponseValidationError(reply, None)

    @cached_property
    def _client(self) -> openai.OpenAI:
        client = openai.OpenAI(
            base_url=self.base,
            api_key=self.key or "none",
            timeout=openai.Timeout(self.timeout, connect=min(CONNECT, self.timeout)),
            max_retries=self.tries - 1,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        weakref.finalize(self, client.close)  # openai closes only what it made itself
        return client

    def _body(self, request: Request, shown: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": request.temperature,
            "max_tokens": request.max_new_tokens,
        }
        if request.temperature:
            body["seed"] = request.seed % 2**31
        prompt = request.prompt.encode("utf-8", "replace").decode()  # no lone surrogates
        if self.chat:
            body["messages"] = [{"role": "user", "content": prompt}]
            shows = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        else:
            body["prompt"] = prompt
            shows = {"logprobs": TOP_LOGPROBS}
        return body | shows if shown else body

    def _read(self, data: Any, shown: bool) -> Shown:
        """An answer without content (null) is an empty one: the server did answer."""
        choice = data["choices"][0]
        text = choice["message"]["content"] if self.chat else choice["text"]
        if text is not None and not isinstance(text, str):
            raise TypeError("the answer is not a text")
        usage = data.get("usage") or {}
        finish = _FINISH.get(choice.get("finish_reason"), Finish.STOP)
        read, made = (int(usage.get(k) or 0) for k in ("prompt_tokens", "completion_tokens"))
        done = Completion(text or "", finish, read, made)
        return done, read_logprobs(choice) if shown else []

    def score_options(self, prompts: Sequence[str], options: Sequence[Sequence[str]]) -> Any:
        """Raises SettingsError: servers give no log-probabilities of a text they did not make."""
        raise SettingsError(
            "an endpoint gives no log-probabilities of a given text",
            remedy="--no-likelihood leaves this reading out",
        )


def _may_pass(error: openai.APIError) -> bool:
    """Whether a later try may succeed."""
    if not isinstance(error, openai.APIStatusError):  # no reply, or one that cannot be read
        return True
    return error.status_code in (408, 409, 429) or error.status_code >= 500


def read_logprobs(choice: Any) -> list[TokenLogprobs]:
    """The tokens of one of a reply's "choices"; [] if the server shows none, or in no known form.

    Chat has {"content": [{"token", "logprob", "top_logprobs"} ...]}, plain completions {"tokens",
    "token_logprobs", "top_logprobs"}; some servers send the former for both. Nothing here raises:
    a number that is left out is NaN, and one token that cannot be read takes all with it, because
    without it the others have no place in the text.
    """
    try:
        given = choice["logprobs"]
        return [
            TokenLogprobs(_bytes(i), _nats(i.get("logprob")), _top(i.get("top_logprobs")))
            for i in given.get("content") or _as_chat(given)
        ]
    except (AttributeError, KeyError, TypeError):
        return []


def _as_chat(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Plain completions' lists in the form of chat. A list of another length than the tokens' says
    nothing: the token of each value is unknown."""
    tokens = given["tokens"]
    lists = [given.get(name) or () for name in ("token_logprobs", "top_logprobs")]
    nats, tops = (x if len(x) == len(tokens) else [None] * len(tokens) for x in lists)
    return [
        {"token": token, "logprob": p, "top_logprobs": top}
        for token, p, top in zip(tokens, nats, tops, strict=True)
    ]


def _bytes(item: dict[str, Any]) -> bytes:
    """The token's bytes where the server sends them: the text of half a character says nothing."""
    with suppress(TypeError, ValueError):
        if said := bytes(list(item.get("bytes") or ())):
            return said
    return item["token"].encode("utf-8", "surrogatepass")


def _nats(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return min(float(value), 0.0) if _NOT_GIVEN < value <= 1e-3 else math.nan


def _top(top: Any) -> tuple[tuple[str, float], ...]:
    """From chat's list of objects, or the object {text: nats} of plain completions."""
    pairs = (
        top.items() if isinstance(top, dict) else [(o["token"], o["logprob"]) for o in top or ()]
    )
    known = [(str(token), nats) for token, nats in ((t, _nats(p)) for t, p in pairs) if nats <= 0]
    return tuple(sorted(known, key=lambda pair: -pair[1])[:TOP_LOGPROBS])
