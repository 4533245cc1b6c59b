"""What tests of attention share: what is combined with what, inputs, values and gradients."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longctx.attention import PATTERNS, attend, build_pattern, list_patterns
from longctx.positions import POSITIONS, build_position, list_positions

HEADS, HEAD_DIM = 6, 8

PATTERN_SPECS = [str(config) for name in list_patterns() for config in PATTERNS.examples(name)]


def acts_as_its_plain_form(config):
    """Whether an encoding differs only by numbers that tests/positions checks: by what is added to
    embeddings, or by RoPE's frequencies. One fixed scaling and one that follows the length remain."""
    target = POSITIONS[config.name].target
    scaling = getattr(config, "scaling", None)
    if scaling is not None:
        return (scaling.name, scaling.follows_length) not in {("yarn", False), ("dynamic", True)}
    return target.kind == "additive" and str(config) != config.name


POSITION_SPECS = [
    str(config)
    for name in list_positions()
    for config in POSITIONS.examples(name)
    if not acts_as_its_plain_form(config)
]
#: No bias, a fixed one and a learned one meet every example of a pattern; the others one of each kind.
THOROUGH = ("nope", "alibi", "alibi(learned=True)")
KINDS_OF_PATTERN = {
    (config.name, build_pattern(config).causal): str(config)
    for name in list_patterns()
    for config in PATTERNS.examples(name)
}
#: For what an encoding or a pattern does by itself: each pattern once, each encoding in both directions.
EACH_ONCE = [(pattern, "alibi") for pattern in PATTERN_SPECS] + [
    (pattern, position)
    for position in POSITION_SPECS
    for pattern in ("sliding_window(window=40)", "block_local(block_size=7, causal=False)")
]
COMBINATIONS = [
    (pattern, position)
    for position in POSITION_SPECS
    for pattern in (PATTERN_SPECS if position in THOROUGH else KINDS_OF_PATTERN.values())
]


def build(spec, kv_heads=2):
    return build_position(
        spec, d_model=HEADS * HEAD_DIM, n_heads=HEADS, n_kv_heads=kv_heads, head_dim=HEAD_DIM
    )


def inputs(length, batch=2, kv_heads=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def draw(heads):
        shape = (batch, heads, length, HEAD_DIM)
        return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()

    return draw(HEADS), draw(kv_heads), draw(kv_heads)


def with_observed(position, q, k, v):
    """Keys with what the encoding reads off the states of their tokens."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(len(q), k.shape[2], q.shape[1] * q.shape[3], generator=generator, dtype=q.dtype)
    observed = position.observe(x)
    return q, k if observed is None else torch.cat([k, observed], -1), v


def values_and_gradients(executor, pattern, position, tensors):
    whole = with_observed(position, *tensors)
    y = attend(*whole, pattern=pattern, position=position, executor=executor)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    sources = [*tensors, *position.parameters()]
    grads = torch.autograd.grad((y * weight).sum(), sources, allow_unused=True)
    return [y, *(g for g in grads if g is not None)]


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made under it holds."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, list | tuple) else [made]:
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.untyped_storage().nbytes() // x.element_size())
        return made


class Held(TorchDispatchMode):
    """The most bytes that tensors made under it hold at a time."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)}
        made = func(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            if torch.is_tensor(x) and (key := x.untyped_storage()._cdata) not in known | self.alive.keys():
                self.alive[key] = x.untyped_storage().nbytes()
                weakref.finalize(x.untyped_storage(), self.alive.pop, key)
        self.peak = max(self.peak, sum(self.alive.values()))
        return made
