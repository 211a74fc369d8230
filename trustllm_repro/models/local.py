"""A causal language model on this machine, through transformers.

Draws above temperature 0 follow the model's own generation config. The official toolkit calls
`generate(do_sample=True, temperature=1, repetition_penalty=1.0)` on a local model: all other
settings are those of generation_config.json and, where that says nothing, transformers' defaults
(top_k 50). The filters are transformers' own, in the order of `generate`.
"""

from __future__ import annotations

import copy
import ctypes
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation import logits_process as processors

from trustllm_repro.errors import SettingsError
from trustllm_repro.models.base import Completion, Finish, Request, check_asking
from trustllm_repro.models.cpu import pack_linears, packs, use_cpu_attention
from trustllm_repro.models.decoding import Decoder, DecodeRequest, Reader, Tokens, Watch
from trustllm_repro.models.weights import SAFE, check_folder, digest_of, loading, tokenizer_digest

DTYPES = ("auto", "float32", "bfloat16", "float16")
# Most rows, and of how many usual prompts and answers the cache is. Rows of short prompts cost
# little memory and share each pass over the weights: on two cores SmolLM2 makes 1.2 to 1.35 times
# as many tokens a second with 128 rows as with 32.
ROWS = {"cpu": (128, 32), "cuda": (256, 256)}
USUAL_TOKENS = 768  # a few times the usual prompt and answer
# Most tokens of one forward pass over prompts, which bounds its activations; larger passes are no
# faster on a CPU, as they hold more padding (1024: 8 % slower).
PASS_TOKENS = {"cpu": 512, "cuda": 32768}
# Shares of a GPU's free memory; the rest is for activations, and for a layer that is reshaped.
CACHE, PASS = 0.5, 0.125
MIN_TOKENS = 512  # less is no use, so memory may run out instead, and say so
# Name in the config: the filter, and the value that lets everything pass.
FILTERS: dict[str, tuple[Any, float]] = {
    "top_k": (processors.TopKLogitsWarper, 0),
    "top_p": (processors.TopPLogitsWarper, 1.0),
    "min_p": (processors.MinPLogitsWarper, 0.0),
}
USUAL = {"top_k": 50}  # what `generate` takes where the config says nothing
# Settings of `generate` that change answers and are not done here.
REFUSED = (
    "bad_words_ids", "begin_suppress_tokens", "constraints", "dola_layers", "epsilon_cutoff",
    "eta_cutoff", "exponential_decay_length_penalty", "force_words_ids", "forced_bos_token_id",
    "forced_eos_token_id", "guidance_scale", "max_time", "min_length", "min_new_tokens",
    "no_repeat_ngram_size", "num_beams", "penalty_alpha", "remove_invalid_values",
    "sequence_bias", "stop_strings", "suppress_tokens", "token_healing", "top_h", "typical_p",
    "watermarking_config",
)  # fmt: skip
NOTHING = (("num_beams", 1), ("typical_p", 1.0))  # values of them that change no answer


class LocalModel:
    """A model folder (safetensors) and its `tokenizer`; the weights, `model`, are loaded when the
    first answer is wanted.

    Args:
        name: row in the tables; default: folder name.
        dtype: float32 for reported numbers, bfloat16 where a profile says so, float16; "auto" is
            `fast_dtype`. device: "cpu", "cuda", "cuda:1" ... or "auto".
        batch_size: most answers at a time; halved when memory runs out. 0: as many as memory holds,
            on a CPU that of 32 usual prompts and answers, at most 128.
        stock: `model` is as transformers loads it, with gradients and layers that can be patched;
            slower on a CPU, where its layers are otherwise replaced (models.cpu).
        system: "default" lets the chat template put its own system message in, "blank" none.
        sampling: "plain" draws from the whole softmax, "model" as the model's generation config
            says. `evaluate` asks for "blank" and "model"; see `own_filters` and `blank_turns`.
        digest: of the weights, where they were hashed just now.

    Raises SourceMissing, SourceCorrupt: see check_folder, own_filters; SettingsError: see
    own_filters, or an unknown dtype, device, system or sampling.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "",
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int = 0,
        stock: bool = False,
        system: str = "default",
        sampling: str = "plain",
        digest: str = "",
    ) -> None:
        self._settle(dtype, device, batch_size, stock)
        weights = check_folder(folder)
        self.name, self.folder, self._draws = name or folder.name, folder, folder
        with _loading(folder):
            self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **SAFE)
        self._ask(system, sampling)  # before weights are hashed
        self._digests = digest or digest_of(weights), tokenizer_digest(folder)

    def _settle(self, dtype: str, device: str, batch_size: int, stock: bool) -> None:
        self.device, self.stock = find_device(device), stock
        if dtype not in DTYPES:
            raise SettingsError(f"unknown dtype {dtype!r}", remedy=f"one of: {', '.join(DTYPES)}")
        self.dtype = fast_dtype(self.device) if dtype == "auto" else getattr(torch, dtype)
        most, usual = ROWS.get(self.device.type, ROWS["cuda"])
        self.batch_size = batch_size or most
        # Longer prompts and answers go in fewer rows, shorter ones in more.
        self.cache_tokens = USUAL_TOKENS * (batch_size or usual)
        self.pass_tokens = PASS_TOKENS.get(self.device.type, PASS_TOKENS["cuda"])

    def _ask(self, system: str, sampling: str) -> None:
        check_asking(system, sampling)
        self.system, self.sampling = system, sampling
        blank = system == "blank" and self.tokenizer.chat_template
        self._before = blank_turns(self.tokenizer) if blank else ()  # turns before the prompt's
        self.filters = own_filters(self._draws) if sampling == "model" else {}

    @property
    def identity(self) -> dict[str, Any]:
        """See LanguageModel. Of `system` and `sampling` only what has an effect."""
        chat = bool(self.tokenizer.chat_template)
        weights, tokenizer = self._digests
        facts: dict[str, Any] = {"weights": weights, "tokenizer": tokenizer}
        facts["dtype"] = str(self.dtype).removeprefix("torch.")
        facts["template"] = "chat" if chat else "none"
        facts |= {"system": "blank"} if chat and self.system == "blank" else {}
        return facts | ({"sampling": self.filters} if self.filters else {})

    def _copied(self) -> LocalModel:
        _ = self.model  # loaded once for both, and what memory is left is known
        return copy.copy(self)

    def asking(self, system: str, sampling: str) -> LocalModel:
        """With other settings. Raises SettingsError, SourceCorrupt as the class."""
        if (system, sampling) == (self.system, self.sampling):
            return self
        other = self._copied()
        other._ask(system, sampling)
        return other

    def plain(self) -> LocalModel:
        """Without the chat template: the model goes on with the prompt's text."""
        other = self._copied()
        other.tokenizer = copy.deepcopy(self.tokenizer)
        other.tokenizer.chat_template = None
        return other

    def narrowed(self, **filters: float) -> LocalModel:
        """Draws are narrowed by FILTERS, such as top_p=0.9."""
        other = self._copied()
        other.filters = filters
        return other

    @cached_property
    def model(self):
        """The weights, on the device. Raises SourceCorrupt."""
        with _loading(self.folder):
            model = AutoModelForCausalLM.from_pretrained(
                self.folder, dtype=self.dtype, use_safetensors=True, **SAFE
            )
        for p in model.parameters():
            p.data = p.data.clone()  # out of the memory-mapped file, whose pages may be taken back
        model = model.eval().requires_grad_(self.stock).to(self.device)
        if not self.stock:
            use_cpu_attention(model)
            pack_linears(model)
        _free_memory()
        if self.device.type == "cuda":
            self.fit_memory(model.config, torch.cuda.mem_get_info(self.device)[0])
        return model

    def fit_memory(self, config: Any, free: int) -> None:
        """Bound cache and passes by `free` bytes; so as many answers run together as fit."""
        size = bytes_per_token(config, self.dtype.itemsize)
        cache, passes = (max(int(free * share) // size, MIN_TOKENS) for share in (CACHE, PASS))
        self.cache_tokens = min(self.cache_tokens, cache)
        self.pass_tokens = min(self.pass_tokens, passes)

    @cached_property
    def context(self) -> int:
        """Most tokens the model was made for, prompt and answer together."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or 2048)

    def tokens(self, prompt: str) -> Tokens:
        """The prompt in its chat template, or as it is for a base model. An empty one is the end
        token, after which texts begin."""
        if not self.tokenizer.chat_template:
            return tuple(self.tokenizer(prompt).input_ids) or (min(self.ends, default=0),)
        text = rendered(self.tokenizer, prompt, self._before)
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def fit(self, tokens: Tokens, room: int) -> tuple[Tokens, int]:
        """Prompt cut to leave `room` tokens of the context, and the number of tokens cut. The
        middle goes: instructions come first, the question last."""
        keep = self.context - room
        if len(tokens) <= keep:
            return tokens, 0
        if keep < 2:
            raise SettingsError(
                f"{self.name} has a context of {self.context} tokens, too few for {room} new ones",
                remedy="ask for fewer new tokens",
            )
        return tokens[: keep - keep // 2] + tokens[-(keep // 2) :], len(tokens) - keep

    def complete(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Completion]]]:
        """See LanguageModel. When memory runs out, the batch is halved and the rest goes on."""
        for ended in self.decode(requests):
            yield [(job.prompt.index, self._completion(job)) for job in ended]

    def decode(
        self, requests: Sequence[Request], watch: Watch = Watch(), begun: Sequence[Tokens] = ()
    ) -> Iterator[list[DecodeRequest]]:
        """Yield answers as they end; those that were running when memory ran out begin again.

        `begun`: tokens each answer begins with; `max_new_tokens` come after.
        """
        begun = begun or [()] * len(requests)
        whole = [(*self.tokens(r.prompt), *b) for r, b in zip(requests, begun, strict=True)]
        fitted = [self.fit(w, r.max_new_tokens) for w, r in zip(whole, requests, strict=True)]
        left = set(range(len(requests)))
        warp = warper(self.filters)
        while left:
            try:
                jobs = [
                    DecodeRequest(p, requests[p.index], fitted[p.index][1])
                    for p in self.reader.schedule([tokens for tokens, _ in fitted])
                    if p.index in left
                ]
                decoder = Decoder(
                    self.reader, self.ends, self.batch_size, self.cache_tokens, watch, warp
                )
                for ended in decoder.run(jobs):
                    left -= {job.prompt.index for job in ended}
                    yield ended
            except Exception as e:
                if not should_reduce_batch_size(e) or self.batch_size == 1:
                    raise
                self.batch_size //= 2
                self.cache_tokens //= 2
            if left:  # the error is gone by now, and with it the frames that held the cache
                decoder = None
                _free_memory()

    @cached_property
    def reader(self) -> Reader:
        config = self.model.config.get_text_config()
        slides = "sliding_attention" in (getattr(config, "layer_types", None) or ())
        # Any token pads, because padding is masked; models without a pad token exist.
        known = (self.tokenizer.pad_token_id, *sorted(self.ends))
        pad = next((t for t in known if t is not None), 0)
        return Reader(self.model, pad, self.pass_tokens, config.sliding_window if slides else None)

    @cached_property
    def ends(self) -> frozenset[int]:
        return ends_of(self.model, self.tokenizer)

    def score_options(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, list[float]]]:
        """See LanguageModel. Options are tokenised by themselves: give " A" after plain text."""
        coded = [
            [tuple(self.tokenizer(o, add_special_tokens=False).input_ids) for o in some]
            for some in options
        ]
        room = max((len(o) for some in coded for o in some), default=1)
        fitted = [self.fit(self.tokens(p), room)[0] for p in prompts]
        yield from self.reader.score_options(self.reader.schedule(fitted), coded)

    def _completion(self, job: DecodeRequest) -> Completion:
        nan = job.finish is Finish.NAN
        text = None if nan else self.tokenizer.decode(job.ids, skip_special_tokens=True)
        return Completion(text, job.finish, len(job.prompt.tokens), len(job.ids), job.cut)


class HeldModel(LocalModel):
    """A causal language model of transformers (or a wrapper, as for LoRA) with its tokenizer, used
    as it is. Its identity is a digest of the weights it has now: after training, make another.
    Raises SettingsError: the model is in training mode; others as LocalModel."""

    def __init__(
        self, model: Any, tokenizer: Any, name: str, batch_size: int, system: str, sampling: str
    ) -> None:
        if model.training:
            raise SettingsError("the model is in training mode", remedy="call model.eval() first")
        dtype = str(model.dtype).removeprefix("torch.")
        self._settle(dtype, str(model.device), batch_size, stock=True)
        self.name = name or Path(model.config.name_or_path).name or model.config.model_type
        self.model, self.tokenizer, self._draws = model, tokenizer, model.generation_config
        if self.device.type == "cuda":
            self.fit_memory(model.config, torch.cuda.mem_get_info(self.device)[0])
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            self._digests = tensors_digest(model), tokenizer_digest(Path(folder))
        self._ask(system, sampling)


# --- how it is asked: which tokens may be drawn, and the system message ---------------------------


def own_filters(source: Path | GenerationConfig) -> dict[str, float]:
    """What narrows a model's draws, by name; such as {"top_k": 50, "top_p": 0.9}. Raises
    SourceCorrupt: an unreadable file, a value out of range; SettingsError: one of REFUSED."""
    files = isinstance(source, Path)
    where = source / "generation_config.json" if files else "the model's generation config"
    with loading(f"{where} cannot be used", "correct it, or leave it out with --sampling plain"):
        config = source
        if files:  # as transformers does; older models keep it in config.json
            older = {"config_file_name": "config.json", "_from_model_config": True}
            more = {} if where.is_file() else older
            config = GenerationConfig.from_pretrained(source, local_files_only=True, **more)
        settings = USUAL | {n: v for n, v in vars(config).items() if v is not None}
        found = {n: settings[n] for n, (_, off) in FILTERS.items() if settings.get(n, off) != off}
        warper(found)
    asked = [n for n in REFUSED if settings.get(n) and (n, settings[n]) not in NOTHING]
    if asked:
        raise SettingsError(
            f"{where} sets what is not done here: {', '.join(asked)}",
            remedy="--sampling plain asks without that file",
        )
    return found


def warper(filters: Mapping[str, float]) -> processors.LogitsProcessorList:
    """The filters as one function of (ids, which none reads; logits (jobs, vocabulary) in float32):
    logits with -inf for what must not be drawn. Empty: there is no filter."""
    return processors.LogitsProcessorList(
        FILTERS[name][0](filters[name]) for name in FILTERS if name in filters
    )


def rendered(tokenizer: Any, prompt: str, before: Sequence[Mapping] = ()) -> str:
    """The chat template filled in after other turns, up to where the answer begins."""
    return tokenizer.apply_chat_template(
        [*before, {"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )


def blank_turns(tokenizer: Any) -> Sequence[Mapping]:
    """What must stand before the user's turn so that no system message gets in; often nothing.

    The official toolkit empties the system message of its chat format. A template that puts one
    in by itself is given an empty one (ChatML of SmolLM2, Qwen2.5: an empty system turn is left),
    or a blank where it takes an empty message for none. Others are given none: Llama 2 and Mistral
    would write empty marks or lines for it, and Gemma and the first Mistral refuse the role. So the
    shortest text is right. What a template always says (Llama 3.1: dates) stays.
    """
    found: list[tuple[int, Sequence[Mapping]]] = []
    for turns in [(), *([{"role": "system", "content": said}] for said in ("", " "))]:
        with suppress(TemplateError):
            found.append((len(rendered(tokenizer, "?", turns)), turns))
    return min(found, key=lambda pair: pair[0], default=(0, ()))[1]


# --- what it is, and where it runs ----------------------------------------------------------------


def tensors_digest(model: torch.nn.Module) -> str:
    """sha256 of a model's tensors: names, types, shapes and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy())
    return found.hexdigest()


def bytes_per_token(config: Any, itemsize: int) -> int:
    """Of keys and values in all layers; `itemsize` bytes a number."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * int(text.num_hidden_layers) * int(heads) * int(size) * itemsize


def find_device(name: str) -> torch.device:
    """ "auto" is the first GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise SettingsError(f"unknown device {name!r}", remedy="auto, cpu or cuda") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("no GPU is visible to torch", remedy="--device cpu, or auto")
    return device


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor has products of it; elsewhere float32. A CPU without them turns
    every number into float32 and back, and SmolLM2 takes four times as long (EPYC with AVX2)."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = device.type == "cpu" and packs(torch.bfloat16)
    return torch.bfloat16 if has else torch.float32


def _loading(folder: Path) -> AbstractContextManager[None]:
    return loading(
        f"the model in {folder} cannot be loaded",
        "see that the folder is whole and holds a causal language model",
    )


def ends_of(model, tokenizer) -> frozenset[int]:
    """Token ids that end an answer."""
    given = model.generation_config.eos_token_id
    ids = given if isinstance(given, list) else [given]
    return frozenset(t for t in (*ids, tokenizer.eos_token_id) if t is not None)


def _free_memory() -> None:
    """Give unused memory back to the GPU or the system; glibc does not (220 MB after SmolLM2)."""
    clear_device_cache(garbage_collection=True)
    with suppress(OSError, AttributeError):  # other systems, other C libraries
        ctypes.CDLL("libc.so.6").malloc_trim(0)
