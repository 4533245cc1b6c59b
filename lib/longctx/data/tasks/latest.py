"""Finding the latest of several needles: a passkey that was corrected (after Mohtashami & Jaggi, 2023)."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from longctx.data.tasks.base import IGNORED, Problem, Task, register
from longctx.streams import Raw, below

#: Places at the end that ask.
ASKING = 4


@register(source="https://arxiv.org/abs/2305.16300")
class Latest(Task):
    """Read noise with some needles in it, then say the needle that came last.

    Needles are tokens 0 … values − 1, noise the tokens after them, and the last token asks. To find a needle
    takes no sense of place; to know which of several came last does.
    """

    name: Literal["latest"] = "latest"
    values: Annotated[int, Field(ge=2)] = 32
    noise: Annotated[int, Field(ge=1)] = 31
    needles: Annotated[int, Field(ge=1)] = 2

    @property
    def vocab_size(self) -> int:
        return self.values + self.noise + 1

    def largest(self, length: int) -> int:
        return int(length >= self.needles + ASKING and self.values >= self.needles)

    def problem(self, size: int, length: int, raw: Raw) -> Problem:
        read = length - ASKING
        places = np.sort(np.argsort(raw(read), kind="stable")[: self.needles])
        said = np.argsort(raw(self.values), kind="stable")[: self.needles]
        text = self.values + below(raw(read), self.noise)
        text[places] = said
        silent = np.full(read, IGNORED), np.zeros(read, dtype=np.int64)
        return Problem(
            inputs=np.append(text, np.full(ASKING, self.vocab_size - 1)),
            targets=np.append(silent[0], np.full(ASKING, said[-1])),
            distances=np.append(silent[1], np.arange(read, length) - places[-1]),
        )
