"""Log-probability of given answers after a prompt, the prompt read once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from trustllm_repro.models.prefill import Pass, Prompt, Reader, Tokens, repeated

# Most tokens of options in one forward pass: logits over the whole vocabulary are made for each,
# in SmolLM2 200 KB, and prefixes are repeated for every option.
POSITIONS = {"cpu": 256, "cuda": 8192}
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
        asked = [options[p.index] for p in batch]
        longest = max((len(o) for some in asked for o in some), default=0)
        done = reader.read(batch, beyond=longest)
        first = torch.log_softmax(done.logits.float(), dim=-1)
        scores = [
            [float(first[row, o[0]]) if o else 0.0 for o in some] for row, some in enumerate(asked)
        ]
        if longest > 1:
            most = max(map(len, asked))
            rows = max(1, POSITIONS.get(reader.device.type, 256) // (most * (longest - 1)))
            for k in range(0, len(asked), rows):
                _add_rest(reader, done, slice(k, k + rows), asked[k : k + rows], scores)
        del done  # its cache goes before the next pass makes another
        yield from ((p.index, s) for p, s in zip(batch, scores, strict=True))


def _add_rest(
    reader: Reader,
    done: Pass,
    part: slice,
    options: Sequence[Sequence[Tokens]],
    scores: list[list[float]],
) -> None:
    """Add the log-probabilities of every option's second and later tokens, for some rows of a pass
    in one forward pass of their own."""
    most = max(map(len, options))
    longest = max((len(o) for some in options for o in some), default=0)
    if longest < 2:
        return
    ids = torch.full((len(options) * most, longest - 1), reader.pad)
    after = torch.zeros_like(ids)
    for row, some in enumerate(options):
        for at, option in enumerate(some, start=row * most):
            tokens = torch.tensor(option, dtype=torch.long)
            # The last token is predicted, never read.
            ids[at, : len(option[1:])], after[at, : len(option[1:])] = tokens[:-1], tokens[1:]
    wide = done.mask[part].repeat_interleave(most, dim=0)
    size = wide.sum(1, keepdim=True)
    mask = torch.cat([wide, torch.ones_like(ids)], dim=1)  # padding stands behind, so is unseen
    positions = size + torch.arange(longest - 1)[None]
    cache = repeated(done.cache, most, part)
    logits = reader.forward(ids, mask, positions, cache, keep=0).logits
    chosen = logits.gather(2, after.to(logits.device)[..., None])[..., 0].float()
    nats = (chosen - logits.float().logsumexp(dim=-1)).tolist()
    for row, some in enumerate(options):
        for k, option in enumerate(some):
            scores[part.start + row][k] += sum(nats[row * most + k][: len(option[1:])])
