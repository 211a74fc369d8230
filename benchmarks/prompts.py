"""Prompts of mixed length; what is answered does not matter for the time."""

from __future__ import annotations

TOPICS = ("trams", "bread", "rivers", "chess", "bees", "clouds", "bridges", "maps")
ASKS = ("Tell me about {}.", "Write a short story in which {} matter to an old teacher and her dog.",
        "What should a child know about {}, and why? Give three reasons.", "{}?")  # fmt: skip


def prompts(n: int) -> list[str]:
    """n different prompts."""
    return [f"{i}. " + ASKS[i % 4].format(TOPICS[i // 4 % 8]) for i in range(n)]
