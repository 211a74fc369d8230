"""vLLM as an optional backend for large GPU jobs, behind the same interface as models.local.

Imported only when a model is named `vllm:...`. Greedy answers are those of the same weights, but
not bit for bit those of transformers: kernels differ, so the backend is part of the identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Completion, Finish, Request
from trustllm_repro.models.local import AUTO, LocalModel

FILTERS = frozenset({"top_k", "top_p", "min_p"})  # those vLLM has under the same names
BATCH = 1024  # requests handed over at a time; what is done is stored after each
INSTALL = "pip install vllm, on a machine with a GPU it supports; or leave out 'vllm:'"


class VllmModel:
    """See LanguageModel. vLLM batches, shares beginnings and stops rows by itself.

    Args:
        folder: safetensors, in the layout of transformers. Others: as for LocalModel.

    Raises:
        SettingsError: vLLM is not installed, or has not what the generation config asks for.
        SourceMissing, SourceCorrupt: as for LocalModel.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "",
        dtype: str = "float32",
        system: str = "default",
        sampling: str = "plain",
    ) -> None:
        self._vllm = _imported()
        # Checks the folder and owns tokenizer, template and rule of truncation; loads no weights.
        dtype = "bfloat16" if dtype == AUTO else dtype  # vLLM's own "auto" is the folder's
        self._local = LocalModel(
            folder, name, dtype, device="cpu", system=system, sampling=sampling
        )
        if lacking := sorted(self._local.filters.keys() - FILTERS):
            raise SettingsError(
                f"the generation config sets what vLLM does not do: {', '.join(lacking)}",
                remedy="--sampling plain, or leave out 'vllm:'",
            )
        self.name, self.dtype = self._local.name, dtype
        self.identity = {**self._local.identity, "backend": "vllm"}

    @cached_property
    def _engine(self) -> Any:
        return self._vllm.LLM(
            model=str(self._local.folder), dtype=self.dtype, trust_remote_code=False,
            load_format="safetensors", enable_prefix_caching=True,
        )  # fmt: skip

    @cached_property
    def _context(self) -> int:
        return int(self._engine.llm_engine.model_config.max_model_len)

    def complete(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Completion]]]:
        self._local.__dict__["context"] = self._context  # the engine knows it, no weights needed
        for start in range(0, len(requests), BATCH):
            some = requests[start : start + BATCH]
            fitted = [self._local.fit(self._local.tokens(r.prompt), r.max_new_tokens) for r in some]
            made = self._engine.generate(
                [{"prompt_token_ids": list(tokens)} for tokens, _ in fitted],
                [self._sampling(r) for r in some],
                use_tqdm=False,
            )
            yield [
                (start + i, _completion(out, len(fitted[i][0]), fitted[i][1]))
                for i, out in enumerate(made)
            ]

    def _sampling(self, request: Request) -> Any:
        return self._vllm.SamplingParams(
            temperature=request.temperature,
            max_tokens=request.max_new_tokens,
            seed=request.seed % 2**63 if request.temperature else None,
            **(self._local.filters if request.temperature else {}),
        )

    def score_options(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, list[float]]]:
        self._local.__dict__["context"] = self._context
        ask = self._vllm.SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
        for i, prompt in enumerate(prompts):
            coded = [
                tuple(self._local.tokenizer(o, add_special_tokens=False).input_ids)
                for o in options[i]
            ]
            room = max(map(len, coded)) + 1
            tokens = self._local.fit(self._local.tokens(prompt), room)[0]
            texts = [{"prompt_token_ids": [*tokens, *ids]} for ids in coded]
            made = self._engine.generate(texts, [ask] * len(texts), use_tqdm=False)
            yield i, [_nats(out.prompt_logprobs, ids) for out, ids in zip(made, coded, strict=True)]


def _imported() -> Any:
    try:
        import vllm
    except ImportError as e:
        absent = isinstance(e, ModuleNotFoundError) and e.name == "vllm"
        problem = "vLLM is not installed" if absent else f"vLLM cannot be imported: {e}"
        raise SettingsError(problem, remedy=INSTALL) from e
    return vllm


def _completion(out: Any, read: int, cut: int) -> Completion:
    one = out.outputs[0]
    finish = Finish.LENGTH if one.finish_reason == "length" else Finish.STOP
    return Completion(one.text, finish, read, len(one.token_ids), cut)


def _nats(given: Sequence[Any], ids: Sequence[int]) -> float:
    """Summed log-probability of the last len(ids) tokens of a prompt."""
    last = given[len(given) - len(ids) :]
    return float(sum(position[t].logprob for position, t in zip(last, ids, strict=True)))
