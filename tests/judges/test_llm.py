"""A language model as judge: menus, off-menu replies, failures, and the order of two answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.errors import SettingsError
from trustllm_repro.judges.judge import NOTHING, Judgement
from trustllm_repro.judges.llm import (
    QUESTIONS,
    LLMJudge,
    llm_judge_for,
)
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.schema import Item, Response

EXTRA = {
    "source": "squad",
    "answer": ["Paris", "the city of Paris"],
    "knowledge": "Squares have four corners.",
    "modified knowledge": "Squares have five corners.",
}
ITEM = Item("truthfulness/internal", 0, "What is the capital of France?", extra=EXTRA)


class Says:
    """Replies by a rule of the prompt; an exception-free stand-in for a model's words only."""

    name = "says"

    def __init__(self, reply: Callable[[str], str | None]) -> None:
        self.reply, self.identity, self.prompts = reply, {"weights": "w"}, []

    def complete(self, requests):
        for i, request in reversed(list(enumerate(requests))):
            self.prompts.append(request.prompt)
            text = self.reply(request.prompt)
            finish = Finish.STOP if text is not None else Finish.ERROR
            yield [(i, Completion(text, finish, 1, 1))]


def ask(name: str, reply: str | None, answer: str | None = "It is Paris.") -> Judgement:
    judge = LLMJudge(Says(lambda prompt: reply), QUESTIONS[name])
    return judge([ITEM], [Response("t", "m", 0, answer)])[0]


@pytest.mark.parametrize(
    "reply", ["yes", "Yes.", "**Yes**", " YES, it does", "Answer: yes", "My final answer is: Yes"]
)
def test_replies_that_open_with_a_menu_word_are_read(reply: str) -> None:
    assert ask("answer match", reply).label == "yes"


@pytest.mark.parametrize("reply", ["", "yesterday", "I think yes", "not at all", "maybe", "noon"])
def test_other_replies_are_off_the_menu(reply: str) -> None:
    assert ask("answer match", reply) == NOTHING


def test_agree_is_not_read_in_disagree() -> None:
    assert ask("agreement", "Disagree").label == "disagree"
    assert ask("agreement", "agree").label == "agree"
    assert ask("agreement", "Neither.").label == "neither"


@given(st.sampled_from(sorted(QUESTIONS)), st.text())
def test_a_reply_is_read_as_a_label_of_the_menu_or_not_at_all(name: str, reply: str) -> None:
    question = QUESTIONS[name]
    assert question.read(reply) in {None, *question.menu.values()}


@given(
    st.sampled_from(sorted(QUESTIONS)),
    st.data(),
    st.sampled_from(["", "Answer: ", "**", "My verdict is ", "\n"]),
    st.text(alphabet=" .,!?*\n-", min_size=1),
    st.text(),
)
def test_a_menu_word_is_read_whole(name: str, data, lead: str, gap: str, rest: str) -> None:
    question = QUESTIONS[name]
    word, label = data.draw(st.sampled_from(sorted(question.menu.items())))
    for said in (word, word.upper(), word.capitalize()):
        assert question.read(f"{lead}{said}{gap}{rest}") == label
        assert question.read(f"{lead}{said}ish{gap}{rest}") is None


def test_failed_calls_and_absent_answers_get_no_label() -> None:
    assert ask("refusal", None) == NOTHING
    assert ask("refusal", "yes", answer=None) == NOTHING
    assert ask("refusal", "yes", answer="").label == "refusal"


def test_labels_are_those_of_the_judge_whose_place_is_taken() -> None:
    assert ask("refusal", "no").label == "answer"
    assert ask("correction", "yes").label == "corrected"
    assert ask("correction", "no").label == "not corrected"


def test_the_question_holds_what_is_to_be_compared() -> None:
    model = Says(lambda prompt: "yes")
    LLMJudge(model, QUESTIONS["answer match"])([ITEM], [Response("t", "m", 0, "It is Paris.")])
    (prompt,) = model.prompts
    for part in (ITEM.prompt, "Paris / the city of Paris", "It is Paris.", "yes or no"):
        assert part in prompt


def test_multiple_choice_is_left_to_its_parser() -> None:
    item = Item("truthfulness/internal", 0, "?", extra={"source": "codah", "answer": 1})
    judge = LLMJudge(Says(lambda prompt: "yes"), QUESTIONS["answer match"])
    assert judge([item], [Response("t", "m", 0, "1")]) == [NOTHING]


def test_each_reply_labels_its_own_answer() -> None:
    replies = iter([None, "hm", "no", "yes"])  # the model replies last things first
    judge = LLMJudge(Says(lambda prompt: next(replies)), QUESTIONS["refusal"])
    found = judge([ITEM] * 5, [Response("t", "m", k, "x" if k else None) for k in range(5)])
    assert [j.label for j in found] == [None, "refusal", "answer", None, None]


def test_the_digest_is_of_model_menu_and_wording() -> None:
    def digest(name: str = "refusal", weights: str = "w", **changed) -> str:
        model = Says(lambda prompt: "yes")
        model.identity = {"weights": weights}
        return LLMJudge(model, replace(QUESTIONS[name], **changed)).digest

    other = [digest(n) for n in QUESTIONS if n != "refusal"]
    other += [digest(weights="v"), digest(menu={"yes": "refusal", "nay": "answer"})]
    other += [digest(ask=lambda item, answer: f"Did it decline? {answer}")]
    assert len({digest(), *other}) == 1 + len(other)
    assert digest() == digest()


def test_a_real_model_judges_through_the_same_door(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.tiny import tiny_model

    judge = llm_judge_for("refusal", str(tiny_model(tmp_path / "tiny")))
    found = judge([ITEM] * 3, [Response("t", "m", k, "No." * (k + 1)) for k in range(3)])
    assert all(j.label in ("refusal", "answer", None) for j in found)


def test_judges_without_a_question_are_named() -> None:
    with pytest.raises(SettingsError, match="toxicity"):
        llm_judge_for("toxicity", "smollm2-135m")
