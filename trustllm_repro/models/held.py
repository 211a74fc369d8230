"""A model that a notebook holds in memory: fine-tuned, patched or with hooks, asked as any other."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.local import LocalModel
from trustllm_repro.models.sampling import own_filters
from trustllm_repro.models.weights import tokenizer_digest


class HeldModel(LocalModel):
    """A causal language model of transformers (or a wrapper, as for LoRA) with its tokenizer.

    It is used as it is, on its device and in its dtype; nothing is copied or replaced. Its
    identity is a digest of the weights it has now: after training, make another HeldModel.

    Args:
        model: in evaluation mode. name: row in the tables; default: where the model came from.
        batch_size, system, sampling: as for LocalModel.

    Raises:
        SettingsError: the model is in training mode, or LocalModel refuses an argument.
        SourceCorrupt: see models.sampling.own_filters.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        name: str = "",
        batch_size: int = 0,
        system: str = "default",
        sampling: str = "plain",
    ) -> None:
        if model.training:
            raise SettingsError("the model is in training mode", remedy="call model.eval() first")
        dtype = str(model.dtype).removeprefix("torch.")
        self._settle(dtype, str(model.device), batch_size, stock=True)
        self.name = name or Path(model.config.name_or_path).name or model.config.model_type
        self.tokenizer = tokenizer
        self.__dict__["model"] = model
        self._fit_gpu(model)
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            self._identify(tensors_digest(model), tokenizer_digest(Path(folder)))
        self._ask(system, sampling)

    def _own_filters(self) -> dict[str, float]:
        return own_filters(self.model.generation_config)


def tensors_digest(model: torch.nn.Module) -> str:
    """sha256 of a model's tensors: names, types, shapes and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy())
    return found.hexdigest()
