"""Models: configs, layers, the decoder stack, generation, and Hugging Face weights in and out."""

from longctx.model.config import FAMILIES, ModelConfig
from longctx.model.generate import generate, read
from longctx.model.transformer import Transformer, build_model

__all__ = ["FAMILIES", "ModelConfig", "Transformer", "build_model", "generate", "read"]
