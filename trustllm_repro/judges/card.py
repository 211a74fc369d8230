"""The model card of the learned judges, written from their measurements."""

from typing import Any


def card(results: dict[str, Any], files: dict[str, Any]) -> str:
    return "# card\n"
