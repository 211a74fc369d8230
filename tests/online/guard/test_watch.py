"""A guard in `generate` and before a server: every token is watched, or an error says why not."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    LlamaForCausalLM,
    StoppingCriteria,
)

from tests.tiny import tiny_model
from trustllm_repro.online.guard.watch import (
    ENTROPY,
    WORDS,
    GuardCriteria,
    PassRecorder,
    Piece,
    Probe,
    Unwatched,
    _hides_last,
)
from trustllm_repro.online.guard.watch import watch as watch_stream
from trustllm_repro.online.monitors.texts import BUCKETS, Words, buckets

LAYERS = (1, 2)
PAD = 0
# Some versions of transformers check drafts where no hook on the model hears it.
SEVERAL = "several tokens|no forward pass"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval().to(DEVICE)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder, padding_side="left")


def probe(seed: int = 0) -> Probe:
    draw = torch.Generator().manual_seed(seed)
    return Probe(LAYERS, torch.randn(64, generator=draw), 0.1)


def watching(model, threshold: float = np.inf, **more) -> GuardCriteria:
    return GuardCriteria(probe(), model, threshold, frozenset({PAD}), **more)


def prompts(rows: int, length: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 250, (rows, length), generator=draw)
    ids = ids.to(DEVICE)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def offline(model, ids: torch.Tensor, mask: torch.Tensor, begin: int) -> np.ndarray:
    """(rows, tokens) scores of the tokens from `begin` on, of one forward pass over all."""
    ear = []
    blocks = model.get_decoder().layers
    handles = [
        blocks[n - 1].register_forward_hook(
            lambda m, a, out: ear.append(out[0] if isinstance(out, tuple) else out)
        )
        for n in LAYERS
    ]
    behind = mask.new_ones(len(ids), ids.shape[1] - mask.shape[1])
    mask = torch.cat([mask, behind], dim=1)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False)
    for handle in handles:
        handle.remove()
    states = torch.cat(ear, dim=-1)[:, begin - 1 : -1].float().cpu().numpy()
    return np.stack([probe().read(s) for s in states])


SAME = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": PAD}


def test_scores_are_those_of_the_finished_text(model) -> None:
    given, criteria = prompts(3), watching(model)
    out = model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[criteria])
    expected = offline(model, out, given["attention_mask"], 6)
    assert np.allclose(criteria.scores, expected, atol=1e-4)
    assert (criteria.alarms == 0).all()


def test_a_row_ends_at_the_alarm_and_the_others_go_on(model) -> None:
    given = prompts(4)
    free = watching(model)
    model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[free])
    threshold = float(np.median(free.scores.max(axis=1)))
    criteria = watching(model, threshold)
    out = model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[criteria])
    hits = free.scores >= threshold
    first = np.where(hits.any(1), hits.argmax(1) + 1, 0)
    assert (criteria.alarms == first).all()
    assert {bool(a) for a in criteria.alarms} == {True, False}
    assert out.shape[1] == 6 + (12 if (first == 0).any() else first.max())


def test_a_second_generation_begins_anew_and_is_watched(model) -> None:
    criteria = watching(model)
    for rows, seed in ((3, 0), (3, 1), (2, 2), (5, 3)):
        given = prompts(rows, seed=seed)
        out = model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[criteria])
        expected = offline(model, out, given["attention_mask"], 6)
        assert np.allclose(criteria.scores, expected, atol=1e-4)


def test_an_answer_goes_on_where_it_was_stopped(model) -> None:
    given, criteria = prompts(2), watching(model)
    settings = {**SAME, "eos_token_id": None, "stopping_criteria": [criteria]}
    half = model.generate(**given, **settings)
    out = model.generate(input_ids=half, attention_mask=torch.ones_like(half), **settings)
    assert np.allclose(criteria.scores, offline(model, out, given["attention_mask"], 6), atol=1e-4)
    assert criteria.scores.shape == (2, 24)


def test_a_cache_that_holds_the_beginning_of_the_prompt(model) -> None:
    given = prompts(1, 8)
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(input_ids=given["input_ids"][:, :5], past_key_values=cache, use_cache=True)
    criteria = watching(model)
    out = model.generate(
        **given, **SAME, eos_token_id=None, past_key_values=cache, stopping_criteria=[criteria]
    )
    assert np.allclose(criteria.scores, offline(model, out, given["attention_mask"], 8), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["static", "dynamic", "offloaded"])
def test_other_caches_and_dtypes_are_watched_or_refused(folder, kind, dtype) -> None:
    """On a GPU, transformers compiles the decoding step for a static cache."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval().to(DEVICE)
    if kind == "offloaded" and DEVICE == "cpu":
        pytest.skip("only GPUs have something to move from")
    given, criteria = prompts(2), watching(model)
    settings = {**SAME, "eos_token_id": None, "cache_implementation": kind}
    try:
        out = model.generate(**given, **settings, stopping_criteria=[criteria])
    except Unwatched:
        assert kind != "dynamic"
        return
    expected = offline(model, out, given["attention_mask"], 6)
    if dtype is torch.float32:
        assert np.allclose(criteria.scores, expected, atol=1e-4)
    else:  # a step and a whole text are rounded differently
        assert np.corrcoef(criteria.scores.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"num_beams": 3}, "beam"),
        ({"prompt_lookup_num_tokens": 3}, SEVERAL),
        ({"guidance_scale": 1.5}, "one forward pass"),
    ],
)
def test_what_cannot_be_watched_is_refused(model, how, what) -> None:
    ids = torch.tensor([[5, 6, 7, 8] * 3], device=DEVICE)
    with pytest.raises(Unwatched, match=what):
        model.generate(
            ids, attention_mask=torch.ones_like(ids), **SAME, **how, eos_token_id=None,
            stopping_criteria=[watching(model)],
        )  # fmt: skip


def test_an_assistant_is_refused(model, folder) -> None:
    assistant = AutoModelForCausalLM.from_pretrained(folder).eval().to(DEVICE)
    with pytest.raises(Unwatched, match=SEVERAL):
        model.generate(
            **prompts(1), **SAME, assistant_model=assistant, stopping_criteria=[watching(model)]
        )


def test_another_model_is_not_heard(model, folder) -> None:
    other = AutoModelForCausalLM.from_pretrained(folder).eval().to(DEVICE)
    with pytest.raises(Unwatched, match="recorded no forward pass"):
        other.generate(**prompts(1), **SAME, stopping_criteria=[watching(model)])


def test_padding_on_the_right_is_refused(model) -> None:
    given = prompts(2)
    given["attention_mask"][0, -2:] = 0
    for more in ({}, {"cache_implementation": "static"}):  # a mask of two dimensions, of four
        with pytest.raises(Unwatched, match="right"):
            model.generate(**given, **SAME, **more, stopping_criteria=[watching(model)])


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("more", [{"cache_implementation": "static"}, {"prefill_chunk_size": 2}])
def test_padding_on_the_left_is_watched(tmp_path, window, more) -> None:
    """Also where a pass ends within it, and where masks come one for each kind of layer."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "m", window=window)).eval()
    given = {k: v.cpu() for k, v in prompts(2).items()}
    given["attention_mask"][0, :3] = 0
    criteria = watching(model)
    asked = {**given, **SAME, "eos_token_id": None}
    out = model.generate(**asked, **more, stopping_criteria=[criteria])
    expected = offline(model, out, given["attention_mask"], 6)
    assert np.allclose(criteria.scores, expected, atol=1e-4)


def test_masks_that_are_not_known_hide() -> None:
    shown = torch.ones(2, 1, 3, 8, dtype=torch.bool)
    shown[..., 5:] = False
    added = torch.where(shown, 0.0, torch.finfo(torch.float32).min)
    for mask in (None, shown, added, {"full": shown, "sliding": added}, shown[:, 0, 0].int()):
        assert not _hides_last(mask, 5)
        assert mask is None or _hides_last(mask, 6)
    assert _hides_last(object(), 5)


def test_drafts_are_refused_though_the_model_cannot_leave_logits_out(folder) -> None:
    """Then nothing in the call tells a draft from a prompt."""

    class Whole(LlamaForCausalLM):
        def forward(
            self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
            use_cache=None, return_dict=None,
        ):  # fmt: skip
            known = locals()
            names = ("input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache")
            return super().forward(**{name: known[name] for name in names})

    model = Whole.from_pretrained(folder).eval().to(DEVICE)
    assistant = AutoModelForCausalLM.from_pretrained(folder).eval().to(DEVICE)
    with pytest.raises(Unwatched):
        model.generate(
            **prompts(1), **SAME, assistant_model=assistant, stopping_criteria=[watching(model)]
        )


def test_a_model_changed_after_the_criteria_were_made(model) -> None:
    asked = {**prompts(1), **SAME, "eos_token_id": None}
    criteria = watching(model)
    model.train()
    with pytest.raises(Unwatched, match="training"):
        model.generate(**asked, stopping_criteria=[criteria])
    model.eval().to(torch.bfloat16)
    with pytest.raises(Unwatched, match="after the criteria"):
        model.generate(**asked, stopping_criteria=[criteria])


def test_criteria_made_in_the_middle_of_a_pass_disturb_nobody(model) -> None:
    """As another thread may do: that pass went by some of its hooks."""
    made: list[GuardCriteria] = []
    last = model.get_decoder().layers[-1]

    def make(*_) -> None:
        if not made:
            made.append(watching(model))

    last.register_forward_hook(make)
    model.generate(**prompts(1), **SAME)
    assert made


def test_states_that_are_not_finite_are_refused(model) -> None:
    with torch.no_grad():
        model.get_decoder().layers[1].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises(Unwatched, match="not finite"):
        model.generate(**prompts(1), **SAME, stopping_criteria=[watching(model)])


def test_an_error_in_a_hook_ends_the_generation(model, monkeypatch) -> None:
    criteria = watching(model)

    def broken(self, states):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Probe, "__call__", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.generate(**prompts(1), **SAME, stopping_criteria=[criteria])


def test_a_generation_after_one_that_failed(model) -> None:
    criteria = watching(model)
    with pytest.raises(Unwatched):
        model.generate(**prompts(1), **SAME, num_beams=2, stopping_criteria=[criteria])
    given = prompts(2)
    out = model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[criteria])
    assert np.allclose(criteria.scores, offline(model, out, given["attention_mask"], 6), atol=1e-4)


def test_an_end_token_that_does_not_end(model) -> None:
    """Rows that `generate` lets go on after what usually ends them are still watched."""
    criteria = GuardCriteria(probe(), model, np.inf, frozenset(range(259)))
    given = prompts(2)
    out = model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[criteria])
    expected = offline(model, out, given["attention_mask"], 6)
    low = float(expected[:, -1].min())
    strict = GuardCriteria(probe(), model, low, frozenset(range(259)))
    model.generate(**given, **SAME, eos_token_id=None, stopping_criteria=[strict])
    assert strict._stopped.all()


def test_threads_do_not_hear_each_other(model) -> None:
    given = [prompts(2, seed=s) for s in range(4)]
    all_criteria = [watching(model) for _ in given]
    found: list = [None] * 4

    def run(i: int) -> None:
        found[i] = model.generate(
            **given[i], **SAME, eos_token_id=None, stopping_criteria=[all_criteria[i]]
        )

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, criteria in enumerate(all_criteria):
        expected = offline(model, found[i], given[i]["attention_mask"], 6)
        assert np.allclose(criteria.scores, expected, atol=1e-4)


@pytest.mark.parametrize("use_cache", [True, False])
def test_one_criteria_object_in_two_generations_at_once_is_refused(model, use_cache) -> None:
    criteria, errors = watching(model), []
    one, two = threading.Event(), threading.Event()
    steps = {0: (one.set, two.wait), 1: (two.set, lambda: None)}

    class Turns(StoppingCriteria):  # the second begins after the first one's first token
        def __init__(self, which: int) -> None:
            self.which = which

        def __call__(self, ids, scores, **kwargs):
            for do in steps[self.which]:
                do()
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    def run(which: int) -> None:
        if which:
            one.wait()
        try:
            model.generate(
                **prompts(1, seed=which), **SAME, eos_token_id=None, use_cache=use_cache,
                stopping_criteria=[criteria, Turns(which)],
            )  # fmt: skip
        except Unwatched as e:
            errors.append(str(e))

    threads = [threading.Thread(target=run, args=(which,)) for which in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert any("two threads" in e for e in errors)


def test_longer_answers_than_those_it_was_fitted_to(model) -> None:
    settings = {**SAME, "eos_token_id": None}
    with pytest.raises(Unwatched, match="more than the 5 tokens"):
        model.generate(**prompts(1), **settings, stopping_criteria=[watching(model, most=5)])
    lenient = watching(model, most=5, strict=False)
    with pytest.warns(UserWarning, match="more than the 5 tokens"):
        model.generate(**prompts(1), **settings, stopping_criteria=[lenient])
    assert lenient.scores.shape[1] > 6


def test_hooks_go_with_the_criteria(model) -> None:
    before = sum(len(m._forward_hooks) for m in model.modules())
    criteria = watching(model)
    assert sum(len(m._forward_hooks) for m in model.modules()) == before + 3
    del criteria
    assert sum(len(m._forward_hooks) for m in model.modules()) == before


def test_generations_that_nobody_watches_are_let_go(model) -> None:
    criteria, caches = watching(model), []
    for seed in range(5):
        cache = DynamicCache(config=model.config)
        model.generate(
            **prompts(1, seed=seed), max_new_tokens=3, do_sample=False, past_key_values=cache
        )
        caches.append(weakref.ref(cache))
        del cache
    gc.collect()
    assert sum(c() is not None for c in caches) <= 2
    model.generate(**prompts(1), max_new_tokens=4, do_sample=False, stopping_criteria=[criteria])
    assert criteria.scores.shape == (1, 4)


@pytest.mark.parametrize("others", [1, 2, 5])
@pytest.mark.parametrize("first", [False, True])
def test_other_passes_between_two_tokens_are_found_however_many(model, others, first) -> None:
    """Such as those of a processor that asks the model for something else."""
    ids = prompts(1, 9, seed=3)["input_ids"]

    def ask(module, args, kwargs=None, output=None) -> None:
        nonlocal busy
        if not busy:
            busy = True
            for _ in range(others):
                model(ids)
            busy = False

    busy, criteria = False, watching(model)
    handle = (
        model.register_forward_pre_hook(ask)
        if first
        else model.register_forward_hook(lambda module, args, output: ask(module, args))
    )
    with pytest.raises(Unwatched, match="one forward pass over all"):
        model.generate(
            **prompts(1), max_new_tokens=4, do_sample=False, stopping_criteria=[criteria]
        )
    handle.remove()


def test_a_layer_that_does_not_exist(model) -> None:
    with pytest.raises(Exception, match="layer 9"):
        PassRecorder(model, (9,))


@pytest.mark.slow
def test_a_thousand_random_generations(model) -> None:
    """Rows, lengths, left padding, end tokens, sampling, no cache, and calls that go on."""
    draw = np.random.default_rng(0)
    criteria = watching(model)
    for run in range(1000):
        rows, length = int(draw.integers(1, 6)), int(draw.integers(1, 12))
        given = prompts(rows, length, seed=run)
        for row in range(rows):
            given["attention_mask"][row, : draw.integers(0, length)] = 0
        torch.manual_seed(run)
        ends = [int(t) for t in draw.integers(0, 259, draw.integers(1, 40))]
        settings = {
            "max_new_tokens": int(draw.integers(1, 10)), "do_sample": bool(draw.integers(0, 2)),
            "use_cache": bool(draw.integers(0, 4)), "eos_token_id": ends, "pad_token_id": PAD,
            "stopping_criteria": [criteria],
        }  # fmt: skip
        criteria.ends = frozenset(ends)
        out = model.generate(**given, **settings)
        if draw.integers(0, 3) == 0:
            mask = given["attention_mask"]
            mask = torch.cat([mask, mask.new_ones(rows, out.shape[1] - length)], dim=1)
            out = model.generate(input_ids=out, attention_mask=mask, **settings)
        expected = offline(model, out, given["attention_mask"], length)
        known = np.isfinite(criteria.scores)
        assert criteria.scores.shape == expected.shape
        assert known[:, 0].all()
        assert np.allclose(criteria.scores[known], expected[known], atol=1e-4), run


BAD = "poison"


def watch(threshold: float, chunks, *readers: str) -> list[Piece]:
    """By words, of which one counts; entropy counts twice."""
    weight = np.zeros(BUCKETS, np.float32)
    weight[buckets([BAD])[0]] = 1.0
    words = Words(model=weight, burn_in=0.0)
    thresholds = dict.fromkeys(readers or (WORDS,), threshold)
    return list(watch_stream(chunks, words, 2.0, thresholds, most=9))


def chunk(text: str, last: bool = False, **more) -> dict:
    return {"choices": [{"index": 0, "delta": {"content": text, **more},
                         "finish_reason": "stop" if last else None}]}  # fmt: skip


class Stream(list):
    closed = False

    def close(self) -> None:
        self.closed = True


def test_an_answer_without_alarm_is_given_out_as_it_came() -> None:
    pieces = ["Hel", "lo, ", "there", "."]
    stream = Stream([chunk(p, p == ".") for p in pieces])
    found = watch(0.5, stream)
    assert [p.text for p in found] == pieces
    assert not any(p.alarm for p in found)
    assert stream.closed


def test_the_alarm_ends_the_stream_and_holds_its_chunk_back() -> None:
    stream = Stream([chunk("take "), chunk("poi"), chunk("son "), chunk("and more")])
    found = watch(0.4, stream)
    assert [p.text for p in found] == ["take ", "poi", ""]
    assert found[-1].alarm
    assert stream.closed


@pytest.mark.parametrize("last", [True, False])
def test_the_last_word_is_read_though_nothing_follows_it(last) -> None:
    found = watch(0.9, Stream([chunk("poi"), chunk("son", last)]))
    assert found[-1].alarm


def test_plain_completions_and_objects() -> None:
    data = {"choices": [{"index": 0, "text": "poison ", "finish_reason": None}]}
    thing = SimpleNamespace(model_dump=lambda: data)
    assert [p.alarm for p in watch(0.5, [thing])] == [True]


def test_chunks_of_use_hold_no_answer() -> None:
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    assert [p.text for p in watch(0.5, [chunk("hi ", True), usage])] == ["hi "]


@pytest.mark.parametrize(
    "field",
    ["tool_calls", "reasoning_content", "function_call", "audio", "thinking_blocks", "images"],
)
def test_what_is_no_text_is_refused(field) -> None:
    with pytest.raises(Unwatched, match=field):
        watch(0.5, [chunk("", **{field: [{"name": "f"}]})])


def test_two_texts_in_one_piece_are_refused() -> None:
    beside = chunk("hello ")
    beside["choices"][0]["text"] = "and this"
    for one in (beside, chunk("hello ", refusal="no")):
        with pytest.raises(Unwatched, match="several texts"):
            watch(0.5, [one])
    beside = chunk("hello ")
    beside["choices"][0]["reasoning_content"] = "hm"
    with pytest.raises(Unwatched, match="reasoning_content"):
        watch(0.5, [beside])


def test_an_empty_reason_is_no_end() -> None:
    """Servers send "" as well as null while the answer goes on; a word must not be cut there."""
    parts = [chunk("poi"), chunk("son "), chunk("", True)]
    for part in parts[:2]:
        part["choices"][0]["finish_reason"] = ""
    assert watch(0.9, parts)[-1].alarm


def test_several_answers_are_refused() -> None:
    two = chunk("a")
    two["choices"].append({"index": 1, "delta": {"content": "b"}})
    other = chunk("a")
    other["choices"][0]["index"] = 1
    for stream in ([two], [other]):
        with pytest.raises(Unwatched, match="several answers"):
            watch(0.5, stream)


def test_an_error_of_the_server_is_not_an_end() -> None:
    def broken():
        yield chunk("hello ")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        watch(0.5, broken())


EVEN = [math.log(1 / 5)] * 5  # an entropy of ln 5
SURE = [0.0, -9999.0, -9999.0, -9999.0, -9999.0]  # as OpenAI sends it: 0


def with_logprobs(text: str, *tops: list[float], last: bool = False) -> dict:
    """A chunk of one token a list of log-probabilities."""
    found = chunk(text, last)
    said = ["x" * bool(text)] * len(tops)
    said[:1] = [text or "x"][: len(tops)]  # the first token is all of the text
    content = [
        {"token": one, "logprob": 0.0,
         "top_logprobs": [{"token": str(k), "logprob": p} for k, p in enumerate(top)]}
        for one, top in zip(said, tops, strict=True)
    ]  # fmt: skip
    found["choices"][0]["logprobs"] = {"content": content}
    return found


def chunk_of_one_token(text: str) -> dict:
    """More text than the token that is shown."""
    found = with_logprobs(text, EVEN)
    found["choices"][0]["logprobs"]["content"][0]["token"] = text[:1]
    return found


BOTH = (WORDS, ENTROPY)


def test_log_probabilities_are_read_where_they_are_shown() -> None:
    stream = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        with_logprobs("good ", EVEN),
        with_logprobs("", SURE),  # some bytes of a character
        with_logprobs("day ", SURE, EVEN),
        chunk("", True),
    ]
    found = watch(9.0, stream, *BOTH)
    assert [p.text for p in found] == ["good ", "day "]
    assert [p.score for p in found] == pytest.approx([2 * math.log(5), math.log(5)])
    assert watch(3.0, stream, *BOTH)[-1] == Piece("", pytest.approx(2 * math.log(5)), alarm=True)


def test_without_them_or_if_asked_to_text_is_read() -> None:
    stream = [with_logprobs("poison ", EVEN), chunk("and ", True)]
    assert [p.score for p in watch(9.0, stream, WORDS)] == [1.0, 0.5]
    for first in (chunk("poison "), with_logprobs("poison ", EVEN[:3])):
        assert [p.score for p in watch(9.0, [first, stream[1]], *BOTH)] == [1.0, 0.5]
    with pytest.raises(Unwatched, match="not begin with log-probabilities"):
        watch(9.0, [chunk("poison ")], ENTROPY)


@pytest.mark.parametrize(
    ("then", "what"),
    [
        (chunk("more "), "comes without its 5"),
        (with_logprobs("more ", EVEN[:3]), "comes without its 5"),
        (with_logprobs("more ", []), "comes without its 5"),
        (with_logprobs("more ", *[SURE] * 9), "more than the 9 tokens"),
        (chunk_of_one_token("several words"), "comes without its 5"),
        ({"error": {"message": "overloaded"}}, "an error"),
    ],
)
def test_a_stream_of_which_something_is_missing_is_refused(then, what) -> None:
    with pytest.raises(Unwatched, match=what):
        watch(99.0, [with_logprobs("good ", EVEN), then, with_logprobs("end", EVEN)], *BOTH)


@pytest.mark.parametrize(
    "thing",
    [
        {"type": "response.output_text.delta", "delta": "hello"},
        {"choices": [{"index": 0, "message": {"content": "hello"}}]},
        {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "hello"}]}}]},
        {"choices": [None]},
        {"choices": {"0": {"delta": {"content": "hello"}}}},
        {"choices": [{"index": 0, "delta": "hello"}]},
        "hello",
    ],
)
def test_what_is_no_chunk_of_a_completion_is_refused(thing) -> None:
    with pytest.raises(Unwatched):
        watch(9.0, [thing])
