"""The tiny model of the online tests."""

from tests.online.conftest import model, tiny

__all__ = ["model", "tiny"]
