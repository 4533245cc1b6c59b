"""The shape of a model: a family names the defaults, every choice can be overridden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from longctx.attention import MIXERS, ByLayer, MixerConfig, PerHead, build_attention
from longctx.positions import POSITIONS
from longctx.registry import Registry, format_call

#: What each family chooses where the config is silent. Sources: Radford et al. (2019) as released in GPT-2;
#: Touvron et al. (2023), section 2.2.
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt": {
        "activation": "gelu_tanh",
        "norm": "layernorm",
        "bias": True,
        "tie_embeddings": True,
        "position": "learned",
    },
    "llama": {
        "activation": "swiglu",
        "norm": "rmsnorm",
        "bias": False,
        "tie_embeddings": False,
        "position": "rope",
    },
}


#: Never seen: `derived_fields` fills these in before anything is validated.
_OF_THE_FAMILY: Any = Field(default=None)


class ModelConfig(BaseModel):
    """A decoder stack, described completely. Unset choices are those of the family.

    Raises:
        ValueError: a field is unknown or out of range, heads do not divide, or a strategy does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["gpt", "llama"] = "gpt"
    n_layers: PositiveInt
    #: Width of the residual stream.
    d_model: PositiveInt
    n_heads: PositiveInt
    #: Heads of keys and values: n_heads gives MHA, 1 gives MQA, anything between GQA.
    n_kv_heads: PositiveInt = _OF_THE_FAMILY
    #: Hidden width of the feed-forward layer: 4 d_model, or ⌈8/3 d_model⌉ to a multiple of 32 with SwiGLU.
    d_ff: PositiveInt = _OF_THE_FAMILY
    vocab_size: PositiveInt
    #: A position encoding and an attention pattern, as `build_position` and `build_attention` read them.
    position: str = _OF_THE_FAMILY
    attention: str = "full"
    activation: Literal["gelu", "gelu_tanh", "swiglu"] = _OF_THE_FAMILY
    norm: Literal["layernorm", "rmsnorm"] = _OF_THE_FAMILY
    norm_eps: PositiveFloat = 1e-5
    #: Whether linear layers and layer norms carry biases.
    bias: bool = _OF_THE_FAMILY
    tie_embeddings: bool = _OF_THE_FAMILY
    #: Standard deviation of the initial weights.
    init_std: PositiveFloat = 0.02

    @model_validator(mode="before")
    @classmethod
    def _choices_of_the_family(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        return {**derived_fields(fields), **{k: v for k, v in fields.items() if v is not None}}

    @field_validator("position", mode="before")
    @classmethod
    def _position(cls, value: Any) -> str:
        return _canonical(POSITIONS, value)

    @field_validator("attention", mode="before")
    @classmethod
    def _attention(cls, value: Any) -> str:
        return format_call(build_attention(value))

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model={self.d_model} must be a multiple of n_heads={self.n_heads}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads={self.n_heads} must be a multiple of n_kv_heads={self.n_kv_heads}")
        return self

    @model_validator(mode="after")
    def _attention_fits(self) -> ModelConfig:
        pattern = build_attention(self.attention)
        encoding = POSITIONS[POSITIONS.parse(self.position).name].target
        encoding.check_sight(pattern, pattern.causal)
        for one in (pattern.short, pattern.long) if isinstance(pattern, ByLayer) else (pattern,):
            if isinstance(one, MixerConfig):
                MIXERS[one.name].target.check_position(encoding)
        if isinstance(pattern, PerHead) and self.n_kv_heads % len(pattern.patterns):
            raise ValueError(
                f"n_kv_heads={self.n_kv_heads} must be a multiple of the number of per_head's patterns, "
                f"{len(pattern.patterns)}"
            )
        return self

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads


def derived_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says about every field that ``fields`` leaves open."""
    chosen = dict(FAMILIES.get(fields.get("family", "gpt"), {}))
    if isinstance(fields.get("n_heads"), int):
        chosen["n_kv_heads"] = fields["n_heads"]
    if isinstance(width := fields.get("d_model"), int):
        swiglu = (fields.get("activation") or chosen.get("activation")) == "swiglu"
        chosen["d_ff"] = -(-8 * width // 96) * 32 if swiglu else 4 * width
    return chosen


def _canonical(registry: Registry[Any], value: Any) -> str:
    return format_call(registry.parse(value))
