"""Which tokens may be drawn at a temperature above 0, by a model's own generation config.

The official toolkit calls `generate(do_sample=True, temperature=1, repetition_penalty=1.0)` on a
local model: all other settings are those of generation_config.json and, where that says nothing,
transformers' defaults (top_k 50). The filters are transformers' own, in the order of `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import logits_process as processors

from trustllm_repro.errors import SettingsError, SourceCorrupt
from trustllm_repro.models.silence import silence

FILE = "generation_config.json"
# Name in the config: the filter, and the value that lets everything pass.
FILTERS: dict[str, tuple[Any, float | None]] = {
    "top_h": (processors.TopHLogitsWarper, None),
    "top_k": (processors.TopKLogitsWarper, 0),
    "top_p": (processors.TopPLogitsWarper, 1.0),
    "min_p": (processors.MinPLogitsWarper, 0.0),
    "typical_p": (processors.TypicalLogitsWarper, 1.0),
    "epsilon_cutoff": (processors.EpsilonLogitsWarper, 0.0),
    "eta_cutoff": (processors.EtaLogitsWarper, 0.0),
}
# What the request itself says, what concerns speed, memory or the form of the output, and what has
# an effect only with beams, an assistant or an encoder.
NO_MATTER = frozenset({
    "max_length", "max_new_tokens", "do_sample", "temperature", "repetition_penalty",
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "use_cache",
    "cache_implementation", "cache_config", "max_cache_len", "use_mtp", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "num_return_sequences", "renormalize_logits", "early_stopping", "length_penalty",
    "diversity_penalty", "num_beam_groups", "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size", "is_assistant", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "assistant_confidence_threshold", "prompt_lookup_num_tokens",
    "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind",
    "target_lookbehind", "assistant_ensemble_weight", "speculation_type", "compile_config",
    "disable_compile", "continuous_batching_config", "low_memory", "prefill_chunk_size",
    "_from_model_config", "transformers_version",
})  # fmt: skip


def own_filters(source: Path | GenerationConfig) -> dict[str, float]:
    """What narrows a model's draws, by name; such as {"top_k": 50, "top_p": 0.9}.

    Args:
        source: folder of the model, or its generation config.

    Raises:
        SourceCorrupt: the file cannot be read, or a value is out of range.
        SettingsError: the config asks for what decoding here does not do, such as bans of words.
    """
    where = source / FILE if isinstance(source, Path) else "the model's generation config"
    try:
        with silence():
            config = _config(source) if isinstance(source, Path) else source
            usual = _usual()
            known = {n: usual.get(n) if v is None else v for n, v in vars(config).items()}
            found = {n: known.get(n) for n, (_, off) in FILTERS.items()}
            found = {n: v for n, v in found.items() if v is not None and v != FILTERS[n][1]}
            warper(found, torch.device("cpu"))
    except Exception as e:  # a config of wrong types fails in many ways
        raise SourceCorrupt(
            f"{where} cannot be used: {type(e).__name__}: {e}",
            remedy="put it right, or leave it out with --sampling plain",
        ) from e
    _refuse_others(where, known, usual)
    return found


def _config(folder: Path) -> GenerationConfig:
    """As a model is given it when transformers loads it: older ones keep it in config.json."""
    if (folder / FILE).is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_pretrained(
        folder, config_file_name="config.json", local_files_only=True, _from_model_config=True
    )


def _usual() -> dict[str, Any]:
    """What `generate` takes where the config says nothing; before version 5 the class said it."""
    later = getattr(GenerationConfig, "_get_default_generation_params", dict)()
    return {**vars(GenerationConfig()), **later}


def _refuse_others(where: Path | str, known: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """What changes answers and is not done here must not be dropped in silence.

    Names that transformers does not know are no matter to `generate` either.
    """
    others = vars(GenerationConfig()).keys() - FILTERS.keys() - NO_MATTER
    asked = sorted(n for n in others if known.get(n) and known[n] != usual.get(n))
    if asked:
        raise SettingsError(
            f"{where} sets what is not done here: {', '.join(asked)}",
            remedy="--sampling plain asks without that file",
        )


def warper(
    filters: Mapping[str, float], device: torch.device
) -> processors.LogitsProcessorList | None:
    """The filters as one function of (ids, which none reads; logits (jobs, vocabulary) in float32).

    It gives logits with -inf for what must not be drawn. None: there is no filter.
    """
    some = processors.LogitsProcessorList()
    for name in (n for n in FILTERS if n in filters):
        more = {"device": str(device)} if name == "eta_cutoff" else {}
        some.append(FILTERS[name][0](filters[name], **more))
    return some or None
