"""Dense against blocks, pattern by pattern, at the lengths where one overtakes the other.

What `attend` chooses is beside them. Times are the processor's, for which it matters less what else the
machine does, and the least of many interleaved ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from gallery import gallery
from keep import keep
from torch import Tensor

from longctx.attention import attend, build_pattern, list_patterns
from longctx.attention.executors import Task, choose_executor

BATCH, HEADS, HEAD_DIM = 1, 4, 32
LENGTHS = (128, 256, 384, 512, 640, 768, 1024, 1536, 2048)
#: Keys a query, so that patterns meet short texts both narrow and wide.
KEYS = (64, 256)
EXECUTORS = ("dense", "blocks")
#: Full attention chooses between dense and halves.
PATTERNS = [name for name in list_patterns() if name != "full"]


def run(lengths: Sequence[int] = LENGTHS, rounds: int = 30) -> list[dict[str, Any]]:
    """Rows of pattern (a spec), length, milliseconds of each executor, and the one that is chosen."""
    torch.set_num_threads(1)
    rows = []
    for length in sorted(lengths):
        generator = torch.Generator().manual_seed(length)
        q, k, v = (
            torch.randn(BATCH, HEADS, length, HEAD_DIM, generator=generator, requires_grad=True)
            for _ in range(3)
        )
        # The first step makes the plan, which is kept.
        least = {
            (spec, executor): step(spec, executor, q, k, v)
            for spec in specs(length)
            for executor in EXECUTORS
        }
        for _ in range(rounds):
            for key, before in least.items():
                least[key] = min(before, step(*key, q, k, v))
        for spec in specs(length):
            times = {f"{executor}_ms": 1e3 * least[spec, executor] for executor in EXECUTORS}
            rows.append({"pattern": spec, "length": length, **times, "chosen": chosen(spec, q)})
    return rows


def specs(length: int) -> list[str]:
    """The patterns to compare at a length, each once."""
    return sorted({gallery(length, keys)[name] for name in PATTERNS for keys in KEYS})


def step(spec: str, executor: str, q: Tensor, k: Tensor, v: Tensor) -> float:
    """Seconds of the processor for a forward and backward step."""
    start = time.process_time()
    y = attend(q, k, v, pattern=spec, executor=executor)
    torch.autograd.grad(y, (q, k, v), y.detach())
    return time.process_time() - start


def chosen(spec: str, q: Tensor) -> str:
    """The executor that "auto" stands for."""
    where = torch.arange(q.shape[2])
    task = Task(build_pattern(spec), None, where, where, slice(0, HEADS), standard=True, scale=HEAD_DIM**-0.5)
    return choose_executor(q, task)


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was chosen and what it lost; keep the rows with ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, help="a file to write, as results/benchmarks/choice.json is")
    given = parser.parse_args(argv)
    started = datetime.now(UTC)
    rows = run(given.lengths, given.rounds)
    if given.out:
        keep(given.out, started, rows, rounds=given.rounds)
    print(f"{'pattern':<50}{'length':>7}{'dense ms':>10}{'blocks ms':>10}  chosen")
    for row in rows:
        name = row["pattern"] if len(row["pattern"]) < 49 else row["pattern"][:46] + "…"
        print(
            f"{name:<50}{row['length']:>7}{row['dense_ms']:>10.2f}{row['blocks_ms']:>10.2f}  {row['chosen']}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
