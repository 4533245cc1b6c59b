"""FoX: forgetting attention (Lin et al., 2025, section 3)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from longctx.positions.base import PositionConfig, PositionEncoding, register


class FoXConfig(PositionConfig):
    name: Literal["fox"] = "fox"
    #: Start of the gates' offset: at 5, a token lets the sum of what came before it fade by 0.7 %.
    init_bias: float = 5.0


@register(FoXConfig, source="https://arxiv.org/abs/2503.02130")
class FoX(PositionEncoding):
    r"""Let every token forget: a gate for each head, read off the token, fades all that came before it.

    .. math:: b_h(i, j) = \sum_{l=j+1}^{i} \ln f_{lh} = c_{ih} - c_{jh}, \qquad
              f_{lh} = \sigma(w_h^\top x_l + b_h), \quad c_{ih} = \sum_{l \le i} \ln f_{lh}

    It is ALiBi with slopes that the text sets. In a softmax over j only :math:`-c_{jh}` counts: one more
    channel of the keys, which any kernel multiplies by a 1 in the query. The keys given must be those of
    all tokens up to the query. As sums over the text, the c lose digits as they grow: at c = 10⁴ logits are
    exact to 10⁻³ in float32.
    """

    kind = "data-dependent"
    shift_invariant = True
    causal_only = True
    per_layer = True

    def __init__(
        self, config: FoXConfig, *, d_model: int, n_heads: int, n_kv_heads: int, head_dim: int
    ) -> None:
        super().__init__()
        self.config, self.head_dim = config, head_dim
        self.n_heads, self.n_kv_heads, self.observed = n_heads, n_kv_heads, n_heads // n_kv_heads
        self.weight = nn.Parameter(torch.empty(n_heads, d_model))
        self.offset = nn.Parameter(torch.empty(n_heads))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the gates' weights with standard deviation 0.02; their offsets start at the config's value."""
        with torch.no_grad():
            self.weight.normal_(0.0, 0.02, generator=generator)
            self.offset.fill_(self.config.init_bias)

    def observe(
        self, x: Float[Tensor, "batch length d_model"]
    ) -> Float[Tensor, "batch kv_heads length observed"]:
        """The logarithm of each head's gate, the heads that share a key side by side."""
        log_gates = logsigmoid(linear(x, self.weight.to(x.dtype), self.offset.to(x.dtype)))
        return log_gates.unflatten(-1, (self.n_kv_heads, self.observed)).transpose(1, 2)

    def rotate(
        self,
        q: Float[Tensor, "batch heads queries head_dim"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> tuple[Float[Tensor, "batch heads queries wide"], Float[Tensor, "batch kv_heads keys wide"]]:
        k, log_gates = k.split([self.head_dim, self.observed], dim=-1)
        order = k_pos.argsort()
        wide = torch.promote_types(k.dtype, torch.float32)
        forgotten = log_gates[:, :, order].to(wide).cumsum(2)[:, :, order.argsort()]
        parts = _in_parts(-forgotten * self.head_dim**0.5, k.dtype)
        # Of the heads that share a key, each reads its own channel.
        own = torch.eye(self.observed, device=q.device, dtype=q.dtype)
        own = own.repeat(self.n_kv_heads, len(parts))[None, :, None]
        return torch.cat([q, own.expand(*q.shape[:3], -1)], -1), torch.cat([k, *parts], -1)


def _in_parts(x: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Tensors of a type whose sum is ``x``: a bfloat16 has 8 bits of it, three of them have all."""
    first = x.to(dtype)
    parts, rest = [first], x.detach() - first.detach()
    while dtype.itemsize < 4 and len(parts) < 3:
        parts.append(rest.to(dtype))
        rest = rest - parts[-1]
    return parts
