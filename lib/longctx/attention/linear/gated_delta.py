"""Gated DeltaNet (Yang et al., 2025, "Gated Delta Networks", sections 3.1 to 3.3)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from longctx.attention.linear.base import CHUNK, LinearMixer, cut, rows, unrows
from longctx.attention.mixer import MixerConfig, register_mixer


class GatedDeltaConfig(MixerConfig):
    name: Literal["gated_delta"] = "gated_delta"
    #: Whether there is a gate α; without it this is DeltaNet (Yang et al., 2024, arXiv 2406.06484).
    forget: bool = Field(True, examples=[True, False])


@register_mixer(GatedDeltaConfig, source="https://arxiv.org/abs/2412.06464")
class GatedDelta(LinearMixer):
    r"""Correct a memory of fixed size: forget a little, then write what it did not yet say about the key.

    .. math:: S_t = \alpha_t S_{t-1} (I - \beta_t k_t k_t^\top) + \beta_t v_t k_t^\top, \qquad o_t = S_t q_t

    .. math:: \alpha_t = \exp\!\big({-e^{A}} \operatorname{softplus}(a^\top x_t + b)\big), \quad
              \beta_t = \sigma(c^\top x_t)

    with queries and keys of length 1. One state belongs to each head of keys and values, and so do its gates,
    which are kept beside the keys; query heads that share these read the same state.

    Only the mixing is the paper's. Its short convolutions, SiLUs, output gate and output norm are left out,
    as the projections around it are those of every attention here. The initial A and b are as in its code,
    after Mamba-2: :math:`e^A` even in 0 … 16, softplus(b) even in the logarithm from 0.001 to 0.1.
    An encoding that rotates leaves lengths as they are, so that it commutes with the normalisation.
    """

    reference = "recurrent"
    kept = 2

    def __init__(self, config: GatedDeltaConfig, *, d_model: int, n_kv_heads: int, head_dim: int) -> None:
        super().__init__(head_dim)
        self.config = config
        self.write = nn.Linear(d_model, n_kv_heads, bias=False)
        if config.forget:
            self.forget = nn.Linear(d_model, n_kv_heads, bias=False)
            self.A_log = nn.Parameter(torch.empty(n_kv_heads))
            self.dt_bias = nn.Parameter(torch.empty(n_kv_heads))
            self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw how fast the heads forget before they have learned to."""
        if not self.config.forget:
            return
        with torch.no_grad():
            self.A_log.uniform_(0.0, 16.0, generator=generator).clamp_(min=1e-4).log_()
            fall = self.dt_bias.uniform_(math.log(1e-3), math.log(1e-1), generator=generator).exp_()
            fall.add_((-(-fall).expm1()).log())  # softplus of this is what it was

    def keep(self, x: Float[Tensor, "batch length d_model"]) -> Float[Tensor, "batch kv_heads length 2"]:
        """The logarithm of α, and β."""
        beta = self.write(x).float().sigmoid()
        if self.config.forget:
            log_alpha = -self.A_log.exp() * softplus(self.forget(x).float() + self.dt_bias)
        else:
            log_alpha = torch.zeros_like(beta)
        return torch.stack([log_alpha, beta], -1).transpose(1, 2)

    def define(
        self,
        q: Float[Tensor, "batch kv_heads group queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch kv_heads group queries head_dim"]:
        order = k_pos.argsort()
        k, log_alpha, beta = self._parts(k[:, :, order])
        v, alpha, beta = v[:, :, order], log_alpha.exp()[..., None, None], beta[..., None]
        state = k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3])  # the transpose of the paper's
        states = []
        for t in range(k.shape[2]):
            state = alpha[:, :, t] * state
            wrong = v[:, :, t] - (state * k[:, :, t, :, None]).sum(2)
            state = state + k[:, :, t, :, None] * (beta[:, :, t] * wrong)[:, :, None]
            states.append(state)
        last = torch.searchsorted(k_pos[order], q_pos, right=True) - 1
        read = [_unit(q[:, :, :, i]) @ states[t] for i, t in enumerate(last.tolist())]
        return torch.stack(read, 3)

    def in_chunks(
        self,
        q: Float[Tensor, "batch kv_heads group length head_dim"],
        k: Float[Tensor, "batch kv_heads length k_channels"],
        v: Float[Tensor, "batch kv_heads length head_dim"],
    ) -> Float[Tensor, "batch kv_heads group length head_dim"]:
        r"""The WY form of a chunk (section 3.3; Yang et al., 2024, arXiv 2406.06484, section 3.2).

        Let :math:`\Gamma_{ij} = \alpha_{j+1} \cdots \alpha_i`, :math:`\gamma_i = \alpha_1 \cdots \alpha_i`
        inside the chunk, and S the state before it. What its tokens write are the rows of U − W S, with

        .. math:: \big(I + \operatorname{tril}_{-1}(\beta K K^\top \odot \Gamma)\big)\, [U, W]
                  = [\beta V, \beta \gamma K] .

        The state after the chunk is then P S + H, which alone is computed one chunk after the other.
        """
        group, length = q.shape[2:4]
        k, log_alpha, beta = self._parts(k)
        q, k, v = rows(_unit(q)), cut(k), cut(v)
        log_alpha, beta = cut(log_alpha[..., None]), cut(beta[..., None])
        # Sums of the logarithms from j + 1 to i alone: a difference of two long sums would lose digits.
        lower = torch.ones(CHUNK, CHUNK, dtype=q.dtype, device=q.device).tril()
        fade = (lower @ (log_alpha * lower.tril(-1))).exp().tril()
        so_far, to_come = fade[..., :1] * log_alpha[..., :1, :].exp(), fade[..., -1, :, None]
        written = torch.linalg.solve_triangular(
            ((beta * k) @ k.mT) * fade,
            torch.cat([beta * v, beta * so_far * k], -1),
            upper=False,
            unitriangular=True,
        )
        sizes = [v.shape[-1], k.shape[-1]]
        (U, W), (H, P) = (x.split(sizes, -1) for x in (written, (to_come * k).mT @ written))
        states = _states(P, H, so_far[..., -1:, :])
        pairs = (q @ k.mT).unflatten(3, (group, CHUNK)) * fade[:, :, :, None]
        q = q * so_far.repeat(1, 1, 1, group, 1)
        return unrows(pairs.flatten(3, 4) @ (U - W @ states) + q @ states, group, length)

    def _parts(self, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys of length 1, log α and β."""
        key, log_alpha, beta = k.split([self.head_dim, 1, 1], -1)
        return _unit(key), log_alpha[..., 0], beta[..., 0]


def _states(P: Tensor, H: Tensor, fade: Tensor) -> Tensor:
    """The state before each chunk."""
    state, states = torch.zeros_like(H[:, :, 0]), []
    for p, h, kept in zip(P.unbind(2), H.unbind(2), fade.unbind(2), strict=True):
        states.append(state)
        state = torch.addcmul(h, kept, state) - p @ state
    return torch.stack(states, 2)


def _unit(x: Tensor) -> Tensor:
    """Vectors divided by their length; the zero vector stays."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
