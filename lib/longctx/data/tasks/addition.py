"""Adding two numbers of equally many digits."""

from typing import Literal

import numpy as np

from longctx.data.tasks.base import Problem, Task, asked, register
from longctx.streams import Raw, below

PLUS, EQUALS = 10, 11


@register(source="https://arxiv.org/abs/2305.19466")
class Addition(Task):
    """Add two numbers of equally many digits, all three written with the ones first.

    Written so, a digit of the sum depends on one column and on the carry that the digits before it tell.
    """

    name: Literal["addition"] = "addition"

    @property
    def vocab_size(self) -> int:
        return 12

    def largest(self, length: int) -> int:
        return (length - 2) // 3

    def problem(self, size: int, length: int, raw: Raw) -> Problem:
        a, b = below(raw(2 * size), 10).reshape(2, size)
        total, carry = np.empty(size + 1, dtype=np.int64), 0
        for column in range(size):
            carry, total[column] = divmod(int(a[column] + b[column]) + carry, 10)
        total[size] = carry
        columns = np.minimum(np.arange(size + 1), size - 1)
        return asked(np.concatenate([a, [PLUS], b, [EQUALS]]), total, columns)
