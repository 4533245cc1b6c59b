"""Self-Extend: distant positions in groups (Jin et al., 2024, section 3)."""

from typing import Literal

from jaxtyping import Int
from pydantic import Field, PositiveInt
from torch import Tensor

from longctx.positions.base import register
from longctx.positions.rerope import Windowed, WindowedConfig


class SelfExtendConfig(WindowedConfig):
    name: Literal["self_extend"] = "self_extend"
    #: Neighbouring positions that distant queries and keys share.
    group_size: PositiveInt = Field(8, examples=[3])


@register(SelfExtendConfig, source="https://arxiv.org/abs/2401.01325")
class SelfExtend(Windowed):
    r"""Turn by the distance up to a window w, and beyond by that of groups of g positions.

    .. math:: \Big(\Big\lfloor \frac{i}{g} \Big\rfloor + w - \Big\lfloor \frac{w}{g} \Big\rfloor\Big)
              - \Big\lfloor \frac{j}{g} \Big\rfloor

    A model trained with RoPE to L so reads :math:`(L - w)\,g + w` tokens, without further training.
    """

    shift_invariant = False
    config: SelfExtendConfig

    def far(
        self, q_pos: Int[Tensor, " queries"], k_pos: Int[Tensor, " keys"]
    ) -> tuple[Int[Tensor, " queries"], Int[Tensor, " keys"]]:
        window, group = self.config.window, self.config.group_size
        return q_pos // group + window - window // group, k_pos // group
