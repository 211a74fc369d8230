"""Progress that keeps what it is told."""

from __future__ import annotations

from trustllm_repro.progress import Progress


class Notes(Progress):
    def __init__(self) -> None:
        self.told: list[str] = []
        self.steps: list[tuple[str, int, int, str]] = []

    def step(self, stage: str, done: int, total: int, more: str = "") -> None:
        self.steps.append((stage, done, total, more))

    def note(self, text: str) -> None:
        self.told.append(text)
