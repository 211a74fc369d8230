"""Log-probability of given answers after a prompt, the prompt read once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from trustllm_repro.models.prefill import Pass, Reader, repeated
from trustllm_repro.models.prefixes import Prompt, Tokens

Scores = tuple[int, list[float]]  # index of the prompt, nats per option


@torch.inference_mode()
def score_options(
    reader: Reader, prompts: Sequence[Prompt], options: Sequence[Sequence[Tokens]]
) -> Iterator[Scores]:
    """Summed log-probability (nats) of each option's tokens.

    Args:
        prompts: in the order to read them; `options[p.index]` are those of prompt p.

    The first token of every option is read off the prompt's own pass; only what follows takes
    another, in which all options of all prompts of the pass go together over one cache.
    """
    for batch in reader.passes(prompts):
        longest = max((len(o) for p in batch for o in options[p.index]), default=0)
        done = reader.read(batch, beyond=longest)
        first = torch.log_softmax(done.logits.float(), dim=-1)
        scores = [
            [float(first[row, o[0]]) if o else 0.0 for o in options[p.index]]
            for row, p in enumerate(batch)
        ]
        _add_rest(reader, done, [options[p.index] for p in batch], scores)
        yield from ((p.index, s) for p, s in zip(batch, scores, strict=True))


def _add_rest(
    reader: Reader,
    done: Pass,
    options: Sequence[Sequence[Tokens]],
    scores: list[list[float]],
) -> None:
    """Add the log-probabilities of every option's second and later tokens."""
    longest = max((len(o) for some in options for o in some), default=0)
    if longest < 2:
        return
    most = max(len(some) for some in options)
    ids = torch.full((len(options) * most, longest - 1), reader.pad)
    for row, some in enumerate(options):
        for k, option in enumerate(some):
            # The last token is predicted, never read.
            read = torch.tensor(option[:-1], dtype=torch.long)
            ids[row * most + k, : len(read)] = read
    wide = done.mask.repeat_interleave(most, dim=0)
    size = wide.sum(1, keepdim=True)
    mask = torch.cat([wide, torch.ones_like(ids)], dim=1)  # padding stands behind, so is unseen
    positions = size + torch.arange(longest - 1)[None]
    out = reader.forward(ids, mask, positions, repeated(done.cache, most), keep=0)
    after = torch.log_softmax(out.logits.float(), dim=-1)
    for row, some in enumerate(options):
        for k, option in enumerate(some):
            at = after[row * most + k]
            scores[row][k] += sum(float(at[i, t]) for i, t in enumerate(option[1:]))
