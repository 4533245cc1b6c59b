"""Routing attention (Roy et al., 2020, "Routing Transformer", section 4.1)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.functional import layer_norm, one_hot

from longctx.attention.executors.base import Task
from longctx.attention.mixer import MixerConfig, register_mixer
from longctx.attention.selection.buckets import BucketSelection


class RoutingConfig(MixerConfig):
    name: Literal["routing"] = "routing"
    #: Clusters of each head of keys.
    clusters: PositiveInt = Field(16, examples=[4])
    #: Keys of its cluster that a query sees.
    window: PositiveInt = Field(64, examples=[5])
    #: What remains of a centroid after a step.
    decay: Annotated[float, Field(ge=0, le=1)] = 0.999
    #: Where the first centroids come from.
    seed: NonNegativeInt = 0


@register_mixer(RoutingConfig, source="https://arxiv.org/abs/2003.05997")
class Routing(BucketSelection):
    r"""Attend to the last keys of the cluster that the query is nearest to, by online k-means.

    .. math:: h(x) = \operatorname{argmin}_c \lVert \operatorname{norm}(x) - \mu_c \rVert, \qquad
              \mu_c \leftarrow \lambda \mu_c + (1 - \lambda)
              \operatorname{mean} \{\operatorname{norm}(x) : x \in q \cup k,\ h(x) = c\}

    Queries and keys share the centroids of their head; norm is layer norm without gain and bias, over the
    first ``head_dim`` channels if an encoding has added some. Centroids move when a gradient has come back
    through the layer in training mode, by what that forward pass saw, and so once where activations are
    computed again; a cluster without members stays. They are saved with the weights.

    The paper's update has the members' sum. Its clusters take the tokens nearest to them, equally many each:
    then whether a token is in one depends on later tokens. Here a token is in the nearest, and a query sees
    the last ``window`` keys there. The paper shares queries and keys in decoders; here they stay apart. Half
    of its heads attend locally; `by_layer` mixes layers.
    """

    centroids: Tensor

    def __init__(self, config: RoutingConfig, *, n_kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.config = config
        self.window = config.window
        generator = torch.Generator().manual_seed(config.seed)
        start = torch.randn(n_kv_heads, config.clusters, head_dim, generator=generator)
        self.register_buffer("centroids", self._normed(start))

    @staticmethod
    def _normed(x: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch channels"]:
        return layer_norm(x.to(torch.promote_types(x.dtype, torch.float32)), x.shape[-1:])

    def buckets(
        self, x: Float[Tensor, "batch kv_heads length channels"]
    ) -> Int[Tensor, "batch kv_heads 1 length"]:
        return self._nearest(self._normed(x[..., : self.centroids.shape[2]]))[:, :, None]

    def _nearest(
        self, x: Float[Tensor, "batch kv_heads length head_dim"]
    ) -> Int[Tensor, "batch kv_heads length"]:
        centroids = self.centroids.to(x.dtype)
        return (x @ centroids.mT - centroids.square().sum(-1)[:, None] / 2).argmax(-1)

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        if self.training and torch.is_grad_enabled() and q.requires_grad:
            q, seen = q.view_as(q), self._means(q, k)
            # The gradient of the queries is among the last things that a backward pass computes here: where
            # activations are computed again, the choice has by then been repeated with the old centroids.
            q.register_hook(lambda _: self._move(*seen))
        return super().attend(q, k, v, task, executor=executor)

    @torch.no_grad()
    def _means(
        self, q: Tensor, k: Tensor
    ) -> tuple[Float[Tensor, "kv_heads clusters head_dim"], Bool[Tensor, "kv_heads clusters 1"]]:
        """The means of the clusters, and which have members."""
        n_kv_heads, clusters, head_dim = self.centroids.shape
        tokens = torch.cat([q.unflatten(1, (n_kv_heads, -1)).flatten(2, 3), k], dim=2)
        x = self._normed(tokens[..., :head_dim])
        member = one_hot(self._nearest(x), clusters).to(x.dtype)
        x, member = (each.transpose(0, 1).flatten(1, 2) for each in (x, member))
        counts = member.sum(1)[..., None]
        return member.mT @ x / counts.clamp(min=1), counts > 0

    @torch.no_grad()
    def _move(self, means: Tensor, filled: Tensor) -> None:
        moved = means.to(self.centroids.dtype).lerp(self.centroids, self.config.decay)
        self.centroids.copy_(torch.where(filled, moved, self.centroids))
