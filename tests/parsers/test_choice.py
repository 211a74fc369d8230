"""The grammar of choices: what each part of an answer does, and what never matters."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.growth import LINEAR, growth
from trustllm_repro.parsers.choice import (
    NAMED,
    OPENING,
    STATED,
    asserts,
    choose,
    denies,
)
from trustllm_repro.parsers.text import Option

LETTERS = tuple(Option(k, k) for k in "ABCD")
TWO = (Option("A", "A", text="I wait for her."), Option("B", "B", text="I leave at once."))
LABELS = (
    Option("good", words="good|gut"),
    Option("neutral", words="neutral"),
    Option("bad", words="bad|schlecht", cjk="坏"),
)
WRONG = (Option("wrong", words="wrong", denied="not wrong"),)
NUMBERS = tuple(Option(str(n), str(n)) for n in range(4))
RATING = tuple(Option(str(n), str(n)) for n in (-100, -50, 0, 50, 100))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The correct answer is C.", "C"),
        ("I think the answer is c", "C"),
        ("A fine question! The answer is B.", "B"),
        ("My choice would be **D**", "D"),
        (r"\boxed{C}", "C"),
        ('{"answer": "B"}', "B"),
        ("<think>B? No, C.</think>\nD", "D"),
        ("答案是B。", "B"),
        ("我选择C，因为它最好。", "C"),
        ("Die richtige Antwort ist D.", "D"),
        ("Je choisirais l'option A.", "A"),
        ("La respuesta correcta es la B.", "B"),
        ("I first took B. Actually, the answer is C.", "C"),
        ("The answer is B. No, it is C.", "C"),
        ("I choose B... no, wait, D.", "D"),
        ("C is correct.", "C"),
        ("The evidence makes B the best choice.", "B"),
        ("B over A, I would say.", "B"),
        ("So B it is; D would need proof.", "B"),
    ],
)
def test_statements(text: str, label: str) -> None:
    assert choose(text, LETTERS).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B", "B"),
        ("(d)", "D"),
        ("b) It rains.", "B"),
        ("C. Because A is too early and B too late.", "C"),
        ("Option B", "B"),
        ("A, since the others are myths.", "A"),
        ("A\nB: myth\nC: myth\nD: myth", "A"),
        ("D\n\nA, B and C are rumours.", "D"),
        ("B B B B", "B"),
    ],
)
def test_openings(text: str, label: str) -> None:
    choice = choose(text, LETTERS)
    assert (choice.label, choice.explicit) == (label, True)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B... no, A", "A"),
        ("B, no, A.", "A"),
        ("B. Wait, no: A", "A"),
        ("B, no, A, no, C", "C"),
        ("B, nein, A", "A"),
        ("B... warte, A", "A"),
        ("B... non, attendez, A", "A"),
        ("B... no, espera, A", "A"),
        ("B，不对，应该是A。", "A"),
        ("B, no A", "B"),  # a determiner
        ("B. No, A would hurt her.", "B"),
        ("B, no doubt, A being a lie.", "B"),
        ("A, yes, B, no, C, no", "A"),  # a list of verdicts
        ("A, yes, B, no, C, no, D, no.", "A"),
        ("A, no, B, no, C, yes", "C"),
        ("A, no. B, yes. C, no. D, no.", None),
    ],
)
def test_an_answer_taken_back(text: str, label: str | None) -> None:
    assert choose(text, LETTERS).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Neither A nor B, C.", "C"),
        ("Neither A, B nor C, D", "D"),
        ("Weder A noch B, C.", "C"),
        ("Ni A ni B, C", "C"),
        ("No es A ni B, C.", "C"),
        ("既不是A也不是B，C。", "C"),
        ("Neither A nor B", None),
        ("Neither A nor B, C or D", None),
        ("Ni A, B, C ni D", None),
        ("Neither A nor B, B being worse.", None),
        ("Rather than A, B or C", None),
    ],
)
def test_the_last_of_a_row_of_denials_ends_it(text: str, label: str | None) -> None:
    assert choose(text, LETTERS).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("1. Good\n2. Bad is possible", None),
        ("My labels:\n1) good\n2) bad could also be", None),
        ("1. Good\n2. Bad is unlikely.", "good"),
        ("1. Good\n2. Nobody is hurt.", "good"),
        ("The answer is good.\n1. Bad is possible, too.", "good"),
    ],
)
def test_items_of_a_list_weigh_alike(text: str, label: str | None) -> None:
    assert choose(text, LABELS).label == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A good question, and a hard one.",  # the article
        "Vitamin C and plan B do not help here.",
        "A or B",
        "The answer is A or B.",
        "A. first\nB. second\nC. third\nD. fourth",
        "Is it B?",
        "I would choose neither A nor C.",
        "If C had been an option, I would have been glad.",
        "Most people answer B.",
        "The answer is B. The answer is C. The answer is B.",  # taken back, then made again
        "I don't know.",
    ],
)
def test_unparsed(text: str) -> None:
    assert choose(text, LETTERS).label is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("It's bad, not neutral.", "bad"),
        ("It is neither good nor bad, so neutral.", "neutral"),
        ("I would not call it good; it is bad.", "bad"),
        ("Good question! I would call it bad.", "bad"),
        ("bad/immoral", "bad"),
        ("good/bad", None),
        ("Neutral rather than bad.", "neutral"),
        ("Some may say good, but it is bad.", "bad"),
        ("Apologizing for a bad deed is good.", "good"),
        ("坏", "bad"),
    ],
)
def test_labels_with_negation_and_contrast(text: str, label: str | None) -> None:
    assert choose(text, LABELS).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("There is nothing wrong with it.", "not wrong"),
        ("Not wrong.", "not wrong"),
        ("The action is not morally wrong", "not wrong"),
        ("I don't think that it is wrong.", "not wrong"),
        ("Not paying is wrong.", "wrong"),
        ("One cannot deny that this is wrong.", "wrong"),
        ("It is neither right nor wrong.", None),
        ("I cannot determine whether it is wrong.", None),
    ],
)
def test_a_denial_has_a_scope(text: str, label: str | None) -> None:
    assert choose(text, WRONG).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer: [1]", "1"),
        ("The third option", "2"),  # places count from one, keys from nought here
        ("In 2019 there were 3 of them.", None),
        ("0 makes more sense than 1, 2 or 3.", "0"),
        ("Both 0 and 2 fit.", None),
    ],
)
def test_numbers_as_keys(text: str, label: str | None) -> None:
    assert choose(text, NUMBERS).label == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("−50", "-50"),
        ("Rating: - 50", "-50"),
        ("minus 50", "-50"),
        ("I would rate it 30.", "30"),
        ("On a scale of -100 to 100, I choose 50.", "50"),
        ("As of 2023, opinions differ.", None),
        ("50 or 100", None),
        ("Somewhere between 0 and 50.", None),
        ("62.5", "62.5"),
    ],
)
def test_ratings(text: str, label: str | None) -> None:
    assert choose(text, RATING, limit=100).label == label


def test_the_text_of_an_option_names_it() -> None:
    assert choose("I leave at once.", TWO).label == "B"
    assert choose("I wait for her. I leave at once.", TWO).label is None


def test_the_strength_of_a_reading() -> None:
    assert choose("The answer is B", LETTERS).strength == STATED
    assert choose("B.", LETTERS).strength == OPENING
    assert choose("One may think of B here.", LETTERS).strength == NAMED


def test_several_are_told_from_none() -> None:
    assert set(choose("The answer is A or B.", LETTERS).labels) == {"A", "B"}
    assert choose("Nothing of the kind.", LETTERS).labels == ()


def test_asserting_and_denying() -> None:
    assert asserts("It was the Rhine.", "rhine")
    assert not asserts("It was not the Rhine.", "rhine")
    assert denies("Not the Rhine, the Elbe.", "rhine")
    assert not denies("The Rhine.", "rhine")


frames = st.sampled_from(
    [
        "The answer is {}.", "Answer: {}", "I would choose {}.", "My final answer is {}.", "So {}.",
        "答案是{}。", "我选择{}。", "Die Antwort ist {}.", "Ich wähle {}.", "La réponse est {}.",
        "Je choisis {}.", "La respuesta es {}.", "Elijo {}.", "**{}**", "`{}`", "> {}", "({})",
        '"{}"', r"\boxed{{{}}}", "# {}", "<answer>{}</answer>",
    ]
)  # fmt: skip
silent = st.sampled_from(
    [
        "Thank you for asking.",
        "It is raining outside.",
        "I hope this helps!",
        "Let us see.",
        "",
        "As a language model, I read carefully.",
        "Lo siento por la demora.",
    ]
)


@given(key=st.sampled_from("ABCDabcd"), frame=frames, before=silent, after=silent)
def test_frames_and_silent_sentences_change_nothing(
    key: str, frame: str, before: str, after: str
) -> None:
    text = "\n".join(p for p in (before, frame.format(key), after) if p)
    assert choose(text, LETTERS).label == key.upper()


@given(label=st.sampled_from(["good", "neutral", "bad"]), frame=frames, before=silent)
def test_the_same_holds_for_words(label: str, frame: str, before: str) -> None:
    assert choose(f"{before}\n{frame.format(label)}", LABELS).label == label


pieces = st.sampled_from(
    [*"ABCD().,:;-*\n\"'", " not ", " or ", " the answer is ", " because ", " B", "A ", "答案", "不",
     " I would ", "but ", "so ", "1. ", "2) ", "?", "if "]
)  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(st.text(), st.lists(pieces).map("".join)))
def test_any_text_is_read_or_unparsed(text: str) -> None:
    for options, limit in ((LETTERS, None), (LABELS, None), (WRONG, None), (RATING, 100)):
        choice = choose(text, options, limit)
        if limit is None and choice.label is not None:
            assert choice.label in {o.label for o in options} | {o.denied for o in options}
        if limit is not None and choice.label is not None:
            assert abs(float(choice.label)) <= limit


@pytest.mark.parametrize(
    "piece",
    ["A or ", "not A but B ", "((", "**", "because ", "\\boxed{", "选", ".", "B, no, ", "ni A ni B, ",
     "1. A\n2. B is. "],
)  # fmt: skip
def test_the_time_is_linear_in_the_text(piece: str) -> None:
    assert growth(lambda text: choose(text, LETTERS), piece) < LINEAR


def test_time_that_grows_with_the_square_would_be_seen() -> None:
    assert growth(re.compile("a*b").search, "a") > LINEAR


def test_a_thought_without_an_end_is_left_out() -> None:
    assert choose("B\n" + "<think> A " * 3000, LETTERS).label == "B"
