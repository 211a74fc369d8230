"""Collection with a tiny model: made once, resumed after a kill, the same either way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.online.made import words
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Request
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations import collect
from trustllm_repro.online.generations.collect import Collector, replies
from trustllm_repro.online.generations.generation import SUFFIX, Generation
from trustllm_repro.online.generations.recorder import generated
from trustllm_repro.online.generations.tasks import Case, OnlineTask
from trustllm_repro.online.monitors.base import Need, all_monitors
from trustllm_repro.online.monitors.texts import POSITIONS

ALL = frozenset(Need)
CASES = [Case(i, str(i), f"Question {i}?") for i in range(5)]
READ = [replace(CASES[0], number=5, answer="A tram. It is red."), replace(CASES[1], answer="")]
TASK = OnlineTask("toy", "nothing", "made here", lambda: CASES, ("toxicity",), max_new_tokens=8)


@pytest.fixture
def collector(model, tmp_path) -> Collector:
    return Collector(model, tmp_path / "online", (1, 2))


def same(one, two) -> bool:
    return (
        one.trace.text == two.trace.text
        and np.allclose(one.trace.logp, two.trace.logp, atol=1e-4)
        and [s.text for s in one.samples] == [s.text for s in two.samples]
        and dict(one.branches) == dict(two.branches)
        and all(np.allclose(one.replies[k], two.replies[k], atol=1e-4) for k in one.replies)
        and one.replies.keys() == two.replies.keys()
    )


@pytest.mark.parametrize("cases", [CASES, READ])
def test_all_monitors_find_what_they_need(collector, cases) -> None:
    seen = collector.collect(TASK, cases, ALL)
    assert [s.prompt for s in seen] == [c.prompt for c in cases]
    assert {len(s.samples) for s in seen} == {5}
    for s in seen:
        assert set(s.trace.hidden) == {1, 2}
        assert set(s.branches) == (set(POSITIONS) if len(s.trace) else set())
        assert set(s.replies) == {"harmful", "supported"}
        for rows in (r for r in s.replies.values() if len(r)):
            assert rows[-1][0] == len(s.trace)
            assert all(0 <= score <= 1 for _, score, _ in rows)
    assert any(len(r) for s in seen for r in s.replies.values())
    for name, monitor in all_monitors().items():
        if not monitor.trained and "meaning" not in name and "embedding" not in name:
            assert [len(x) for x in monitor(seen)] == [len(s.trace) for s in seen], name


def test_given_answers_are_read_and_not_made(collector) -> None:
    seen = collector.collect(TASK, READ, frozenset())
    assert [(s.trace.text, s.trace.finish) for s in seen] == [("A tram. ", "given"), ("", "given")]


def test_nothing_is_made_twice(collector, monkeypatch) -> None:
    first = [collector.collect(TASK, cases, ALL) for cases in (CASES, READ)]

    def never(*args, **kwargs):
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(LocalModel, "decode", never)
    monkeypatch.setattr(LocalModel, "score_options", never)
    monkeypatch.setattr(collect, "given", never)
    for cases, before in zip((CASES, READ), first, strict=True):
        again = collector.collect(TASK, cases, ALL)
        assert all(same(a, b) for a, b in zip(before, again, strict=True))


def test_a_killed_collection_goes_on(collector, model, tmp_path, monkeypatch) -> None:
    """Killed after every call that writes; the end is that of an unbroken run."""
    whole = Collector(model, tmp_path / "whole", (1, 2)).collect(TASK, CASES, ALL)
    monkeypatch.setattr(collect, "BATCH", 2)
    for after in range(12):
        calls = iter(range(10**6))

        def killed(what, done, of, calls=calls, after=after):
            if next(calls) >= after:
                raise KeyboardInterrupt

        collector.say = killed
        try:
            collector.collect(TASK, CASES, ALL)
        except KeyboardInterrupt:
            continue
        break
    collector.say = lambda what, done, of: None
    found = collector.collect(TASK, CASES, ALL)
    assert all(same(a, b) for a, b in zip(found, whole, strict=True))


def test_a_damaged_shard_is_made_again_once_it_is_gone(collector) -> None:
    first = collector.collect(TASK, CASES, frozenset())
    path = next(collector.folder.rglob(f"*{SUFFIX}"))
    path.write_bytes(b"x")
    with pytest.raises(Exception, match="delete that file"):
        collector.collect(TASK, CASES, frozenset())
    path.unlink()
    again = collector.collect(TASK, CASES, frozenset())
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_other_layers_are_other_traces(model, tmp_path) -> None:
    one, two = (Collector(model, tmp_path, layers) for layers in ((1,), (2,)))
    assert set(one.collect(TASK, CASES[:2], frozenset())[0].trace.hidden) == {1}
    assert set(two.collect(TASK, CASES[:2], frozenset())[0].trace.hidden) == {2}
    with pytest.raises(SettingsError, match="no layer 9"):
        Collector(model, tmp_path, (9,)).collect(TASK, CASES[:2], frozenset())


def test_a_model_without_finite_logits_gives_empty_answers(tiny, tmp_path) -> None:
    broken = LocalModel(tiny, device="cpu")
    broken.model.get_input_embeddings().weight.data.fill_(float("nan"))
    seen = Collector(broken, tmp_path, (1,)).collect(TASK, CASES[:3], frozenset())
    assert [(len(s.trace), s.trace.finish) for s in seen] == [(0, "nan")] * 3


def test_a_task_that_continues_its_prompts_knows_no_template(collector, model) -> None:
    continuing = replace(TASK, id="more", continues=True)
    (seen,) = collector.collect(continuing, CASES[:1], frozenset())
    assert seen.trace.prompt_tokens == len("Question 0?")
    assert seen.trace.key != collector.collect(TASK, CASES[:1], frozenset())[0].trace.key
    assert model.identity["template"] == "chat"
    assert len(model.tokens("a")) > 1


def test_several_answers_to_a_prompt_are_drawn_from_the_nucleus(collector, model) -> None:
    drawn = replace(TASK, id="drawn", continues=True, samples=3, temperature=1.0, top_p=0.9)
    cases = drawn.take(6, CASES[:2])
    seen = collector.collect(drawn, cases, frozenset())
    assert len({s.trace.key for s in seen}) == 6
    assert len({s.trace.text for s in seen[:3]}) > 1
    assert [
        same(s, t) for s, t in zip(seen, collector.collect(drawn, cases, frozenset()), strict=True)
    ]
    whole = collector.collect(replace(drawn, top_p=1.0), cases, frozenset())
    narrow = collector.collect(replace(drawn, top_p=1e-6), cases, frozenset())
    assert not {s.trace.key for s in seen} & {s.trace.key for s in whole}
    assert len({s.trace.text for s in narrow[:3]}) == 1
    assert [s.case for s in seen] == [c.number for c in cases]
    assert model.filters == {}


def test_branches_go_on_from_the_next_most_likely_tokens(collector, model) -> None:
    """By hand: the answer up to the position, another token, and what the model says after it."""
    prompt = "Question?"
    ((_, trace),) = next(generated(model, [Request(prompt, 8)]))
    (found,) = collector._branches([Generation(trace, prompt)], 8)
    for name, choose in POSITIONS.items():
        at = choose(trace.entropy)
        wanted = []
        for token in trace.top_ids[at][1:5].tolist():
            begun = (*trace.ids[:at].tolist(), token)
            room = 8 - len(begun)
            (job,) = next(model.decode([Request(prompt, max(room, 1))], begun=[begun]))
            wanted.append(
                model.tokenizer.decode([*begun, *job.ids[:room]], skip_special_tokens=True)
            )
        assert found[name] == wanted


def test_further_answers_depend_on_the_case_only(collector) -> None:
    def keys(*cases: Case) -> list[str]:
        seen = collector.collect(TASK, cases, frozenset({Need.SAMPLES}))
        return [sample.key for g in seen for sample in g.samples]

    assert keys(CASES[3]) == keys(replace(CASES[3], group="other", answer="x"))
    assert len(set(keys(CASES[3], replace(CASES[3], number=4)))) == 10


def test_support_is_averaged_over_sentences_and_answers(collector, monkeypatch) -> None:
    asked = []

    def likely(self, prompts, options):
        asked.extend(p for p in prompts if "Sentence:" in p)
        return (
            (i, [0.0, 0.0] if "is red.\nI" in p else [0.0, 50.0]) for i, p in enumerate(prompts)
        )

    monkeypatch.setattr(LocalModel, "score_options", likely)
    seen = Generation(words("It is red. It is big."), samples=[words("a"), words("b")])
    (found,) = replies(collector._yes, [seen])
    assert len(asked) == 4
    assert found["supported"] == [[6, pytest.approx(0.75), 0.5]]


def test_replies_that_say_neither_are_left_out() -> None:
    says = {"Request": [0.6, np.nan, 0.4], "is red.": [0.2], "is big.": [np.nan]}

    def yes(prompts):
        left = {part: iter(some * 2) for part, some in says.items()}
        return np.array([next(left[next(k for k in left if k in p)]) for p in prompts])

    given = [
        Generation(words("It is red. It is big."), samples=[words("a")]),
        Generation(words("It is big."), samples=[words("b")]),
        Generation(words("It is red.")),
    ]
    found = replies(yes, given)
    assert [r["supported"] for r in found] == [[[6, pytest.approx(0.8), 1]], [], []]
    assert [r["harmful"] for r in found] == [[[6, 0.6, 1]], [], [[3, 0.4, 0]]]
