"""FIRE: functional interpolation for relative positions (Li et al., 2024, section 3)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from longctx.positions.base import PositionConfig, PositionEncoding, register
from longctx.positions.distance import by_distance
from longctx.positions.mlp import Perceptron


class FIREConfig(PositionConfig):
    name: Literal["fire"] = "fire"
    #: Hidden units of the function.
    width: PositiveInt = Field(32, examples=[8])
    #: Start of c, which bends distances to their logarithms.
    init_c: PositiveFloat = 0.1
    #: Start of the threshold L: queries at positions below it divide by L, not by their position.
    init_threshold: PositiveFloat = 512.0


@register(FIREConfig, source="https://arxiv.org/abs/2310.04418")
class FIRE(PositionEncoding):
    r"""Add a learned function of the distance *relative to the position of the query*.

    .. math:: b_h(i, j) = f_h\!\left(\frac{\psi(i - j)}{\psi(\max(L, i))}\right), \qquad
              \psi(x) = \ln(c\,x + 1)

    The argument of f, a multilayer perceptron with one hidden layer, lies between 0 and 1 whatever the
    length: a longer context is interpolated. To the right of the query, which the paper leaves open, i and j
    change places.
    """

    kind = "bias"
    #: The same distance is relatively shorter farther on.
    shift_invariant = False

    def __init__(self, config: FIREConfig, *, n_heads: int) -> None:
        super().__init__()
        self.config = config
        self.function = Perceptron([1, config.width, n_heads], nn.ReLU)
        self.c, self.threshold = (nn.Parameter(torch.empty(())) for _ in range(2))
        self.reset_parameters(torch.Generator().manual_seed(0))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the perceptron; c and L start at the config's values."""
        self.function.draw(generator)
        with torch.no_grad():
            self.c.fill_(self.config.init_c)
            # L is learned as a multiple of its start.
            self.threshold.fill_(1.0)

    def bias(
        self, q_pos: Int[Tensor, "*blocks queries"], k_pos: Int[Tensor, "*blocks keys"]
    ) -> Float[Tensor, "*blocks heads queries keys"]:
        threshold = (self.threshold * self.config.init_threshold).abs()
        c, compiling = self.c.abs(), torch.compiler.is_compiling()
        if not compiling and max(q_pos.max(), k_pos.max()) <= threshold:
            largest = torch.log1p(c * threshold)  # divides everywhere: distance is all that counts
            return by_distance(
                lambda d: self.function.of_numbers(torch.log1p(c * d.abs()) / largest), q_pos, k_pos
            )
        # ψ rises: of the later of two places, it is the larger of two values, and needs no logarithm a pair.
        rows, columns = (torch.log1p(c * torch.maximum(threshold, x)) for x in (q_pos, k_pos))
        apart = by_distance(lambda d: torch.log1p(c * d.abs())[:, None], q_pos, k_pos).squeeze(-3)
        relative = apart / torch.maximum(rows[..., :, None], columns[..., None, :])
        if compiling:  # as inside a kernel of FlexAttention
            return self.function(relative[..., None]).movedim(-1, -3)
        return self.function.of_numbers(relative).movedim(-1, -3)
