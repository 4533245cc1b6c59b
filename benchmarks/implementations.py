"""What the attention benchmark compares, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import peers
import torch
from gallery import gallery
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention import attend, build_mixer, build_pattern, list_patterns
from longctx.attention.executors import halves
from longctx.attention.executors.cost import allowed_pairs, bytes_held, work
from longctx.positions import build_position

BATCH, HEADS, HEAD_DIM = 1, 4, 32
OURS = "longctx sliding_window"
FULL = "longctx full"
DENSE = "SDPA full causal"
#: Longest texts where time is quadratic, and where all pairs are held or single keys gathered.
QUADRATIC, MATRIX = 16384, 4096
LINEAR = 2**17
#: Those of the mixers that score all pairs.
MIXED = {"top_k": MATRIX, "dsa": MATRIX}


@dataclass(frozen=True)
class Implementation:
    """Something that attends."""

    #: Made for a length, once; what is timed takes queries, keys and values.
    build: Callable[[int], peers.Attention]
    #: The longest and the shortest text that it is given.
    longest: int = LINEAR
    shortest: int = 1
    #: The spec of its pattern at a length, where the block executor computes it.
    pattern: Callable[[int], str] | None = None
    #: Another with the same mask, ours beside a peer: outputs must agree, and times are compared.
    same_as: str | None = None
    #: Whether it has a gradient; without, only the way forward is timed.
    gradient: bool = True

    def counts(self, length: int) -> tuple[int, int] | None:
        """Pairs of a head that the pattern allows, and that are computed."""
        if self.pattern is None:
            return None
        pattern = build_pattern(self.pattern(length))
        computed = halves.pairs(length) if str(pattern) == "full" else work(pattern, length).computed
        return allowed_pairs(pattern, length), computed

    def work(self, length: int) -> int:
        """All that the block executor does with the pattern, in pairs of a head."""
        return work(build_pattern(self.pattern(length)), length).pairs

    def held(self, length: int) -> int:
        """Bytes that a step of it should hold."""
        sizes = {"batch": BATCH, "heads": HEADS, "kv_heads": HEADS, "head_dim": HEAD_DIM}
        return bytes_held(build_pattern(self.pattern(length)), length, **sizes)


def implementations(window: int) -> dict[str, Implementation]:
    """The library's patterns and selections, then its peers; ``window`` is the keys of a query, or nearly."""
    every = {f"longctx {name}": _ours(name, window) for name in gallery(16384, window) if name != "full"}
    return {
        OURS: every.pop(OURS),
        f"{OURS} + rope": _window(window, "rope"),
        f"{OURS} + alibi": _window(window, "alibi"),
        f"{OURS} + learned alibi": _window(window, "alibi(learned=True)"),
        f"{OURS} of {window + 1}": _window(window + 1),
        f"{OURS} of {4 * window}": _window(4 * window),
        FULL: Implementation(
            lambda length: partial(attend, pattern="full"),
            QUADRATIC,
            pattern=lambda length: "full",
            same_as=DENSE,
        ),
        "longctx full + alibi": Implementation(lambda length: _attend("full", "alibi"), QUADRATIC),
        **every,
        **_twins(window),
        **_peers(window),
    }


def _attend(pattern: str, position: str | None = None, executor: str = "blocks") -> peers.Attention:
    sizes = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "head_dim": HEAD_DIM}
    encoding = None if position is None else build_position(position, **sizes)
    return partial(attend, pattern=pattern, position=encoding, executor=executor)


def _window(window: int, position: str | None = None) -> Implementation:
    spec = f"sliding_window(window={window})"
    return Implementation(lambda length: _attend(spec, position), pattern=lambda length: spec)


def _ours(name: str, window: int) -> Implementation:
    def spec(length: int) -> str:
        return gallery(length, window)[name]

    if name not in list_patterns():
        return Implementation(lambda length: _mixer(spec(length), length), MIXED.get(name, LINEAR))
    longest = QUADRATIC if name == "prefix_lm" else LINEAR
    return Implementation(lambda length: _attend(spec(length)), longest, pattern=spec)


def _mixer(spec: str, length: int) -> peers.Attention:
    """A mixer and what it reads off the states of tokens, random ones here."""
    sizes = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "n_kv_heads": HEADS, "head_dim": HEAD_DIM}
    mixer = build_mixer(spec, **sizes)
    states = torch.randn(BATCH, length, HEADS * HEAD_DIM, generator=torch.Generator().manual_seed(0))

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        asked, kept = mixer.ask(states), mixer.keep(states)
        q = q if asked is None else torch.cat([q, asked], -1)
        return attend(q, k if kept is None else torch.cat([k, kept], -1), v, pattern=mixer)

    return attention


def _two_way(name: str, window: int) -> Callable[[int], str]:
    """Patterns that look both ways, as those of the peers do."""
    if name == "longformer":
        return lambda length: f"longformer(window={window // 2 + 1}, causal=False)"
    return lambda length: (
        f"bigbird(block_size={window // 4}, global_blocks=(0, -1), random_blocks=3, "
        f"length={length}, causal=False)"
    )


def _twins(window: int) -> dict[str, Implementation]:
    """What the library has of the same mask as a peer, or without a gradient as a peer."""
    twins = {}
    for name in ("longformer", "bigbird"):
        spec = _two_way(name, window)
        twins[f"longctx {name}, two-way"] = Implementation(
            lambda length, spec=spec: _attend(spec(length)), pattern=spec
        )
    spec = f"sliding_window(window={window})"
    forward = Implementation(lambda length: _attend(spec), gradient=False)
    return {**twins, f"{OURS}, forward": forward}


def _peers(window: int) -> dict[str, Implementation]:
    def bigbird(length: int, *, probabilities: bool) -> peers.Attention:
        pattern = build_pattern(_two_way("bigbird", window)(length))
        return peers.hugging_face_bigbird(HEADS, HEAD_DIM, pattern, probabilities=probabilities)

    def always(attention: Callable[[], peers.Attention]) -> Callable[[int], peers.Attention]:
        return lambda length: attention()

    longformer, twin = "longctx longformer, two-way", "longctx bigbird, two-way"
    shortest = (5 + 2 * 3) * window // 4  # blocks of their window, global and random ones, all distinct
    return {
        DENSE: Implementation(
            lambda length: partial(scaled_dot_product_attention, is_causal=True), QUADRATIC
        ),
        "SDPA band mask": Implementation(
            lambda length: partial(peers.band, window=window), MATRIX, same_as=OURS
        ),
        "SDPA own and previous block": Implementation(
            lambda length: partial(peers.two_blocks, window=window), same_as=OURS
        ),
        f"local-attention of {window + 1}": Implementation(
            always(partial(peers.local_attention, window)), same_as=f"{OURS} of {window + 1}"
        ),
        "Hugging Face Longformer": Implementation(
            always(partial(peers.hugging_face_longformer, HEADS, HEAD_DIM, window)), same_as=longformer
        ),
        "Hugging Face BigBird": Implementation(
            partial(bigbird, probabilities=True), QUADRATIC, shortest, same_as=twin
        ),
        "Hugging Face BigBird, no probabilities": Implementation(
            partial(bigbird, probabilities=False), shortest=shortest, same_as=twin
        ),
        "FlexAttention compiled, forward": Implementation(
            always(partial(peers.compiled_flex, f"sliding_window(window={window})")),
            same_as=f"{OURS}, forward", gradient=False,
        ),
    }  # fmt: skip
