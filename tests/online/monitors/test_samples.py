"""Sample-based VR and VRO: compared as far as the answers have come."""

from __future__ import annotations

import numpy as np

from tests.online.made import words
from trustllm_repro.online.monitors.base import Generation
from trustllm_repro.online.monitors.samples import MONITORS

VR, VRO = (next(m for m in MONITORS if m.name == f"sample {n}, words") for n in ("VR", "VRO"))
SAME = " ".join(["so"] * 8)


def test_answers_that_part_later_agree_before() -> None:
    seen = Generation(words(SAME + " red"), samples=[words(SAME + " green"), words(SAME + " blue")])
    for monitor in (VR, VRO):
        scores = monitor([seen])[0]
        assert np.isnan(scores[:7]).all()
        assert scores[7] == 0
        assert 0 < scores[8] < 0.2


def test_shorter_samples_count_as_they_ended() -> None:
    seen = Generation(words(SAME + " red"), samples=[words("no"), words("")])
    assert VRO([seen])[0][8] == 1


def test_no_samples_no_score() -> None:
    assert np.isnan(VR([Generation(words("one two"))])[0]).all()
