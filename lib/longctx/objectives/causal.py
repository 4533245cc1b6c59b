"""Next-token prediction, with a cross-entropy that never holds all logits at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longctx.data.tasks import IGNORED
from longctx.model import Transformer

#: Rows of logits that exist at one time. 256 rows × 2,048 tokens × 4 bytes = 2 MB: they stay in the cache.
CHUNK = 256


def causal_loss(
    model: Transformer,
    inputs: Int[Tensor, "batch length"],
    targets: Int[Tensor, "batch length"],
    positions: Int[Tensor, " length"] | None = None,
) -> Float[Tensor, ""]:
    """Mean −log p(target | tokens up to it), in nats a token; the inputs stand at 0, 1, … or where said.

    Targets that are `IGNORED` do not count.
    """
    hidden = model.hidden(inputs, positions).flatten(0, 1)
    return linear_cross_entropy(hidden, model.head.weight, targets.flatten())


def token_losses(
    model: Transformer, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length"]:
    """−log p of every target by itself, in nats; for evaluation, without gradients. 0 where `IGNORED`."""
    return judged(model, inputs, targets)[0]


def judged(
    model: Transformer, inputs: Int[Tensor, "batch length"], targets: Int[Tensor, "batch length"]
) -> tuple[Float[Tensor, "batch length"], Bool[Tensor, "batch length"]]:
    """`token_losses`, and whether each target is the likeliest token; without gradients."""
    with torch.no_grad():
        hidden = model.hidden(inputs)
    return judged_states(hidden, model.head.weight, targets)


@torch.no_grad()
def judged_states(
    hidden: Float[Tensor, "batch length d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "batch length"],
) -> tuple[Float[Tensor, "batch length"], Bool[Tensor, "batch length"]]:
    """`judged`, from the states after the last block, however they were come by."""
    losses, right = [], []
    for rows, wanted in zip(hidden.flatten(0, 1).split(CHUNK), targets.flatten().split(CHUNK), strict=True):
        logits = (rows @ weight.T).float()
        losses.append(F.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED))
        right.append(logits.argmax(-1) == wanted)
    return torch.cat(losses).view_as(targets), torch.cat(right).view_as(targets)


def linear_cross_entropy(
    hidden: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " tokens"],
) -> Float[Tensor, ""]:
    r"""Mean cross-entropy of ``hidden @ weight.T`` in chunks of rows, over those not `IGNORED`.

    With p the softmax of a row of logits z = W h and y the one-hot target, ∂ℓ/∂z = p − y, hence
    ∂ℓ/∂h = Wᵀ(p − y) and ∂ℓ/∂W = (p − y) hᵀ. Both are summed up while the chunk's logits are at hand, so
    that the backward pass has only to scale them.
    """
    return _LinearCrossEntropy.apply(hidden, weight, targets)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            rows, matrix = hidden.to(dtype), weight.to(dtype)
        else:
            rows, matrix = hidden, weight
        ctx.needed = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(rows) if ctx.needed[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needed[1] else None
        total = hidden.new_zeros((), dtype=torch.float32)
        counts = (targets != IGNORED).float()
        with torch.autocast(device, enabled=False):
            for start in range(0, len(rows), CHUNK):
                chunk, wanted = rows[start : start + CHUNK], targets[start : start + CHUNK, None].clamp(0)
                count = counts[start : start + CHUNK]
                logits = (chunk @ matrix.T).float()
                highest, right = logits.amax(-1), logits.gather(1, wanted)[:, 0]
                p = logits.softmax(-1)
                # log Σ exp z = max z − log max p, which never underflows.
                total += ((highest - p.amax(-1).log() - right) * count).sum()
                if grad_hidden is None and grad_weight is None:
                    continue
                error = p.scatter_add_(1, wanted, p.new_full(wanted.shape, -1.0))
                error = error.mul_(count[:, None]).to(rows.dtype)
                if grad_hidden is not None:
                    torch.mm(error, matrix, out=grad_hidden[start : start + CHUNK])
                if grad_weight is not None:
                    wide = (x.to(grad_weight.dtype) for x in (error.T, chunk))
                    torch.addmm(grad_weight, *wide, out=grad_weight)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtype, ctx.count = hidden.dtype, counts.sum()
        return total / ctx.count

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = scale / ctx.count
        return (
            None if grad_hidden is None else (grad_hidden * scale).to(ctx.dtype),
            None if grad_weight is None else grad_weight * scale,
            None,
        )
