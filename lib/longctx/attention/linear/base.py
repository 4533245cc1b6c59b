"""What attention without a softmax is: a sum over the past, which a state of fixed size can hold."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from longctx.attention.executors.base import Task
from longctx.attention.mixer import Mixer
from longctx.positions.base import PositionEncoding, default_positions

#: Tokens to a chunk: inside of it all pairs are computed, across chunks a state is handed on.
CHUNK = 32


class LinearMixer(Mixer):
    """Base of attention without a softmax, whose cost grows with the length and not with its square.

    A subclass says what is computed twice: by definition, which is the reference, and in chunks. Both are
    given float32 at least. The library's cache holds keys and values, as for any attention, so decoding
    computes the state anew for each piece of text: exact, but not yet with the constant cost of a kept state.
    """

    kind = "linear"
    cost = "a state of head_dim² numbers, whatever L"
    #: What the reference is called.
    reference: ClassVar[str] = "dense"

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    @classmethod
    def check_position(cls, encoding: type[PositionEncoding]) -> None:
        for hook, does in (
            ("bias", "adds to the logits of a softmax"),
            ("score", "computes the logits of a softmax"),
            ("observe", "adds channels to the keys, which a softmax reads"),
        ):
            if getattr(encoding, hook) is not getattr(PositionEncoding, hook):
                raise ValueError(
                    f"{cls.__name__} has no softmax and cannot serve {encoding.__name__}, which {does}"
                )

    def define(
        self,
        q: Float[Tensor, "batch kv_heads group queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        q_pos: Int[Tensor, " queries"],
        k_pos: Int[Tensor, " keys"],
    ) -> Float[Tensor, "batch kv_heads group queries head_dim"]:
        """The mixed values by definition, at any positions: the reference."""
        raise NotImplementedError

    def in_chunks(
        self,
        q: Float[Tensor, "batch kv_heads group length q_channels"],
        k: Float[Tensor, "batch kv_heads length k_channels"],
        v: Float[Tensor, "batch kv_heads length head_dim"],
    ) -> Float[Tensor, "batch kv_heads group length head_dim"]:
        """The same at positions 0 … length − 1, at a cost linear in the length."""
        raise NotImplementedError

    def attend(
        self,
        q: Float[Tensor, "batch heads queries q_channels"],
        k: Float[Tensor, "batch kv_heads keys k_channels"],
        v: Float[Tensor, "batch kv_heads keys head_dim"],
        task: Task,
        *,
        executor: str,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """Mix the values.

        Args:
            executor: the name of the reference ("dense" for all pairs, "recurrent" for token by token);
                "chunks"; or "auto", which is chunks where these can serve: keys at 0 … keys − 1, and queries
                at the last of these positions.

        Raises:
            ValueError: an executor or an encoding of positions that cannot serve, or a query before all keys.
        """
        name = type(self).__name__
        if task.position is not None:
            self.check_position(type(task.position))
        if (width := q.shape[3] - self.asked) != self.head_dim:
            raise ValueError(
                f"{name} takes queries and keys of head_dim={self.head_dim} channels; "
                f"{type(task.position).__name__} makes them {width}"
            )
        if executor not in ("auto", self.reference, "chunks"):
            raise ValueError(
                f"{name} runs on the executors auto, {self.reference} and chunks; got {executor!r}"
            )
        at_the_end = task.standard or _at_the_end(task)
        if executor == "chunks" and not at_the_end:
            raise ValueError(
                "the chunks executor needs keys at positions 0 … keys − 1 and queries at the last of them; "
                f"use {self.reference}"
            )
        if not at_the_end and bool(task.q_pos.min() < task.k_pos.min()):
            raise ValueError("a query stands before all keys")
        wide = torch.promote_types(q.dtype, torch.float32)
        query, key, value = (x.to(wide) for x in (q.unflatten(1, (k.shape[1], -1)), k, v))
        with torch.autocast(q.device.type, enabled=False):  # sums over a long past need more than 8 bits
            if executor == self.reference or not at_the_end:
                y = self.define(query, key, value, task.q_pos, task.k_pos)
            else:
                before = k.shape[2] - q.shape[2]
                y = self.in_chunks(pad(query, (0, 0, before, 0)), key, value)[:, :, :, before:]
        return y.flatten(1, 2).to(v.dtype)


def _at_the_end(task: Task) -> bool:
    keys = default_positions(len(task.k_pos), task.k_pos.device)
    return torch.equal(task.k_pos, keys) and torch.equal(task.q_pos, keys[-len(task.q_pos) :])


def cut(x: Tensor, dim: int = 2) -> Tensor:
    """A tensor's ``dim`` as chunks × tokens of one, filled up with zeros at the end."""
    missing = -x.shape[dim] % CHUNK
    filled = pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, missing)) if missing else x
    return filled.unflatten(dim, (-1, CHUNK))


def rows(q: Float[Tensor, "batch kv_heads group length channels"]) -> Tensor:
    """Queries as batch × kv_heads × chunks × (group · tokens) × channels: who shares keys is one matrix."""
    return cut(q, 3).transpose(2, 3).flatten(3, 4)


def unrows(y: Tensor, group: int, length: int) -> Tensor:
    """What `rows` has done, undone."""
    return y.unflatten(3, (group, CHUNK)).transpose(2, 3).flatten(3, 4)[:, :, :, :length]
