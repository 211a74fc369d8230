"""A guard before real servers, which are named in TRUSTLLM_SERVERS: URL#model, with blanks between.

Such as llama-cpp-python's (`python -m llama_cpp.server --logits_all True`) and vLLM's (`vllm serve`).
"""

from __future__ import annotations

import os

import pytest

from trustllm_repro.online.guard.guard import Guard
from trustllm_repro.online.guard.watch import ENTROPY, WORDS, watch
from trustllm_repro.paths import data_dir

SERVERS = os.environ.get("TRUSTLLM_SERVERS", "").split()
TOP5 = {"logprobs": True, "top_logprobs": 5}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SERVERS, reason="no server is named in TRUSTLLM_SERVERS"),
]


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard.load(data_dir() / "guards" / "harm-smollm2.guard")


def ask(server: str, **options):
    openai = pytest.importorskip("openai")
    base, _, model = server.partition("#")
    turns = [{"role": "user", "content": "Write two sentences about the sea."}]
    return openai.OpenAI(base_url=base, api_key="none").chat.completions.create(
        model=model, messages=turns, max_tokens=60, temperature=0, **options
    )


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(("shown", "reader"), [({}, WORDS), (TOP5, ENTROPY)])
def test_all_of_a_harmless_answer_comes_out(guard, server, shown, reader) -> None:
    whole = ask(server).choices[0].message.content
    # A reader that is asked for refuses a stream it cannot read.
    pieces = list(guard.watch(ask(server, stream=True, **shown), reader))
    assert "".join(p.text for p in pieces) == whole
    assert not any(p.alarm for p in pieces)
    assert len(pieces) > 5  # it came piece by piece


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("shown", [{}, TOP5])
def test_an_alarm_holds_the_piece_back_and_lets_the_server_go(guard, server, shown) -> None:
    low = dict.fromkeys((WORDS, ENTROPY), -1e9)
    stream = ask(server, stream=True, **shown)
    *before, last = watch(stream, guard.words, guard.entropy, low, guard.most)
    assert (last.text, last.alarm) == ("", True)  # before the first whole word there is no score
    assert len(before) < 4
    assert stream.response.is_closed
    assert ask(server).choices[0].message.content  # it answers the next one
