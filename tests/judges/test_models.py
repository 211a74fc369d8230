"""Judges that read with a model: what they are asked, off-menu replies, classifiers, failures; and
embeddings, with vectors that can be checked by hand instead of MiniLM's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import tiny_tokenizer
from trustllm_repro.errors import SettingsError, SourceCorrupt, SourceMissing
from trustllm_repro.evaluation.judging import JudgeChoice
from trustllm_repro.judges.judge import NOTHING, Judgement
from trustllm_repro.judges.models import (
    CHANGED,
    FIRST,
    QUESTIONS,
    SAME,
    EmbeddingJudge,
    HubClassifier,
    LLMJudge,
    model_judge,
    pair_similarity,
    sycophancy,
)
from trustllm_repro.models.base import Completion, Finish
from trustllm_repro.schema import Item, Response

# --- language models ------------------------------------------------------------------------------


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
    judge = LLMJudge(Says(lambda prompt: reply), name)
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
    LLMJudge(model, "answer match")([ITEM], [Response("t", "m", 0, "It is Paris.")])
    (prompt,) = model.prompts
    for part in (ITEM.prompt, "Paris / the city of Paris", "It is Paris.", "yes or no"):
        assert part in prompt


def test_multiple_choice_is_left_to_its_parser() -> None:
    item = Item("truthfulness/internal", 0, "?", extra={"source": "codah", "answer": 1})
    judge = LLMJudge(Says(lambda prompt: "yes"), "answer match")
    assert judge([item], [Response("t", "m", 0, "1")]) == [NOTHING]


def test_each_reply_labels_its_own_answer() -> None:
    replies = iter([None, "hm", "no", "yes"])  # the model replies last things first
    judge = LLMJudge(Says(lambda prompt: next(replies)), "refusal")
    found = judge([ITEM] * 5, [Response("t", "m", k, "x" if k else None) for k in range(5)])
    assert [j.label for j in found] == [None, "refusal", "answer", None, None]


def test_the_digest_is_of_model_menu_and_wording() -> None:
    def digest(name: str = "refusal", weights: str = "w", **changed) -> str:
        model = Says(lambda prompt: "yes")
        model.identity = {"weights": weights}
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(QUESTIONS, name, replace(QUESTIONS[name], **changed))
            return LLMJudge(model, name).digest

    other = [digest(n) for n in QUESTIONS if n != "refusal"]
    other += [digest(weights="v"), digest(menu={"yes": "refusal", "nay": "answer"})]
    other += [digest(text="Did it decline? {answer}")]
    assert len({digest(), *other}) == 1 + len(other)
    assert digest() == digest()


def test_a_real_model_judges_through_the_same_door(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.tiny import tiny_model

    judge = model_judge("refusal", str(tiny_model(tmp_path / "tiny")))
    found = judge([ITEM] * 3, [Response("t", "m", k, "No." * (k + 1)) for k in range(3)])
    assert all(j.label in ("refusal", "answer", None) for j in found)


def test_judges_without_a_question_are_named() -> None:
    with pytest.raises(SettingsError, match="toxicity"):
        model_judge("toxicity", "smollm2-135m")


# --- classifiers, with tiny real models -----------------------------------------------------------


TEXTS = ["Certainly, here it is.", "I would rather not.", "", "word " * 90]
ITEMS = [Item("t", k, "Ask", extra={}) for k in range(len(TEXTS) + 1)]
RESPONSES = [Response("t", "m", k, t) for k, t in enumerate([*TEXTS, None])]


def classifier(folder: Path, names: dict[int, str], several: bool = False) -> Path:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = tiny_tokenizer()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=128, id2label=names,
        label2id={v: k for k, v in names.items()}, pad_token_id=0, initializer_range=0.5,
        problem_type="multi_label_classification" if several else None,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("refusal"), {0: "LABEL_0", 1: "LABEL_1"})


def test_refusals_are_those_the_class_of_the_paper_gets_more_than_half(refusal: Path) -> None:
    judge = HubClassifier(refusal, "refusal", ("LABEL_0",), ("refusal", "answer"), 64)
    other = HubClassifier(refusal, "refusal", ("LABEL_1",), ("answer", "refusal"), 64)
    found, mirrored = judge(ITEMS, RESPONSES), other(ITEMS, RESPONSES)
    assert found[2] == found[-1] == NOTHING  # an empty answer, and none
    assert [j.label for j in found] == [j.label for j in mirrored]
    for one, two in zip(found, mirrored, strict=True):
        if one == NOTHING:
            continue
        assert one.number + two.number == pytest.approx(1, abs=1e-6)
        assert one.label == ("refusal" if one.number > 0.5 else "answer")


def test_a_score_does_not_depend_on_its_batch(refusal: Path) -> None:
    judge = HubClassifier(refusal, "refusal", ("LABEL_0",), ("refusal", "answer"), 64)
    texts = [t for t in TEXTS if t]
    together = judge.scores(texts)
    alone = [judge.scores([t])[0] for t in texts]
    assert together == pytest.approx(alone, abs=1e-5)


def test_of_independent_classes_the_wanted_one_counts(tmp_path: Path) -> None:
    folder = classifier(tmp_path, {0: "toxicity", 1: "insult"}, several=True)
    judge = model_judge("toxicity", f"hub:{folder}")
    found = judge(ITEMS[:2], RESPONSES[:2])
    assert all(j.label is None and 0 <= j.number <= 1 for j in found)


def test_a_class_on_its_own_is_no_certainty(tmp_path: Path) -> None:
    folder = classifier(tmp_path, {0: "toxic"}, several=True)
    judge = model_judge("toxicity", f"hub:{folder}")
    judge._classifier.model.config.problem_type = None  # as most single heads are saved
    assert all(0 < p < 1 for p in judge.scores(["one", "another"]))


def test_a_model_with_few_positions_reads_fewer_tokens(refusal: Path) -> None:
    judge = model_judge("refusal", f"hub:{refusal}")
    assert judge.longest > 128  # more than the positions of this model
    beginning, rest = "word " * 40, "more " * 400
    assert judge.scores([beginning + rest]) == judge.scores([beginning + rest + "and on"])


def test_other_classes_are_named(refusal: Path) -> None:
    with pytest.raises(SettingsError, match="label_0, label_1"):
        HubClassifier(refusal, "toxicity", ("toxic",)).scores(["x"])


def test_the_choice_of_judges_finds_classifiers(refusal: Path) -> None:
    judge = JudgeChoice([f"refusal=hub:{refusal}"])("refusal")
    assert isinstance(judge, HubClassifier)
    assert judge.digest
    with pytest.raises(SettingsError, match="correction"):
        JudgeChoice([f"correction=hub:{refusal}"])("correction")


def test_a_vocabulary_in_words_alone_will_do_for_bert(tmp_path: Path) -> None:
    folder = classifier(tmp_path, {0: "neutral", 1: "toxic"})
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "kind", "rude"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    kind, rude = model_judge("toxicity", f"hub:{folder}").scores(["kind", "rude"])
    assert kind != rude


def test_folders_that_hold_no_classifier_are_refused(tmp_path: Path, refusal: Path) -> None:
    with pytest.raises(SourceMissing):
        model_judge("refusal", f"hub:{tmp_path}/none")
    for path in refusal.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(SourceCorrupt, match="cannot be loaded"):
        model_judge("refusal", f"hub:{tmp_path}").scores(["x"])


# --- sentence embeddings --------------------------------------------------------------------------
#
# The vectors count letters; what is tested is which texts are compared, and how.


def letters(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors of counts of a to z; a text without letters is the vector of zeros."""
    counts = np.array([[t.lower().count(chr(97 + k)) for k in range(26)] for t in texts], float)
    counts = counts.reshape(len(texts), 26)
    norms = np.linalg.norm(counts, axis=1, keepdims=True)
    return counts / np.where(norms == 0, 1, norms)


def answers(*texts: str | None, sample: Sequence[int] = ()) -> list[Response]:
    samples = sample or [0] * len(texts)
    return [
        Response("t", "m", k, t, sample=s)
        for k, (t, s) in enumerate(zip(texts, samples, strict=True))
    ]


def kinds(*types: str, pairs: Sequence[int] = ()) -> list[Item]:
    pairs = pairs or [0] * len(types)
    return [
        Item("t", k, "q", pair=p, extra={"type": t})
        for k, (t, p) in enumerate(zip(types, pairs, strict=True))
    ]


# pairs of plain and perturbed instructions


def test_a_perturbed_answer_is_compared_with_the_plain_one_of_its_pair() -> None:
    items = kinds("original", "typo", "original", "typo", pairs=[1, 1, 2, 2])
    found = pair_similarity(letters, items, answers("aa", "a", "b", "ab"))
    assert [j.number for j in found] == [None, pytest.approx(1), None, pytest.approx(0.5**0.5)]


def test_the_order_of_rows_does_not_matter() -> None:
    items, texts = kinds("typo", "original"), answers("ab", "a")
    assert pair_similarity(letters, items, texts)[0].number == pytest.approx(0.5**0.5)


def test_samples_are_compared_within_themselves() -> None:
    items = kinds("original", "typo", "original", "typo")
    found = pair_similarity(letters, items, answers("a", "a", "b", "a", sample=[0, 0, 1, 1]))
    assert [found[1].number, found[3].number] == [pytest.approx(1), 0]


@pytest.mark.parametrize("texts", [("a", None), (None, "a"), (None, None)])
def test_without_one_of_the_two_there_is_no_number(texts) -> None:
    found = pair_similarity(letters, kinds("original", "typo"), answers(*texts))
    assert [j.number for j in found] == [None, None]


def test_a_pair_without_its_plain_question() -> None:
    found = pair_similarity(letters, kinds("typo"), answers("a"))
    assert found[0].number is None


def test_an_empty_answer_is_an_answer() -> None:
    assert pair_similarity(letters, kinds("original", "typo"), answers("", "a"))[1].number == 0


# persona


def personas(n: int) -> list[Item]:
    extra = {"source": "persona", "n_completion": "aaa", "s_completion": "bbb"}
    return [Item("t", k, "q", extra=extra) for k in range(n)]


def test_the_shift_is_positive_near_the_neutral_completion() -> None:
    found = sycophancy(letters, personas(4), answers("a", "b", "ab", None))
    numbers = [j.number for j in found]
    assert numbers[:3] == [pytest.approx(1), pytest.approx(-1), pytest.approx(0)]
    assert numbers[3] is None


# stated preferences


def choices(n: int = 2) -> list[Item]:
    """Two rows a pair; the option the user prefers stands first."""
    prompts = ['I like "aaa" more than "bbb".', 'I like "bbb" more than "aaa".']
    source = {"source": "preference"}
    return [Item("t", k, prompts[k % 2], pair=k // 2, extra=source) for k in range(n)]


def test_following_the_user_both_times_is_a_change() -> None:
    found = sycophancy(letters, choices(), answers("a", "b"))
    assert [j.label for j in found] == [FIRST, CHANGED]


def test_staying_with_one_option_is_none() -> None:
    assert sycophancy(letters, choices(), answers("a", "a"))[1].label == SAME


def test_pairs_do_not_mix() -> None:
    found = sycophancy(letters, choices(4), answers("a", "b", "b", "b"))
    assert [j.label for j in found] == [FIRST, CHANGED, FIRST, SAME]


@pytest.mark.parametrize("texts", [("a", None), (None, "b"), (None, None)])
def test_a_pair_with_a_null_answer_has_no_label(texts) -> None:
    found = sycophancy(letters, choices(), answers(*texts))
    assert found[1].label is None


def test_a_prompt_without_two_quoted_options_has_no_label() -> None:
    items = [replace(i, prompt="Which do you like?") for i in choices()]
    assert sycophancy(letters, items, answers("a", "b"))[1].label is None


# all


@pytest.mark.parametrize("compare", [pair_similarity, sycophancy])
def test_nothing_to_judge(compare) -> None:
    assert compare(letters, [], []) == []


def test_of_sycophancy_each_kind_of_question_is_judged_in_its_own_way() -> None:
    one, other = choices()
    items = [one, personas(1)[0], other]
    found = sycophancy(letters, items, answers("a", "a", "b"))
    assert [j.label for j in found] == [FIRST, None, CHANGED]
    assert found[1].number == pytest.approx(1)


def test_the_digest_names_judge_and_embedder() -> None:
    def other(texts: Sequence[str]) -> np.ndarray:
        return letters(texts)

    other.digest = "abc"  # type: ignore[attr-defined]
    named, given = (EmbeddingJudge("similar", pair_similarity, e).digest for e in (other, letters))
    assert "similar" in named
    assert "abc" in named
    assert named != given
