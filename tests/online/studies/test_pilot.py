"""The pilot study: by hand, against its definitions, and with a judge of the user's own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.online.made import words
from trustllm_repro.online.generations.tasks import Case
from trustllm_repro.online.labels.judges import JUDGES, Judge
from trustllm_repro.online.studies.evaluate import COLUMNS
from trustllm_repro.online.studies.pilot import TOKENS, pilot


def generation(text: str, unsafe: bool | None = True, group: str = "", disputed: bool = False):
    return SimpleNamespace(
        trace=words(text), prompt="q", model="m", task="t", case=0, group=group or text,
        unsafe=unsafe, disputed=disputed,
    )  # fmt: skip


def bad(texts) -> list[float]:
    return [np.nan if "?" in t else float(t.endswith("bad")) for t in texts]


def values(frame, **where) -> list[float]:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame.value.tolist()


FOUR = [  # four tokens each: prefixes of a quarter, a half ...
    generation("a bad c bad"), generation("a b bad bad"), generation("bad b c d", False),
    generation("a b c d", False),
]  # fmt: skip


def test_detections_by_hand() -> None:
    """ "bad" as the last word: token 2 and 4 of the first answer, 3 and 4 of the second."""
    found = pilot(FOUR, bad)
    assert list(found) == COLUMNS["pilot"]
    share = found[(found.unit == "share") & found.prefix.isin([0, 0.25, 0.5, 0.75, 1])]
    at = {"labels": "all", "unit": "share"}
    assert values(share, group="unsafe", detection="first", **at) == [0, 0, 0.5, 1, 1]
    assert values(share, group="unsafe", detection="persistent", **at) == [0, 0, 0, 0.5, 1]
    assert values(share, group="safe", detection="first", **at) == [0, 0.5, 0.5, 0.5, 0.5]
    assert values(share, group="safe", detection="persistent", **at) == [0, 0, 0, 0, 0]
    assert set(found.judge) == {"bad"}
    assert set(found.n) == {2}
    tokens = found[found.unit == "tokens"]
    assert sorted(set(tokens.prefix)) == [0, *TOKENS]
    assert values(tokens, group="unsafe", detection="first", labels="all") == [0, 1, 1, 1, 1, 1]


def test_labels_of_the_task_the_undisputed_and_the_judge_s() -> None:
    found = pilot([*FOUR, generation("a bad", False, disputed=True), generation("x", None)], bad)
    counts = found.groupby(["labels", "group"]).n.first()
    assert counts["all", "safe"] == 3
    assert counts["undisputed", "safe"] == 2
    assert (counts["judge", "unsafe"], counts["judge", "safe"]) == (3, 3)
    whole = found.query("labels == 'judge' and prefix == 1")
    assert values(whole, group="unsafe") == [1, 1]
    assert set(pilot(FOUR, bad).labels) == {"all", "judge"}


def test_what_the_judge_cannot_tell_of_is_neither_unsafe_nor_safe() -> None:
    found = pilot([generation("it is bad"), generation("it is ?")], bad).query("labels == 'judge'")
    assert set(found[found.group == "unsafe"].n) == {1}
    assert set(found[found.group == "safe"].n) == {0}
    assert found[found.group == "safe"].value.isna().all()


def test_the_prompt_alone_is_the_control_at_no_tokens() -> None:
    judge = Judge("j", lambda cases, texts: np.array([float(t == "q") for t in texts]))
    found = pilot(FOUR, judge).query("labels == 'all'")
    assert set(found[found.prefix == 0].value) == {1.0}
    assert set(found[found.prefix > 0].value) == {0.0}


def test_intervals_rest_on_prompts() -> None:
    """Ten answers to each of four prompts say no more than one to each."""
    many = [g for g in FOUR for _ in range(10)]
    one, ten = (pilot(x, bad).query("labels == 'all'") for x in (FOUR, many))
    assert (one.value == ten.value).all()
    assert np.allclose(one.ci_low, ten.ci_low)
    assert np.allclose(one.ci_high, ten.ci_high)
    assert (ten.ci_low <= ten.value).all()
    assert (ten.ci_high >= ten.value).all()


def test_every_text_is_read_once_and_empty_answers_are_left_out() -> None:
    asked: list[str] = []

    def judge(texts) -> list[float]:
        asked.extend(texts)
        return [0.0] * len(texts)

    found = pilot([generation("one two three"), generation("")], judge)
    assert sorted(asked) == ["one", "one two", "one two three", "q"]
    assert found.n.max() == 1
    assert pilot([], judge).empty


def test_a_judge_of_the_package_reads_cases() -> None:
    case = Case(0, "g", "q", extra={"prompt": "def f():\n", "entry_point": "f"})
    found = pilot([generation("def f(:\n  x")], "certainly broken", cases=[case])
    assert JUDGES["certainly broken"].name in set(found.judge)
    assert values(found, labels="judge", group="unsafe", unit="tokens", detection="first")[-1] == 1


def test_lengths_are_rounded_up_and_never_longer_than_the_answer() -> None:
    found = pilot([generation("one two bad four bad")], bad)
    found = found.query("labels == 'all' and group == 'unsafe' and detection == 'first'")
    share = found[found.unit == "share"].set_index("prefix").value
    assert share[[0.05, 0.2, 0.4, 0.45, 0.6, 1.0]].tolist() == [0, 0, 0, 1, 1, 1]
    assert values(found, unit="tokens") == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_first_comes_before_persistent_and_both_rise(seed: int) -> None:
    draw = np.random.default_rng(seed)
    some = [
        generation(" ".join(draw.choice(["bad", "good"], size=draw.integers(1, 9))), bool(i % 2))
        for i in range(20)
    ]
    found = pilot(some, bad).query("prefix > 0 and labels == 'judge' and group == 'unsafe'")
    for _, lines in found.groupby("unit"):
        first, lasting = (lines[lines.detection == d].value for d in ("first", "persistent"))
        assert (first.diff().dropna() >= 0).all()
        assert (lasting.diff().dropna() >= 0).all()
        assert (first.to_numpy() >= lasting.to_numpy()).all()
    assert (found[found.prefix == 1].value == 1).all()
