"""Softmax attention over a batch of tiles, and its gradient, without keeping the probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "tiles heads queries head_dim"]
Keys = Float[Tensor, "tiles heads keys head_dim"]
Rows = Float[Tensor, "tiles heads queries"]
Logits = Float[Tensor, "#tiles #heads queries keys"]


#: torch's CPU kernels: output and log normalisers; gradients of queries, keys and values.
flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def has_flash(q: Tensor) -> bool:
    """Whether torch's CPU kernel applies; elsewhere the few products below do the same."""
    return q.device.type == "cpu"


def forward(q: Queries, k: Keys, v: Keys, bias: Logits | None, scale: float) -> tuple[Queries, Rows]:
    """The output, and the logarithm of each row's normaliser, which is all that the gradient needs.

    ``bias`` is added to the logits and is almost −∞ where a query may not look; None where all look at all.
    """
    if has_flash(q):
        return flash(q, k, v, attn_mask=bias, scale=scale)
    logits = q @ k.mT * scale
    if bias is not None:
        logits = logits + bias
    norm = logits.logsumexp(-1)
    return ((logits - norm[..., None]).exp().to(v.dtype) @ v), norm


def average(
    out: Float[Tensor, "*rows channels"],
    norm: Float[Tensor, "*rows 1"],
    y: Float[Tensor, "*rows channels"],
    new: Float[Tensor, "*rows 1"],
) -> None:
    """Take the output over further keys into ``out``, and its log normaliser into ``norm``, in place.

    Softmaxes over disjoint keys are averaged by their normalisers, which are kept as logarithms.
    """
    weight = torch.sigmoid(new - norm)
    out.copy_(torch.lerp(out.to(weight.dtype), y.to(weight.dtype), weight))
    norm.copy_(torch.logaddexp(norm, new))


def backward(
    grad: Queries,
    q: Queries,
    k: Keys,
    v: Keys,
    bias: Logits | None,
    scale: float,
    out: Queries,
    norm: Rows,
    *,
    with_bias: bool,
) -> tuple[Queries, Keys, Keys, Float[Tensor, "tiles heads queries keys"] | None]:
    """Gradients of queries, keys, values and, if asked for, of each tile's logits."""
    if has_flash(q) and not with_bias:
        return *flash_backward(grad, q, k, v, out, norm, 0.0, False, attn_mask=bias, scale=scale), None
    logits = q @ k.mT * scale if bias is None else torch.add(bias, q @ k.mT, alpha=scale)
    p = logits.sub_(norm[..., None]).exp_()
    grad_v = p.to(v.dtype).mT @ grad
    row_sum = (grad * out).sum(-1, keepdim=True)
    grad_logits = p.mul_((grad @ v.mT).sub_(row_sum))
    narrow = grad_logits.to(q.dtype)
    # Queries and keys have fewer numbers to scale than their products.
    return narrow @ (k * scale), narrow.mT @ (q * scale), grad_v, grad_logits if with_bias else None
