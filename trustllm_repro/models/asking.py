"""How a model on this machine is asked: the system message, and which tokens may be drawn.

Draws above temperature 0 follow the model's own generation config. The official toolkit calls
`generate(do_sample=True, temperature=1, repetition_penalty=1.0)` on a local model: all other
settings are those of generation_config.json and, where that says nothing, transformers' defaults
(top_k 50). The filters are transformers' own, in the order of `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import GenerationConfig
from transformers.generation import logits_process as processors

from trustllm_repro.errors import SettingsError, SourceCorrupt
from trustllm_repro.models.weights import silence

Turn = dict[str, str]  # role and content
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
USUAL = {"top_k": 50}  # what `generate` takes where the config says nothing
# Settings of `generate` that change answers and are not done here.
REFUSED = (
    "bad_words_ids", "begin_suppress_tokens", "constraints", "dola_layers",
    "exponential_decay_length_penalty", "force_words_ids", "forced_bos_token_id",
    "forced_eos_token_id", "guidance_scale", "max_time", "min_length", "min_new_tokens",
    "no_repeat_ngram_size", "num_beams", "penalty_alpha", "remove_invalid_values",
    "sequence_bias", "stop_strings", "suppress_tokens", "token_healing", "watermarking_config",
)  # fmt: skip


def own_filters(source: Path | GenerationConfig) -> dict[str, float]:
    """What narrows a model's draws, by name; such as {"top_k": 50, "top_p": 0.9}.

    Args:
        source: folder of the model, or its generation config.

    Raises:
        SourceCorrupt: the file cannot be read, or a value is out of range.
        SettingsError: the config asks for one of REFUSED.
    """
    where = source / FILE if isinstance(source, Path) else "the model's generation config"
    try:
        with silence():
            config = _config(source) if isinstance(source, Path) else source
            said = USUAL | {n: v for n, v in vars(config).items() if v is not None}
            found = {n: said[n] for n, (_, off) in FILTERS.items() if said.get(n, off) != off}
            warper(found, torch.device("cpu"))
    except Exception as e:  # a config of wrong types fails in many ways
        raise SourceCorrupt(
            f"{where} cannot be used: {type(e).__name__}: {e}",
            remedy="put it right, or leave it out with --sampling plain",
        ) from e
    asked = [n for n in REFUSED if said.get(n) and not (n == "num_beams" and said[n] == 1)]
    if asked:
        raise SettingsError(
            f"{where} sets what is not done here: {', '.join(asked)}",
            remedy="--sampling plain asks without that file",
        )
    return found


def _config(folder: Path) -> GenerationConfig:
    """As a model is given it when transformers loads it: older ones keep it in config.json."""
    older = {"config_file_name": "config.json", "_from_model_config": True}
    more = {} if (folder / FILE).is_file() else older
    return GenerationConfig.from_pretrained(folder, local_files_only=True, **more)


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


def rendered(tokenizer: Any, prompt: str, before: Sequence[Turn] = ()) -> str:
    """The chat template filled in, up to where the answer begins."""
    return tokenizer.apply_chat_template(
        [*before, {"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )


def blank_turns(tokenizer: Any) -> Sequence[Turn]:
    """What must stand before the user's turn so that no system message gets in; often nothing.

    The official toolkit empties the system message of its chat format. A template that puts one
    in by itself is given an empty one (ChatML of SmolLM2, Qwen2.5: an empty system turn is left),
    or a blank where it takes an empty message for none. One that puts none in is given none: Llama
    2 and Mistral would write empty marks or lines for an empty message, and Gemma and the first
    Mistral refuse the role. So the shortest text is right. What a template always says (Llama 3.1:
    dates) stays.
    """
    found: list[tuple[int, Sequence[Turn]]] = []
    for turns in [(), *([{"role": "system", "content": said}] for said in ("", " "))]:
        with suppress(TemplateError):
            found.append((len(rendered(tokenizer, "?", turns)), turns))
    return min(found, key=lambda pair: pair[0], default=(0, ()))[1]
