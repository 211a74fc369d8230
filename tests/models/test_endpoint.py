"""A model behind HTTP: the same answers as here, and no fault of the server costs or doubles a row."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("openai")

from tests.models.server import serving
from trustllm_repro.data.benchmark import MINIATURE, load_benchmark
from trustllm_repro.errors import SettingsError, SourceMissing
from trustllm_repro.evaluation.generate import ResponseStore, Settings, generate, make_plan
from trustllm_repro.models.base import Finish, Request
from trustllm_repro.models.endpoint import FAILURES_IN_A_ROW, Endpoint
from trustllm_repro.models.find import find_model
from trustllm_repro.models.local import LocalModel

PROMPTS = [f"Question {i}: " + "why? " * i for i in range(6)]
REQUESTS = [Request(p, 6) for p in PROMPTS]


def endpoint(address: str, **more) -> Endpoint:
    return Endpoint(address, "tiny", **{"parallel": 4, "timeout": 20.0, "tries": 4, **more})


def answers(model, requests=REQUESTS) -> dict[int, object]:
    found: dict[int, object] = {}
    for some in model.complete(requests):
        for index, done in some:
            assert index not in found
            found[index] = done
    return found


def test_greedy_answers_are_those_of_the_same_model_here(tiny: Path) -> None:
    with serving(tiny) as (address, _):
        assert answers(endpoint(address)) == answers(LocalModel(tiny))


def test_plain_completions_read_the_prompt_as_it_is(base: Path) -> None:
    with serving(base) as (address, desk):
        assert answers(endpoint(address, chat=False)) == answers(LocalModel(base))
        assert all(call["prompt"] in PROMPTS for call in desk.calls)


def test_drawn_answers_follow_the_seed(tiny: Path) -> None:
    requests = [Request(PROMPTS[1], 6, 1.0, seed) for seed in (3, 3, 4)]
    with serving(tiny) as (address, _):
        found = answers(endpoint(address), requests)
    assert found[0] == found[1] != found[2]


PASSING = ["429", "429 0.02", "500", "503", "garbage", "truncated", "no choices", "number", "drop"]


@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass_cost_a_try_and_no_row(tiny: Path, fault: str) -> None:
    with serving(tiny, faults=[None, fault, fault, None]) as (address, desk):
        found = answers(endpoint(address, parallel=1))
        assert found == answers(LocalModel(tiny))
        assert len(desk.calls) == len(REQUESTS) + 2


def test_a_slow_server_is_asked_again(tiny: Path) -> None:
    # The timeout is long enough for the other answers of a busy machine, which must not be late.
    with serving(tiny, faults=["slow"], slow=8) as (address, desk):
        found = answers(endpoint(address, parallel=1, timeout=5))
        assert found == answers(LocalModel(tiny))
        assert len(desk.calls) == len(REQUESTS) + 1


def test_retry_after_is_kept_to_but_not_for_ever(tiny: Path) -> None:
    with serving(tiny, faults=["429 0.3", "429 0.4", None, "429 3600"]) as (address, desk):
        start = time.perf_counter()
        found = answers(endpoint(address, parallel=1), REQUESTS[:2])
        assert 0.3 + 0.4 <= time.perf_counter() - start < 60
        assert len(desk.calls) == 4
    assert [found[i].finish is Finish.ERROR for i in range(2)] == [False, True]


def test_a_prompt_that_fails_for_good_is_an_error_row_and_the_rest_goes_on(tiny: Path) -> None:
    with serving(tiny, faults=[None, "400", None]) as (address, _):
        found = answers(endpoint(address, parallel=1))
    local = answers(LocalModel(tiny))
    assert found[1].finish is Finish.ERROR
    assert found[1].text is None
    assert {i: c for i, c in found.items() if i != 1} == {i: c for i, c in local.items() if i != 1}


def test_a_lone_surrogate_in_a_prompt_stops_nothing(tiny: Path) -> None:
    with serving(tiny) as (address, _):
        found = answers(endpoint(address), [REQUESTS[0], Request("\ud800", 6)])
    assert found.keys() == {0, 1}
    assert Finish.ERROR not in {done.finish for done in found.values()}


@pytest.mark.parametrize(("fault", "finish"), [("null", Finish.STOP), ("filter", Finish.FILTER)])
def test_an_answer_without_content_is_an_empty_one(tiny: Path, fault: str, finish: Finish) -> None:
    with serving(tiny, faults=[fault]) as (address, _):
        (done,) = answers(endpoint(address), REQUESTS[:1]).values()
    assert (done.text, done.finish) == ("", finish)


def test_a_refused_key_stops_the_run_and_is_not_shown(tiny: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-the-right-one")
    with serving(tiny, key="right") as (address, desk):
        with pytest.raises(SettingsError, match="OPENAI_API_KEY") as caught:
            answers(Endpoint.of(f"{address}#tiny"))
        assert desk.calls == []
    assert "not-the-right-one" not in str(caught.value)


def test_the_right_key_is_sent_and_kept_out_of_the_identity(tiny: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with serving(tiny, key="right") as (address, _):
        model = Endpoint.of(f"{address}#tiny")
        assert len(answers(model)) == len(REQUESTS)
        assert "right" not in str(model.identity)


def test_no_key_is_taken_from_a_netrc(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password right\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(tiny, key="right") as (address, _):
        assert len(answers(endpoint(address, key="right"))) == len(REQUESTS)
        with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
            answers(endpoint(address))


def test_nothing_is_sent_to_where_a_server_points(tiny: Path) -> None:
    with serving(tiny) as (elsewhere, other), serving(tiny, key="right") as (address, desk):
        desk.faults = [f"307 {elsewhere}/chat/completions"] * 3
        found = answers(endpoint(address, key="right", parallel=1), REQUESTS[:3])
        assert other.calls == []
    assert {c.finish for c in found.values()} == {Finish.ERROR}


def test_nobody_there_is_said_after_a_few_prompts() -> None:
    model = endpoint("http://127.0.0.1:9/v1", tries=1, parallel=2)
    with pytest.raises(SourceMissing, match="no answer"):
        answers(model, [Request(str(i), 4) for i in range(500)])


def test_a_wrong_path_is_said_after_a_few_prompts(tiny: Path) -> None:
    with serving(tiny) as (address, _), pytest.raises(SourceMissing, match="404"):
        answers(endpoint(address.replace("/v1", "/v9")))


def test_a_server_without_chat_is_asked_for_plain_completions_when_that_is_said(base: Path) -> None:
    with serving(base, chat=False) as (address, _):
        with pytest.raises(SettingsError, match=r"no chat completions.*404.*no chat") as caught:
            Endpoint.of(f"{address}#tiny")
        assert "?api=completions" in caught.value.remedy
        model = Endpoint.of(f"{address}?api=completions#tiny")
        assert model.identity["template"] == "none"
        assert answers(model) == answers(LocalModel(base))


def test_chat_is_found_with_one_call_and_taken_on_trust_when_named(tiny: Path) -> None:
    with serving(tiny) as (address, desk):
        assert Endpoint.of(f"{address}#tiny").identity["template"] == "chat"
        assert len(desk.calls) == 1
        assert Endpoint.of(f"{address}?api=chat#tiny").identity["template"] == "chat"
        assert Endpoint.of(f"{address}?api=completions#tiny").identity["template"] == "none"
        assert len(desk.calls) == 1


def test_a_server_that_is_down_costs_nothing_while_nothing_is_asked() -> None:
    model = Endpoint.of("http://127.0.0.1:9/v1#tiny")
    assert model.identity["template"] == "chat"
    assert list(model.complete([])) == []


def test_prompts_that_are_refused_for_good_never_stop_the_others(tiny: Path) -> None:
    requests = [Request(str(i), 1) for i in range(FAILURES_IN_A_ROW + 10)]
    with serving(tiny, faults=["400"] * (FAILURES_IN_A_ROW + 9)) as (address, _):
        found = answers(endpoint(address, parallel=1), requests)
    assert [c.finish is Finish.ERROR for c in found.values()] == [True] * (
        FAILURES_IN_A_ROW + 9
    ) + [False]


def test_a_server_that_breaks_down_on_the_way_stops_the_run(tiny: Path) -> None:
    requests = [Request(str(i), 1) for i in range(3 * FAILURES_IN_A_ROW)]
    with serving(tiny, faults=[None, *["500"] * 3 * FAILURES_IN_A_ROW]) as (address, desk):
        with pytest.raises(SourceMissing, match="status 500"):
            answers(endpoint(address, parallel=1, tries=1), requests)
        assert len(desk.calls) == 1 + FAILURES_IN_A_ROW


def test_the_second_run_asks_only_what_failed(tiny: Path, tmp_path: Path) -> None:
    settings = Settings(dimensions=("privacy",), limit=2, max_new_tokens=4)
    store = ResponseStore(tmp_path, "tiny")
    with serving(tiny, faults=[None, "400", None, "500", "500", "500", "500"]) as (address, desk):
        model = endpoint(address, parallel=1)
        plan = make_plan(model, load_benchmark(MINIATURE), settings)
        first = generate(model, plan, store)
        assert first.answers == len(plan.asked)
        assert len(store.load()) == len(plan.asked) - 2
        desk.calls.clear()
        assert generate(model, plan, store).answers == 2
        assert len(desk.calls) == 2
        assert generate(model, plan, store).answers == 0
    assert set(store.load()) == {a.key for a in plan.asked}


def test_log_probabilities_of_a_given_text_are_refused() -> None:
    with pytest.raises(SettingsError, match="no log-probabilities"):
        endpoint("http://127.0.0.1:9/v1").score_options(["p"], [["a"]])


def test_the_batch_size_is_the_number_of_calls_in_flight() -> None:
    assert find_model("http://127.0.0.1:9/v1#m", batch_size=3).parallel == 3


def test_the_name_of_the_row_has_no_separators() -> None:
    model = find_model("http://127.0.0.1:9/v1?api=completions#org/x:7b")
    assert (model.name, model.identity["model"]) == ("org-x-7b", "org/x:7b")


@pytest.mark.parametrize(
    "spec",
    [
        "http://user:pass@127.0.0.1:1/v1#m",
        "http://127.0.0.1:1/v1?api=soap#m",
        "http://127.0.0.1:1/v1",
    ],
)
def test_odd_addresses_are_refused(spec: str) -> None:
    with pytest.raises(SettingsError) as caught:
        find_model(spec)
    assert "pass@" not in str(caught.value)
