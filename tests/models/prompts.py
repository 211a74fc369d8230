"""Made-up prompts and the answers that plain transformers gives to them, one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trustllm_repro.models.base import Completion, Finish, LanguageModel, Request

INTRO = "Answer with one word only, and do not explain your answer. "


def requests(count: int = 24, limit: int = 12, **more) -> list[Request]:
    """Prompts of mixed length; two thirds begin alike. Limits differ, too."""
    made = []
    for i in range(count):
        text = f"No {i}: " + "is it warm in the sun today? " * (i % 4)
        made.append(Request((INTRO if i % 3 else "") + text, limit + i % 5, **more))
    return made


def set_generation(folder: Path, **settings) -> None:
    """Add settings to a model folder's generation config; None takes one out."""
    path = folder / "generation_config.json"
    known = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({k: v for k, v in known.items() if v is not None}))


def answers(model: LanguageModel, asked: Sequence[Request]) -> list[Completion]:
    """Completions in the order of the requests; each must come exactly once."""
    found: dict[int, Completion] = {}
    for batch in model.complete(asked):
        for i, completion in batch:
            assert i not in found
            found[i] = completion
    assert sorted(found) == list(range(len(asked)))
    return [found[i] for i in range(len(asked))]


def one_by_one(model, asked: Sequence[Request]) -> list[Completion]:
    """What `generate` of transformers says greedily, without batch, slots or shared beginnings."""
    import torch

    made = []
    for request in asked:
        tokens = model.tokens(request.prompt)
        ids = torch.tensor([tokens])
        with torch.inference_mode():
            out = model.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=request.max_new_tokens, pad_token_id=0,
            )[0, len(tokens) :].tolist()  # fmt: skip
        ended = bool(out) and out[-1] in model.ends
        said = out[:-1] if ended else out
        text = model.tokenizer.decode(said, skip_special_tokens=True)
        finish = Finish.STOP if ended else Finish.LENGTH
        made.append(Completion(text, finish, len(tokens), len(said)))
    return made
