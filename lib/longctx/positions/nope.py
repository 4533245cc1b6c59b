"""NoPE: no position encoding at all (Kazemnejad et al., 2023; Haviv et al., 2022)."""

from typing import Literal

from longctx.positions.base import PositionConfig, PositionEncoding, register


class NoPEConfig(PositionConfig):
    name: Literal["nope"] = "nope"


@register(NoPEConfig, source="https://arxiv.org/abs/2305.19466")
class NoPE(PositionEncoding):
    """Leave positions to the causal mask, which alone breaks the symmetry between tokens."""

    kind = "none"

    def __init__(self, config: NoPEConfig) -> None:
        super().__init__()
        self.config = config
