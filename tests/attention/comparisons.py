"""What tests of executors share: inputs, and values and gradients of one executor."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from longctx.attention import attend
from longctx.positions import build_position

HEADS, HEAD_DIM = 6, 8


def build(spec):
    return build_position(spec, d_model=HEADS * HEAD_DIM, n_heads=HEADS, head_dim=HEAD_DIM)


def inputs(length, batch=2, kv_heads=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def draw(heads):
        shape = (batch, heads, length, HEAD_DIM)
        return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()

    return draw(HEADS), draw(kv_heads), draw(kv_heads)


def values_and_gradients(executor, pattern, position, tensors):
    y = attend(*tensors, pattern=pattern, position=position, executor=executor)
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
