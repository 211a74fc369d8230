"""A real HTTP server that runs a real (tiny) model behind the OpenAI interface, with faults to order.

Faults are given as a list: the n-th call to a completion meets the n-th fault, None being none.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

from trustllm_repro.models.base import Finish, Request
from trustllm_repro.models.local import LocalModel

_REASON = {Finish.STOP: "stop", Finish.LENGTH: "length"}


@dataclass
class Desk:
    """What the server's threads share."""

    model: LocalModel
    faults: list[str | None] = field(default_factory=list)
    key: str = ""
    slow: float = 1.0
    chat: bool = True  # whether there are chat completions
    plain: bool = True  # whether there are plain ones
    logprobs: str = "yes"  # or "null", or the status with which they are refused
    spoil: Callable[[dict[str, Any]], Any] = lambda sent: sent  # what becomes of them on the way
    calls: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: threading.Event = field(default_factory=threading.Event)

    def fault(self, body: dict[str, Any]) -> str | None:
        with self.lock:
            self.calls.append(body)
            return self.faults.pop(0) if self.faults else None

    def answer(self, prompt: str, body: dict[str, Any]) -> tuple[str, str, int, int]:
        request = Request(
            prompt, body["max_tokens"], float(body.get("temperature", 0)), body.get("seed", 0)
        )
        with self.lock:
            ((_, done),) = next(iter(self.model.complete([request])))
        return done.text or "", _REASON[done.finish], done.prompt_tokens, done.new_tokens

    def watched(
        self, prompt: str, body: dict[str, Any], chat: bool
    ) -> tuple[str, str, int, int, Any]:
        """As `answer`, with log-probabilities in the form that is asked for."""
        from trustllm_repro.online.generations.recorder import generated

        request = Request(
            prompt, body["max_tokens"], float(body.get("temperature", 0)), body.get("seed", 0)
        )
        with self.lock:
            ((_, trace),) = next(iter(generated(self.model, [request])))
        sent = (self._of_chat if chat else self._of_plain)(trace, body)
        facts = (trace.text, _REASON[trace.finish], trace.prompt_tokens, len(trace))
        return (*facts, self.spoil(sent))

    def _pieces(self, ids: Any) -> list[str]:
        return self.model.tokenizer.batch_decode([[int(i)] for i in ids])

    def _of_chat(self, trace: Any, body: dict[str, Any]) -> dict[str, Any]:
        most = body["top_logprobs"]
        rows = [
            [
                {"token": t, "logprob": float(p), "bytes": list(t.encode())}
                for t, p in zip(self._pieces(ids[:most]), logp[:most], strict=True)
            ]
            for ids, logp in zip(trace.top_ids, trace.top_logp, strict=True)
        ]
        return {
            "content": [
                {"token": t, "logprob": float(p), "bytes": None, "top_logprobs": row}
                for t, p, row in zip(self._pieces(trace.ids), trace.logp, rows, strict=True)
            ]
        }

    def _of_plain(self, trace: Any, body: dict[str, Any]) -> dict[str, Any]:
        tops = zip(trace.top_ids, trace.top_logp, strict=True)
        return {
            "tokens": self._pieces(trace.ids),
            "token_logprobs": [float(p) for p in trace.logp],
            "top_logprobs": [
                dict(zip(self._pieces(i), map(float, p), strict=True)) for i, p in tops
            ],
        }


class Handler(BaseHTTPRequestHandler):
    desk: Desk

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.desk.key and self.headers.get("Authorization") != f"Bearer {self.desk.key}":
            return self._send({"error": "key"}, 401)
        if "chat" in self.path and not self.desk.chat:
            return self._send({"error": {"message": "no chat here"}}, 404)
        fault = self.desk.fault(body)
        if fault and not self._faulty(fault):
            return None
        chat = self.path == "/v1/chat/completions"
        if not chat and (self.path != "/v1/completions" or not self.desk.plain):
            return self._send({"error": "unknown"}, 404)
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        wanted, sent = bool(body.get("logprobs")), None
        if wanted and self.desk.logprobs.isdecimal():
            return self._send({"error": {"message": "no logprobs"}}, int(self.desk.logprobs))
        if wanted and self.desk.logprobs == "yes":
            text, why, read, made, sent = self.desk.watched(prompt, body, chat)
        else:
            text, why, read, made = self.desk.answer(prompt, body)
        choice = {"message": {"content": text}} if chat else {"text": text}
        choice |= {"finish_reason": why, "logprobs": sent}
        usage = {"prompt_tokens": read, "completion_tokens": made}
        return self._send({"choices": [choice], "usage": usage})

    def _faulty(self, fault: str) -> bool:
        """Do what the fault says; True if a proper answer is still to follow."""
        if fault == "slow":
            return not self.desk.closed.wait(self.desk.slow)  # nobody waits for what comes later
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault == "garbage":
            self._raw(b"<html>busy</html>")
        elif fault == "truncated":
            self._raw(b'{"choices": [{"mess')
        elif fault == "no choices":
            self._send({"choices": []})
        elif fault == "number":
            self._send({"choices": [{"message": {"content": 7}}]})
        elif fault == "null":
            self._send({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]})
        elif fault == "filter":
            choice = {"message": {"content": ""}, "finish_reason": "content_filter"}
            self._send({"choices": [choice]})
        elif fault.startswith("307"):
            self._send({}, 307, {"Location": fault.partition(" ")[2]})
        elif fault.startswith("429"):
            self._send({"error": "busy"}, 429, {"Retry-After": fault.partition(" ")[2] or "0"})
        else:
            self._send({"error": fault}, int(fault))
        return False

    def _send(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._raw(json.dumps(data).encode(), status, headers)

    def _raw(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client gave up waiting


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[tuple[str, Desk]]:
    """Address (up to /v1) and desk of a running server."""
    desk = Desk(LocalModel(folder), **settings)
    handler = type("Bound", (Handler,), {"desk": desk})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        with patch("openai._base_client.INITIAL_RETRY_DELAY", 0.01):  # seconds
            yield f"http://127.0.0.1:{server.server_port}/v1", desk
    finally:
        desk.closed.set()
        server.shutdown()
        server.server_close()
        thread.join()
