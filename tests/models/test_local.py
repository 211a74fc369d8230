"""A model folder that answers: templates, contexts, spoilt weights and too little memory."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file

from tests.models.prompts import answers, one_by_one, requests
from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.models import local
from trustllm_repro.models.base import Finish, Request
from trustllm_repro.models.cpu import packs
from trustllm_repro.models.local import LocalModel, fast_dtype, find_device


def alter(folder, change) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def spoil(folder, letter: str) -> None:
    """Give one letter's embedding no number."""
    token = LocalModel(folder).tokenizer.convert_tokens_to_ids(letter)
    alter(folder, lambda w: w["model.embed_tokens.weight"][token].fill_(float("nan")))


def test_a_chat_template_is_used_and_a_base_model_reads_the_prompt_as_it_is(tiny, base):
    chat, plain = LocalModel(tiny), LocalModel(base)
    read = chat.tokenizer.decode(chat.tokens("Hello"))
    assert read == "<|user|>Hello<|end|><|assistant|>"
    assert plain.tokenizer.decode(plain.tokens("Hello")) == "Hello"
    assert (chat.identity["template"], plain.identity["template"]) == ("chat", "none")


def test_a_model_without_pad_token_answers_as_transformers(base):
    model, asked = LocalModel(base, batch_size=4), requests(8)
    assert model.tokenizer.pad_token_id is None
    assert answers(model, asked) == one_by_one(model, asked)


def test_a_model_with_neither_pad_nor_end_token(copy):
    for name, keys in (
        ("tokenizer_config.json", ("pad_token", "eos_token")),
        ("config.json", ("eos_token_id", "pad_token_id")),
        ("generation_config.json", ("eos_token_id", "pad_token_id")),
    ):
        known = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps({k: v for k, v in known.items() if k not in keys}))
    model = LocalModel(copy)
    assert not model.ends
    got = answers(model, requests(6))
    assert {c.finish for c in got} == {Finish.LENGTH}
    assert [c.new_tokens for c in got] == [r.max_new_tokens for r in requests(6)]


@pytest.mark.parametrize("which", ["tiny", "base"])
def test_an_empty_prompt_is_answered(request, which):
    model = LocalModel(request.getfixturevalue(which))
    empty, other = answers(model, [Request("", 4), Request("Hello", 4)])
    assert empty.new_tokens == 4 or empty.finish is Finish.STOP
    assert empty.prompt_tokens >= 1
    assert other == answers(model, [Request("Hello", 4)])[0]
    assert empty == answers(model, [Request("", 4)])[0]


def test_any_text_is_read(tiny):
    model = LocalModel(tiny)
    texts = ["\0", "\n\n", "\u2028", "日本語 \U0001f600", " " * 50, "<|end|><|user|>"]
    assert len(answers(model, [Request(t, 3) for t in texts])) == len(texts)


def test_the_middle_of_a_long_prompt_is_cut_and_counted(tiny):
    model = LocalModel(tiny)
    assert model.context == 512
    long = "begin " + "middle " * 200 + "end"
    size = len(model.tokens(long))
    (got,) = answers(model, [Request(long, 20)])
    assert got.prompt_tokens == 512 - 20
    assert got.cut_tokens == size - (512 - 20) > 0
    kept, cut = model.fit(model.tokens(long), 20)
    assert cut == got.cut_tokens
    read = model.tokenizer.decode(kept)
    assert read.startswith("<|user|>begin ")
    assert read.endswith("end<|end|><|assistant|>")


def test_a_prompt_that_just_fits_is_not_cut(tiny):
    model = LocalModel(tiny)
    text = "x" * (512 - 20 - len(model.tokens("")))
    fitting, longer = answers(model, [Request(text, 20), Request(text + "x", 20)])
    assert (fitting.prompt_tokens, fitting.cut_tokens) == (492, 0)
    assert (longer.prompt_tokens, longer.cut_tokens) == (492, 1)


def test_no_room_for_a_prompt_is_said(tiny):
    with pytest.raises(SettingsError, match="context of 512 tokens") as caught:
        list(LocalModel(tiny).complete([Request("Hello there", 511)]))
    assert caught.value.remedy


def test_an_answer_may_be_empty(copy):
    # All logits are zero, and the first of equal ones is taken: token 0 ends the answer.
    alter(copy, lambda w: w["lm_head.weight"].zero_())
    got = answers(LocalModel(copy, batch_size=2), requests(5))
    assert [(c.text, c.finish, c.new_tokens) for c in got] == [("", Finish.STOP, 0)] * 5


def test_weights_without_numbers_give_no_answer(copy):
    alter(copy, lambda w: w["lm_head.weight"].fill_(float("nan")))
    for asked in (requests(5), requests(5, temperature=1.0)):
        got = answers(LocalModel(copy), asked)
        assert [(c.text, c.finish, c.new_tokens) for c in got] == [(None, Finish.NAN, 0)] * 5


@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_prompt_without_finite_logits_spoils_no_other(copy, batch_size):
    """Slots are used again: what a spoilt prompt left there must not reach the next one."""
    spoil(copy, "Z")
    # Ever shorter, so that what a longer one left behind stands before the next.
    asked = [Request("ZYYY"[i % 4] + " a" * (90 - i), 6) for i in range(24)]
    good = [r for r in asked if r.prompt[0] != "Z"]
    want = answers(LocalModel(copy, batch_size=batch_size), good)
    assert all(c.finish is not Finish.NAN for c in want)
    got = answers(LocalModel(copy, batch_size=batch_size), asked)
    assert [(c.text, c.finish) for c in got[::4]] == [(None, Finish.NAN)] * 6
    assert [c for c in got if c.finish is not Finish.NAN] == want


class ShortOfMemory:
    """Makes forward passes over more than `most` rows fail as allocators do."""

    def __init__(self, model: LocalModel, most: int, error: Exception) -> None:
        self.most, self.error, self.failed = most, error, 0
        self.handle = model.model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module, args, kwargs) -> None:
        if kwargs["input_ids"].shape[0] > self.most:
            self.failed += 1
            raise self.error


ERRORS = (
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
)


@pytest.mark.parametrize("error", ERRORS, ids=["cpu", "gpu"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_batch_is_halved_when_memory_runs_out(tiny, error, temperature):
    asked = requests(20, temperature=temperature)
    want = answers(LocalModel(tiny, batch_size=16), asked)
    model = LocalModel(tiny, batch_size=16)
    short = ShortOfMemory(model, 3, error)
    assert answers(model, asked) == want  # each once: `answers` checks that
    assert short.failed == 3  # 16, 8, 4
    assert model.batch_size == 2
    assert answers(model, asked) == want  # the smaller batch stays
    assert short.failed == 3


def test_memory_that_does_not_suffice_for_one_row_is_an_error(tiny):
    model = LocalModel(tiny, batch_size=4)
    ShortOfMemory(model, 0, ERRORS[0])
    with pytest.raises(RuntimeError, match="can't allocate"):
        list(model.complete(requests(4)))
    assert model.batch_size == 1


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny):
    model = LocalModel(tiny, batch_size=4)
    short = ShortOfMemory(model, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(model.complete(requests(4)))
    assert (short.failed, model.batch_size) == (1, 4)


def test_the_identity_says_what_decides_the_answers(tiny, base, copy):
    one = LocalModel(tiny).identity
    assert one == LocalModel(copy, name="other", batch_size=3).identity
    assert one != LocalModel(tiny, dtype="bfloat16").identity
    assert one["tokenizer"] != LocalModel(base).identity["tokenizer"]
    alter(copy, lambda w: w["lm_head.weight"][0].add_(1.0))
    assert LocalModel(copy).identity["weights"] != one["weights"]


def test_settings_are_checked(tiny, tmp_path):
    with pytest.raises(SettingsError, match="unknown dtype"):
        LocalModel(tiny, dtype="int3")
    with pytest.raises(SettingsError, match="unknown device"):
        LocalModel(tiny, device="abacus")
    with pytest.raises(SourceMissing, match="not a model folder"):
        LocalModel(tmp_path)
    assert find_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="no GPU"):
            find_device("cuda")


def test_auto_is_one_of_the_two_and_named_in_the_identity(tiny) -> None:
    model = LocalModel(tiny, dtype="auto", device="cpu")
    assert model.dtype == (torch.bfloat16 if packs(torch.bfloat16) else torch.float32)
    assert model.identity == LocalModel(tiny, dtype=model.identity["dtype"]).identity


def test_bfloat16_only_where_it_is_quick(monkeypatch) -> None:
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(local, "packs", lambda asked, has=has: has)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        assert fast_dtype(torch.device("cpu")) == fast_dtype(torch.device("cuda")) == dtype
    assert fast_dtype(torch.device("meta")) == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_loaded_in_the_dtype_asked_for(tiny, dtype):
    model = LocalModel(tiny, dtype=dtype)
    assert {p.dtype for p in model.model.parameters()} == {getattr(torch, dtype)}
    assert len(answers(model, requests(6))) == 6


@pytest.mark.parametrize("keep", [0, 8, 1000])
def test_truncated_weights_are_named_as_damaged(copy, keep):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceCorrupt, match="cannot be loaded") as caught:
        list(LocalModel(copy).complete([Request("Hello", 2)]))
    assert caught.value.remedy


def test_a_damaged_tokenizer_is_named(copy):
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(SourceCorrupt, match="cannot be loaded"):
        LocalModel(copy)


def test_weights_are_copied_out_of_the_file(copy):
    """A file that changes while a run goes on must not change the model."""
    model = LocalModel(copy)
    want = answers(model, requests(4))
    path = copy / "model.safetensors"
    with open(path, "r+b") as f:
        f.write(b"\0" * path.stat().st_size)
    assert answers(model, requests(4)) == want
