"""A blank system message in templates of all kinds, made up here."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.tiny import tiny_tokenizer
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.local import LocalModel, blank_turns, rendered

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}<answer>"
# Puts its own message in where none is given, as ChatML of SmolLM2 and Qwen2.5 does.
OWN = "{% if messages[0]['role'] != 'system' %}<system>Be brave.</>{% endif %}" + TURNS
# Takes an empty message for none.
STUBBORN = (
    "{% set given = messages[0]['role'] == 'system' %}"
    "<system>{{ messages[0]['content'] if given and messages[0]['content'] else 'Be brave.' }}</>"
    "<user>{{ messages[-1]['content'] }}</><answer>"
)
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
) + TURNS
# Always says something, whatever the message: here a date, as Llama 3.1.
DATED = (
    "{% set given = messages[0]['role'] == 'system' %}"
    "<system>Today is Monday.{{ messages[0]['content'] | trim if given else '' }}</>"
    "<user>{{ messages[-1]['content'] }}</><answer>"
)


def tokenizer_of(template: str | None):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "default", "blank"),
    [
        (OWN, "<system>Be brave.</><user>Hello</><answer>", "<system></><user>Hello</><answer>"),
        (STUBBORN, "<system>Be brave.</><user>Hello</><answer>",
         "<system> </><user>Hello</><answer>"),
        (REFUSING, "<user>Hello</><answer>", "<user>Hello</><answer>"),
        (TURNS, "<user>Hello</><answer>", "<user>Hello</><answer>"),
        (DATED, "<system>Today is Monday.</><user>Hello</><answer>",
         "<system>Today is Monday.</><user>Hello</><answer>"),
    ],
    ids=["own message", "empty is none", "refuses the role", "puts none in", "always a date"],
)  # fmt: skip
def test_no_message_of_the_templates_own_gets_in(template, default, blank) -> None:
    tokenizer = tokenizer_of(template)
    assert rendered(tokenizer, "Hello") == default
    assert rendered(tokenizer, "Hello", blank_turns(tokenizer)) == blank


@pytest.fixture
def own(copy):
    """A model whose template has a message of its own."""
    tokenizer_of(OWN).save_pretrained(copy)
    return copy


def test_answers_and_options_are_asked_under_the_same_message(own, monkeypatch) -> None:
    texts = {s: LocalModel(own, system=s).tokens("Hello") for s in ("blank", "default")}
    read = LocalModel(own).tokenizer.decode
    assert read(texts["blank"]) == "<system></><user>Hello</><answer>"
    assert "Be brave." in read(texts["default"])
    scores = {
        s: next(iter(LocalModel(own, system=s).score_options(["Hello"], [["yes", "no"]])))[1]
        for s in texts
    }
    assert scores["blank"] != pytest.approx(scores["default"], abs=1e-3)
    bare = LocalModel(own).plain()
    bare_prompt = read(texts["blank"])
    ((_, want),) = bare.score_options([bare_prompt], [["yes", "no"]])
    assert scores["blank"] == pytest.approx(want, abs=1e-4)


def test_the_setting_is_in_the_identity_of_chat_models_only(own, base) -> None:
    default, blank = (LocalModel(own, system=s) for s in ("default", "blank"))
    assert {**default.identity, "system": "blank"} == blank.identity
    assert default.identity == LocalModel(own).identity
    assert LocalModel(base, system="blank").identity == LocalModel(base).identity
    assert LocalModel(base, system="blank").tokens("Hi") == LocalModel(base).tokens("Hi")
    assert blank.plain().identity == default.plain().identity
    assert blank.plain().tokens("Hi") == default.plain().tokens("Hi")
    with pytest.raises(SettingsError, match="unknown system"):
        LocalModel(own, system="none")
