"""Dynamic NTK-aware scaling (emozilla, 2023; Peng et al., 2024, section 3.3)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from longctx.positions.scaling.base import Factor, Scaling, Trained, register
from longctx.positions.scaling.ntk import NTK


@register(source="https://arxiv.org/abs/2309.00071")
class Dynamic(Scaling):
    r"""Enlarge the base as the text grows: nothing changes within the trained context.

    `ntk` with the factor :math:`s\,\ell / L - (s - 1)` at length :math:`\ell > L`. So named by
    Hugging Face.
    """

    name: Literal["dynamic"] = "dynamic"
    factor: Factor
    original_max_position_embeddings: Trained

    @property
    def follows_length(self) -> bool:
        return True

    def frequencies(self, base: float, dim: int, length: int = 0) -> Float[Tensor, " pairs"]:
        read = max(1.0, length / self.original_max_position_embeddings)
        return NTK(factor=self.factor * read - (self.factor - 1)).frequencies(base, dim)
