"""The one entrance to attention: any pattern, any position encoding, any executor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from longctx.attention.arrangements import ByLayer, PerHead, build_attention
from longctx.attention.executors import EXECUTORS, Executor, Task, choose_executor
from longctx.attention.mixer import Mixer, MixerConfig, build_mixer
from longctx.attention.patterns.base import Pattern
from longctx.attention.patterns.full import Full
from longctx.positions.base import PositionEncoding, default_positions


def attend(
    q: Float[Tensor, "batch heads queries q_channels"],
    k: Float[Tensor, "batch kv_heads keys k_channels"],
    v: Float[Tensor, "batch kv_heads keys head_dim"],
    *,
    pattern: str | Mapping[str, Any] | Pattern | PerHead | Mixer,
    position: PositionEncoding | None = None,
    q_pos: Int[Tensor, " queries"] | None = None,
    k_pos: Int[Tensor, " keys"] | None = None,
    executor: str = "auto",
) -> Float[Tensor, "batch heads queries head_dim"]:
    r"""Scaled dot-product attention under a pattern and a position encoding.

    .. math:: y_i = \sum_{j \in \mathcal{A}(i)} \operatorname{softmax}_j\!\Big(
              \frac{(R_i q_i)^\top (R_j k_j)}{\sqrt{d}} + b(i, j)\Big)\, v_j

    Args:
        q: queries, not yet rotated; heads must be a multiple of kv_heads (grouped-query attention). After
            their channels come those that a mixer asks for, if any.
        k: keys, not yet rotated, with the channels after them that the encoding observes, if any, and that a
            mixer keeps.
        v: values.
        pattern: who may look at whom, for all heads or for each group of them, or a spec of it; or a
            mixer, which chooses the keys of each query itself or has no softmax.
        position: supplies the rotation R and the bias b; None has neither. Its `embed` is the model's affair.
        q_pos: positions of the queries; 0 … queries − 1 by default.
        k_pos: positions of the keys; 0 … keys − 1 by default.
        executor: "dense" (the reference), "halves" (full causal attention, faster), "blocks" (sub-quadratic),
            "flex" (compiled, CUDA), or "auto"; mixers have their own.

    Raises:
        ValueError: shapes that do not fit, an executor that cannot serve these positions, positions beyond
            those that a pattern is defined for, or a query that may look at no key.
    """
    seen = pattern if isinstance(pattern, Mixer) else build_attention(pattern)
    if isinstance(seen, ByLayer):
        raise ValueError(f"{seen} differs by layer; give what one of them does, at_layer(0) or another")
    if isinstance(seen, MixerConfig):
        seen = _built(seen, q, k)
    asked, kept = (seen.asked, seen.kept) if isinstance(seen, Mixer) else (0, 0)
    _check_shapes(q, k, v, asked, kept + (0 if position is None else position.observed))
    queries, keys = q.shape[2], k.shape[2]
    if seen.causal and queries != keys and q_pos is None:
        raise ValueError(f"with {queries} queries and {keys} keys a causal pattern needs q_pos")
    if position is not None:
        position.check_sight(seen, seen.causal)
    q_pos, q_standard = _positions("q_pos", q_pos, queries, q.device)
    k_pos, k_standard = _positions("k_pos", k_pos, keys, q.device)
    standard = q_standard and k_standard and queries == keys
    if position is not None:
        q, k = _rotated(position, q, k, q_pos, k_pos, asked, kept)
    where, scale = (position, q_pos, k_pos), 1 / math.sqrt(v.shape[3])
    if isinstance(seen, Mixer):
        task = Task(Full(), *where, slice(0, q.shape[1]), standard=standard, scale=scale)
        return _run(partial(seen.attend, executor=executor), q, k, v, task, kept)
    if executor not in ("auto", *EXECUTORS):
        raise ValueError(f"a pattern runs on the executors auto, {', '.join(EXECUTORS)}; got {executor!r}")
    outputs = []
    for one, heads, kv_heads in _groups_of_heads(seen, q.shape[1], k.shape[1]):
        _check_length(one, q_pos, k_pos)
        task = Task(one, *where, heads, standard=standard, scale=scale)
        if task.scored and isinstance(seen, PerHead):
            raise ValueError(
                f"per_head cannot divide {type(position).__name__}, which scores all heads at once"
            )
        run = EXECUTORS[choose_executor(q, task) if executor == "auto" else executor]
        outputs.append(_run(run, q[:, heads], k[:, kv_heads], v[:, kv_heads], task))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def _built(config: MixerConfig, q: Tensor, k: Tensor) -> Mixer:
    heads, head_dim = q.shape[1], q.shape[3]
    sizes = {"d_model": heads * head_dim, "n_heads": heads, "n_kv_heads": k.shape[1], "head_dim": head_dim}
    mixer = build_mixer(config, **sizes)
    if any(True for _ in mixer.parameters()):
        raise ValueError(f"{config} learns; build it once (build_mixer) and give it as the pattern")
    return mixer


def _rotated(
    position: PositionEncoding, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, asked: int, kept: int
) -> tuple[Tensor, Tensor]:
    """Queries and keys turned by their positions; what a mixer asks and keeps stays after them as it is."""
    (q, asking), (k, keeping) = (x.split([x.shape[3] - n, n], 3) for x, n in ((q, asked), (k, kept)))
    q, k = position.rotate(q, k, q_pos, k_pos)
    return torch.cat([q, asking], 3) if asked else q, torch.cat([k, keeping], 3) if kept else k


def _run(run: Executor, q: Tensor, k: Tensor, v: Tensor, task: Task, kept: int = 0) -> Tensor:
    if (wider := k.shape[3] - kept - v.shape[3]) and not task.scored:
        # Kernels want equally many channels everywhere.
        return run(q, k, pad(v, (0, wider)), task)[..., : v.shape[3]]
    return run(q, k, v, task)


def _groups_of_heads(
    pattern: Pattern | PerHead, heads: int, kv_heads: int
) -> Iterator[tuple[Pattern, slice, slice]]:
    """The patterns of a layer, and which heads of queries and of keys use each."""
    patterns = pattern.patterns if isinstance(pattern, PerHead) else (pattern,)
    if kv_heads % len(patterns):
        raise ValueError(
            f"per_head: kv_heads={kv_heads} must be a multiple of the number of patterns, {len(patterns)}"
        )
    for i, one in enumerate(patterns):
        mine, keys = (slice(i * n // len(patterns), (i + 1) * n // len(patterns)) for n in (heads, kv_heads))
        yield one, mine, keys


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, asked: int, observed: int) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == 4:
        raise ValueError(f"q, k and v must be (batch, heads, length, head_dim); got {shapes}")
    if k.shape != (*v.shape[:3], v.shape[3] + observed):
        more = f", but for the {observed} channels beside the keys" if observed else ""
        raise ValueError(f"k and v must have the same shape{more}; got {shapes}")
    if q.shape[0] != k.shape[0] or q.shape[3] != v.shape[3] + asked:
        more = f", but for the {asked} channels beside the queries" if asked else ""
        raise ValueError(f"q and k must agree in batch and head_dim{more}; got {shapes}")
    if 0 in q.shape or 0 in k.shape:
        raise ValueError(f"no size may be 0; got {shapes}")
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"heads must be a multiple of kv_heads; got {q.shape[1]} and {k.shape[1]}")


def _check_length(pattern: Pattern, *positions: Tensor) -> None:
    if (longest := pattern.max_length) is None or torch.compiler.is_compiling():
        return
    if (farthest := max(int(x.max()) for x in positions)) >= longest:
        raise ValueError(f"{pattern} is defined for {longest} positions; got a token at position {farthest}")


def _positions(
    name: str, given: Tensor | None, length: int, device: torch.device
) -> tuple[Int[Tensor, " length"], bool]:
    """The positions to use, and whether they are 0 … length − 1."""
    default = default_positions(length, device)
    if given is None or given is default:
        return default, True
    if given.shape != (length,) or given.is_floating_point():
        raise ValueError(f"{name} must be {length} integers; got {given.dtype} of shape {tuple(given.shape)}")
    given = given.to(device)
    if torch.equal(given, default):
        return default, True
    return given, False
