"""One HTTP call to a model server, with retries that really retry.

Functions here raise on every failure; tenacity repeats those that may pass. Nothing catches an
error inside a retried function, as the released toolkit does, which turns failures into answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from trustllm_repro.errors import ReproError, SettingsError

PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # statuses that a later try may mend
STRANGERS = 3  # tries to reach a server that never took a call
CONNECT = 10.0  # seconds to wait for a connection; an answer may take far longer
_DENIED = {401: "refused the key", 403: "forbids the call"}


class CallFailed(ReproError):
    """One call gave no answer; the next prompt may fare better.

    `status` is 0 without a reply; `said` is what the server said of it, which may quote the prompt.
    """

    def __init__(self, problem: str, status: int = 0, said: str = "") -> None:
        super().__init__(problem)
        self.status, self.said = status, said


class Passing(CallFailed):
    """A failure that another try may mend; `wait` is what the server asked for, in seconds."""

    def __init__(self, problem: str, status: int = 0, wait: float | None = None) -> None:
        super().__init__(problem, status)
        self.wait = wait


class Unreachable(Passing):
    """Nobody took the call."""


@dataclass
class Caller:
    """Posts JSON to a server.

    Attributes:
        base: address up to and with /v1.
        key: sent as a bearer token, never shown.
        timeout: seconds to wait for an answer.
        attempts: tries per call.
        wait, longest: first and longest pause between tries, seconds; it doubles each time, give or
            take a third, so that calls that failed together do not come back together. What the
            server asks for in Retry-After is kept to, up to `longest`.
        leaving: set to end pauses and further tries, because nobody waits for the answers.
    """

    base: str
    key: str = ""
    timeout: float = 300.0
    attempts: int = 6
    wait: float = 1.0
    longest: float = 60.0
    leaving: Event = field(default_factory=Event, init=False)
    _reached: bool = field(default=False, init=False)

    def post(self, path: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        """`read` of the answer's JSON; an answer it cannot read (KeyError ...) is tried again.

        Raises:
            SettingsError: the key is refused. CallFailed: no usable answer after all tries.
        """
        return self._retrying(lambda: self._once("POST", path, body, read))

    def get(self, path: str, read: Callable[[Any], Any]) -> Any:
        return self._retrying(lambda: self._once("GET", path, None, read))

    def _retrying(self, call: Callable[[], Any]) -> Any:
        retrying = Retrying(
            stop=self._enough,
            retry=retry_if_exception_type(Passing),
            wait=self._pause,
            sleep=self.leaving.wait,
            reraise=True,
        )
        return retrying(call)

    def _enough(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        stranger = isinstance(error, Unreachable) and not self._reached
        tries = min(STRANGERS, self.attempts) if stranger else self.attempts
        return self.leaving.is_set() or state.attempt_number >= tries

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "wait", None)
        if asked is not None:
            return min(asked, self.longest)
        doubled = self.wait * 2 ** (state.attempt_number - 1)
        return min(doubled * random.uniform(2 / 3, 4 / 3), self.longest)

    def _once(
        self, method: str, path: str, body: dict[str, Any] | None, read: Callable[[Any], Any]
    ) -> Any:
        address = f"{self.base}/{path}"
        try:
            reply = requests.request(  # no session: they are not safe among threads
                method, address, json=body, auth=self._sign,
                timeout=(min(CONNECT, self.timeout), self.timeout),
            )  # fmt: skip
        except requests.ConnectionError as e:
            raise Unreachable(f"{address} does not answer: {type(e).__name__}") from None
        except requests.RequestException as e:  # timeouts, broken bodies, endless redirects
            raise Passing(f"{address}: {type(e).__name__}") from None
        self._reached = True
        self._check(reply, address)
        try:
            return read(reply.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
            raise Passing(f"{address} sent an answer of another form: {type(e).__name__}") from None

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Our key or none: without a signer of ours, requests would take one from ~/.netrc."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    @staticmethod
    def _check(reply: requests.Response, address: str) -> None:
        status = reply.status_code
        if status in _DENIED:
            raise SettingsError(
                f"{address} {_DENIED[status]} (status {status})",
                remedy="set OPENAI_API_KEY (or TRUSTLLM_API_KEY) to a key that may use this model",
            )
        if status in PASSING:
            wait = _seconds(reply.headers.get("Retry-After"))
            raise Passing(f"{address}: status {status}", status, wait)
        if status != 200:
            raise CallFailed(f"{address}: status {status}", status, _said(reply))


def _said(reply: requests.Response) -> str:
    """The message of an error in OpenAI's form, on one line, 200 characters at most."""
    try:
        error = reply.json()["error"]
        return " ".join(str(error["message"]).split())[:200]
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # a date; then our own pause is as good
        return None
