"""Keep transformers' progress bars and advice out of notebooks and terminals, for a while only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence() -> Iterator[None]:
    """While it lasts, transformers draws no bars and reports errors only."""
    from transformers import modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging

    bars, level, gguf_bar = (
        logging.is_progress_bar_enabled(), logging.get_verbosity(), gguf_reader.tqdm,
    )  # fmt: skip
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    gguf_reader.tqdm = lambda tensors, **_: tensors  # this one does not ask the settings
    try:
        yield
    finally:
        gguf_reader.tqdm = gguf_bar
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
