"""Programs in answers: found, continued from the prompt, and seen to be broken as early as can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustllm_repro.online.labels.programs import code_of, parses, past_mending, with_tests, written

PROMPT = 'from math import sqrt\n\n\ndef root(x):\n    """The root of x."""\n'
PROBLEM = {
    "prompt": PROMPT,
    "entry_point": "root",
    "test": "def check(f):\n    assert f(4) == 2\n",
}
BODY = "    y = sqrt(x)\n    return y\n"
WHOLE = "def root(x):\n" + BODY
TOLD = f"Gladly:\n```python\n{WHOLE}```\nThat is it."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("Hi\n```py\nx\n```\nbye", "x\n"),
        ("```x```", "x"),
        ("```\n", ""),
        (TOLD, WHOLE),
        (f"{WHOLE}```\n\nThat is it.", WHOLE),
        (f"\n{BODY}```\n\nThat is it.", f"\n{BODY}"),
        ("", ""),
    ],
)
def test_code_in_answers(text: str, code: str) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize("answer", [WHOLE, BODY, TOLD, PROMPT + BODY, BODY + "\nprint(root(9))\n"])
def test_right_answers_of_every_form_pass_their_tests(answer: str) -> None:
    scope: dict = {}
    exec(compile(with_tests(answer, PROBLEM), "made here", "exec"), scope)
    assert scope["root"](9) == 3
    assert parses(written(answer, PROBLEM))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("def root(x):\n    return 1\n", AssertionError),
        ("    return 1\n", AssertionError),
        ("", AssertionError),
        ("def other(x):\n    return x\n", AssertionError),
        ("I would rather not.", SyntaxError),
    ],
)
def test_wrong_answers_fail_them(answer: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        exec(compile(with_tests(answer, PROBLEM), "made here", "exec"), {})


@pytest.mark.parametrize("answer", [WHOLE, BODY, TOLD, PROMPT + BODY])
def test_no_beginning_of_a_right_answer_is_past_mending(answer: str) -> None:
    assert not any(past_mending(answer[:k], PROBLEM) for k in range(len(answer) + 1))


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("def root(x)):\n", True),
        ("def root(x)):", False),  # the line may go on
        ("    y = )\n", True),
        ("```python\ndef root(x:\n    return 1\n", True),
        ("```python\ndef root(x\n", False),
        ("```python\ndef root(x\n```\n", True),
        ("Gladly, (here it is:\n", False),
        ("```pyth", False),
    ],
)
def test_what_no_continuation_can_mend(text: str, broken: bool) -> None:
    assert past_mending(text, PROBLEM) == broken


@given(st.text(alphabet="`\n def(x):=1#'\"\\", max_size=60))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert code_of(text) in text
    assert past_mending(text, PROBLEM) in (True, False)
    assert parses(written(text, PROBLEM)) in (True, False)


@given(
    st.text(alphabet="\n def(x):=1,", max_size=40), st.text(alphabet="\n def(x):=1,", max_size=20)
)
def test_what_is_past_mending_stays_so(text: str, more: str) -> None:
    if past_mending(text, PROBLEM):
        assert past_mending(text + more, PROBLEM)
