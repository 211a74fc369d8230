"""The measurement of what watching costs: it measures what it says."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from trustllm_repro.models.local import LocalModel
from trustllm_repro.online import overhead
from trustllm_repro.online.monitors.base import Need


def test_only_monitors_of_one_pass_are_timed() -> None:
    found = overhead.single_pass()
    assert {"average entropy", "first token", "box abstraction", "SAPLMA"} <= set(found)
    assert not any(
        m.needs & {Need.SAMPLES, Need.BRANCHES, Need.REPLIES, Need.TEXT} for m in found.values()
    )
    assert not {"always", "never"} & set(found)


def test_prompts_differ_and_are_of_mixed_length() -> None:
    some = overhead.prompts(40)
    assert len(set(some)) == 40
    assert max(map(len, some)) > 3 * min(map(len, some))


def test_figures_of_every_batch_size(tiny, tmp_path) -> None:
    out = tmp_path / "o.json"
    assert overhead.main(["--model", str(tiny), "--dtype", "float32", "--device", "cpu",
                          "--repeats", "2", "--out", str(out)]) == 0  # fmt: skip
    found = json.loads(out.read_text())
    assert list(found["batch_size"]) == ["1", "32", "8"]
    assert set(found["monitors"]) == {"all single-pass", "likelihood and entropy"}
    for one in found["batch_size"].values():
        assert one["plain_seconds"] > 0
        assert one["new_tokens"] > 0
        assert one["plain_peak_gpu_gib"] is None
        for contender in found["monitors"]:
            figures = one[contender]
            assert figures["scoring_percent"]["median"] > 0
            for figure in ("recording_percent", "together_percent"):
                span = figures[figure]
                assert span["min"] <= span["median"] <= span["max"]


def test_unknown_models_and_shapes_are_refused(tmp_path, capsys) -> None:
    out = tmp_path / "o.json"
    assert overhead.main(["--model", str(tmp_path / "none"), "--out", str(out)]) == 1
    assert overhead.main(["--shape", "9x", "--out", str(out)]) == 1
    assert "one of: 7b, tiny" in capsys.readouterr().err
    assert overhead.main(["--shape", "tiny", "--device", "cpu"]) == 1
    assert "name a file" in capsys.readouterr().err
    assert not out.exists()


def test_random_weights_of_a_shape_are_watched(tmp_path) -> None:
    found = overhead.of("", "tiny", "bfloat16", "cpu", repeats=1)
    assert found["settings"] == {"shape": "tiny", "dtype": "bfloat16", "repeats": 1}
    assert found["machine"]["gpu"] is None
    assert found["batch_size"]["8"]["new_tokens"] == 16 * 64  # no end token: all are as long


def test_watched_answers_are_the_plain_ones(tiny) -> None:
    model = LocalModel(tiny, device="cpu")
    assert set(overhead.measure(model, tokens=4, repeats=1)) == {"1", "8", "32"}
