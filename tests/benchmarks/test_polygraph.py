"""The comparison with LM-Polygraph: our side, what is said of both, and theirs where it is installed."""

from __future__ import annotations

import importlib.util
import math

import pytest

pytest.importorskip("torch")

from benchmarks import polygraph
from benchmarks.contenders import contender
from trustllm_repro.errors import SettingsError
from trustllm_repro.models.local import LocalModel

JOB = {"prompts": ["Tell me about trams.", "Why?"], "part": [0, 1], "batch_size": 2,
       "max_new_tokens": 6}  # fmt: skip
INSTALLED = importlib.util.find_spec("lm_polygraph") is not None


def test_estimates_are_those_of_their_definitions(tiny) -> None:
    found = polygraph.here(LocalModel(tiny, device="cpu"), JOB)
    assert set(found) == {0, 1}
    for text, n, sequence, perplexity, mean, tokens, entropies in found.values():
        assert text
        assert n == len(tokens) == len(entropies)
        assert sequence == pytest.approx(math.fsum(tokens))
        assert perplexity == pytest.approx(sequence / n)
        assert mean == pytest.approx(math.fsum(entropies) / n)


def test_agreement_counts_and_measures_what_can_be_compared() -> None:
    ours = {"0": ["a", 2, 3.0, 1.5, 1.0, [1.0, 2.0], [1.0, 1.0]],
            "1": ["b", 2, 3.0, 1.5, 1.0, [1.0, 2.0], [1.0, 1.0]],
            "2": ["c", 1, 9.0, 9.0, 9.0, [9.0], [9.0]]}  # fmt: skip
    theirs = {"0": ["a", 2, 3.1, 1.5, 1.0, [1.0], [1.2]],
              "1": ["b", 3, 7.0, 7.0, 7.0, [1.0, 2.0], [1.0, 1.0]],  # ended by itself
              "2": ["d", 1, 0.0, 0.0, 0.0, [], []]}  # fmt: skip
    found = polygraph.agreement(ours, theirs)
    assert (found["answers"], found["same_text"], found["same_length"]) == (3, 2, 1)
    gaps = found["largest_difference"]
    assert gaps["MaximumSequenceProbability"] == pytest.approx(0.1)
    assert gaps["Perplexity"] == 0
    assert gaps["of any token"] == pytest.approx(0.2)


def test_nothing_in_common_is_no_agreement() -> None:
    found = polygraph.agreement({"0": ["a", 0, 0, 0, 0, [], []]}, {"0": ["b", 0, 0, 0, 0, [], []]})
    assert set(found["largest_difference"].values()) == {None}


def test_contenders_are_there_and_only_ours_has_our_kernels() -> None:
    named = polygraph.contenders(2, "float32")
    assert [c.stock for c in named] == [False, True, True]
    assert contender(named[0].function) is polygraph.here


@pytest.mark.skipif(INSTALLED, reason="LM-Polygraph is installed")
def test_without_lm_polygraph_it_says_how_to_get_it(tiny, capsys) -> None:
    with pytest.raises(SettingsError, match="not installed"):
        polygraph.measure(str(tiny), "float32")
    assert polygraph.main(["--model", str(tiny)]) == 1
    assert "pip install lm-polygraph" in capsys.readouterr().err


@pytest.mark.slow
def test_our_side_is_timed_in_a_process_of_its_own(tiny) -> None:
    found = polygraph.measure(
        str(tiny), "auto", prompts_asked=4, tokens=3, batch_size=2, repeats=1, rivals=False
    )
    ours = found["contenders"][polygraph.OURS]
    assert ours["seconds"]["median"] > 0
    assert ours["new_tokens"] == 4 * 3  # random weights do not end so soon
    assert found["settings"]["dtype"] in ("float32", "bfloat16")


@pytest.mark.skipif(not INSTALLED, reason="LM-Polygraph is not installed")
def test_both_sides_say_the_same(tiny) -> None:
    from benchmarks.polygraph_theirs import lighter

    model = LocalModel(tiny, device="cpu", stock=True)
    ours, theirs = polygraph.here(model, JOB), lighter(model, JOB)
    found = polygraph.agreement(ours, theirs)
    assert found["same_text"] == 2
    assert all(v < 1e-3 for v in found["largest_difference"].values() if v is not None)
