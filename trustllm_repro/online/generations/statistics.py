"""What is kept of a next-token distribution: O(k) numbers instead of the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch

TOP = 5  # as many as endpoints usually give
FIRST = 256  # kept of the first token, once an answer
ROWS = 8  # on a CPU
CELLS = 2**26  # logits at a time elsewhere: their float32 copies take a quarter GiB each
LEAST = -1e30
_CHUNK = 256


@dataclass(frozen=True)
class Statistics:
    """Of one distribution a row; shapes (rows,) and (rows, k), float32 nats. NaN where a row of
    logits holds no finite distribution."""

    logp: torch.Tensor
    entropy: torch.Tensor
    top_ids: torch.Tensor
    top_logp: torch.Tensor


def statistics(logits: torch.Tensor, tokens: torch.Tensor, k: int = TOP) -> Statistics:
    """Statistics of the distributions `tokens` were taken from, some rows at a time.

    On a CPU, tables of all rows would be new memory at every step, which takes longer than the
    sums; on a GPU, the logits of a long text would take more memory than the model. Nothing here
    waits for a GPU.

    Args:
        logits: (rows, vocabulary), any float type. tokens: (rows,) of token ids.

    With x the logits, p their softmax and Z its divisor: log p(t) = x(t) - log Z, entropy
    = log Z - sum p x, and log Z = max x - log max p. So one softmax and one product serve all.
    """
    rows = at_once(logits)
    parts = [_some(x, t, k) for x, t in zip(logits.split(rows), tokens.split(rows), strict=True)]
    return Statistics(*(torch.cat(of) for of in zip(*parts, strict=True)))


def at_once(logits: torch.Tensor) -> int:
    """Rows that are best looked at together: fewer take as long, more take more memory."""
    return ROWS if logits.device.type == "cpu" else max(CELLS // logits.shape[1], 1)


def _some(logits: torch.Tensor, tokens: torch.Tensor, k: int) -> tuple[torch.Tensor, ...]:
    x = logits.float()
    top, top_ids = top_k(x, min(k, logits.shape[1]))  # twice as fast as of bfloat16
    best = top[:, :1]
    shares = torch.softmax(x, dim=-1)
    log_z = best - shares.gather(1, top_ids[:, :1]).log()
    # Logits are moved by the best one: far from zero, float32 would lose the sum's last digits.
    mean = mean_of(x, shares, best[:, 0], x.device.type == "cpu") - best[:, 0]
    entropy = (log_z - best)[:, 0] - mean
    logp = (x.gather(1, tokens[:, None]) - log_z)[:, 0]
    return logp, entropy.clamp_(min=0.0), top_ids, top - log_z


def mean_of(x: torch.Tensor, shares: torch.Tensor, best: torch.Tensor, look: bool) -> torch.Tensor:
    """Sum of share x logit of each row, (rows,); tokens the model rules out (0 x -inf) add nothing.

    Args:
        best: (rows,), largest logits.
        look: take such tokens out only of the rows that have them. To look at numbers, a GPU must
            be waited for, so there they are taken out of all rows, in one more pass.
    """
    if not look:
        return torch.linalg.vecdot(shares, x.clamp(min=LEAST))
    mean = torch.linalg.vecdot(shares, x)
    odd = mean.isnan() & best.isfinite()
    if odd.any():
        mean[odd] = torch.linalg.vecdot(shares[odd], x[odd].clamp(min=LEAST))
    return mean


def likeliest(logits: torch.Tensor, k: int = FIRST) -> tuple[torch.Tensor, torch.Tensor]:
    """The k likeliest tokens of each row, best first, and their log-probabilities (nats)."""
    top, ids = top_k(logits, min(k, logits.shape[1]))
    return ids, top.float() - logits.float().logsumexp(dim=-1, keepdim=True)


def top_k(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest of each row, best first, and where they stand: torch.topk, but much faster.

    The k largest stand in the k chunks whose largest elements are the largest, so only those
    chunks are searched.
    """
    rows, width = logits.shape
    whole = width - width % _CHUNK
    if logits.device.type != "cpu" or whole < 8 * k * _CHUNK:
        return torch.topk(logits, k, dim=-1)
    chunks = logits[:, :whole].view(rows, -1, _CHUNK)
    at = chunks.amax(-1).topk(k, dim=-1).indices
    found = chunks.gather(1, at[..., None].expand(-1, -1, _CHUNK)).flatten(1)
    places = (at[..., None] * _CHUNK + torch.arange(_CHUNK)).flatten(1)
    if whole < width:
        found = torch.cat([found, logits[:, whole:]], dim=1)
        rest = torch.arange(whole, width).expand(rows, -1)
        places = torch.cat([places, rest], dim=1)
    top, among = found.topk(k, dim=-1)
    return top, places.gather(1, among)
