"""Sparse attention against its peers: time and memory, forward and backward, interleaved in one run.

Every implementation runs once a round, so that a slow moment of the machine falls on all of them; medians are
over rounds. Peak memory is measured in a fresh process for each. Before anything is timed, outputs are
compared wherever two implementations promise the same mask.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from keep import keep
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from longctx.attention import attend
from longctx.positions import build_position

BATCH, HEADS, HEAD_DIM = 1, 4, 32
LENGTHS = (1024, 4096, 16384)
#: The band mask of dense attention holds length² numbers: beyond this it takes gigabytes.
LONGEST_BAND = 4096
OURS = "longctx sliding_window"
FULL = "longctx full"

Implementation = Callable[[Tensor, Tensor, Tensor], Tensor]


def implementations(window: int) -> dict[str, Implementation]:
    """What is compared, by name. All but full attention and block-local compute a causal window."""
    return {
        OURS: ours(f"sliding_window(window={window})"),
        f"{OURS} + rope": ours(f"sliding_window(window={window})", "rope"),
        f"{OURS} + alibi": ours(f"sliding_window(window={window})", "alibi"),
        f"{OURS} + learned alibi": ours(f"sliding_window(window={window})", "alibi(learned=True)"),
        f"{OURS} of {window + 1}": ours(f"sliding_window(window={window + 1})"),
        "longctx block_local": ours(f"block_local(block_size={window})"),
        "longctx full + alibi": ours("full", "alibi"),
        FULL: partial(attend, pattern="full"),
        "SDPA full causal": partial(scaled_dot_product_attention, is_causal=True),
        "SDPA band mask": partial(band, window=window),
        "SDPA own and previous block": partial(two_blocks, window=window),
        f"local-attention of {window + 1}": local_attention(window),
    }


def same_mask(window: int) -> list[tuple[str, str]]:
    """Pairs of implementations of one mask: their outputs must agree."""
    return [
        (FULL, "SDPA full causal"),
        (OURS, "SDPA band mask"),
        (OURS, "SDPA own and previous block"),
        (f"{OURS} of {window + 1}", f"local-attention of {window + 1}"),
    ]


def ours(pattern: str, position: str | None = None) -> Implementation:
    """The library's block executor."""
    sizes = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "head_dim": HEAD_DIM}
    encoding = None if position is None else build_position(position, **sizes)
    return partial(attend, pattern=pattern, position=encoding, executor="blocks")


def band(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    """Dense attention under the window's mask: what a predicate alone can do."""
    i = torch.arange(q.shape[2])[:, None]
    j = torch.arange(k.shape[2])
    return scaled_dot_product_attention(q, k, v, attn_mask=(j <= i) & (i - j < window))


def two_blocks(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    """A window written by hand: blocks of ``window`` queries look at their own and the previous block."""
    batch, heads, length, dim = q.shape
    n = length // window

    def cut(x: Tensor) -> Tensor:
        return x.view(batch * heads, n, window, dim).transpose(0, 1)

    def with_previous(x: Tensor) -> Tensor:
        return torch.cat([torch.cat([torch.zeros_like(x[:1]), x[:-1]]), x], dim=2)

    i, j = torch.arange(window)[:, None] + window, torch.arange(2 * window)
    mask = ((j <= i) & (i - j < window)).repeat(n, 1, 1, 1)
    mask[0] &= j >= window
    y = scaled_dot_product_attention(cut(q), with_previous(cut(k)), with_previous(cut(v)), attn_mask=mask)
    return y.transpose(0, 1).reshape(batch, heads, length, dim)


def local_attention(window: int) -> Implementation:
    """The package local-attention; its exact window of w reaches w + 1 keys."""
    from local_attention import LocalAttention

    return LocalAttention(
        window_size=window, causal=True, look_backward=1, look_forward=0, exact_windowsize=True,
        use_rotary_pos_emb=False, dropout=0.0,
    )  # fmt: skip


def inputs(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random queries, keys and values that need gradients, the same at every call."""
    generator = torch.Generator().manual_seed(length)
    shape = (BATCH, HEADS, length, HEAD_DIM)
    q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for _ in range(3))
    return q, k, v


def step(run_one: Implementation, tensors: tuple[Tensor, Tensor, Tensor]) -> None:
    """Forward and backward."""
    run_one(*tensors).sum().backward()
    for x in tensors:
        x.grad = None


def check_equal(window: int) -> None:
    """Raise if two implementations of one mask differ."""
    chosen, tensors = implementations(window), inputs(4 * window)
    for a, b in same_mask(window):
        torch.testing.assert_close(chosen[a](*tensors), chosen[b](*tensors), atol=1e-5, rtol=1e-5)


def seconds(names: Sequence[str], window: int, length: int, rounds: int) -> dict[str, float]:
    """Median seconds of each implementation over interleaved rounds, after one round to warm up."""
    chosen, tensors = implementations(window), inputs(length)
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name in names:
            start = time.perf_counter()
            step(chosen[name], tensors)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def peak_memory(name: str, window: int, length: int) -> float | None:
    """Megabytes that one step adds to a process which already holds its inputs; None where unknown."""
    command = [sys.executable, str(Path(__file__)), "--peak-of", name]
    command += ["--window", str(window), "--lengths", str(length)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def _peak_here(name: str, window: int, length: int) -> float | None:
    torch.set_num_threads(1)
    chosen = implementations(window)[name]
    step(chosen, inputs(4 * window))  # what is loaded on first use belongs to the baseline
    tensors = inputs(length)
    before = _high_water()
    step(chosen, tensors)
    after = _high_water()
    return None if before is None or after is None else after - before


def _high_water() -> float | None:
    # Not getrusage: there a child begins at its parent's maximum.
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def run(
    lengths: Sequence[int] = LENGTHS, window: int = 256, rounds: int = 5, *, memory: bool = True
) -> list[dict[str, Any]]:
    """Measure everything at every length, on one thread.

    Returns:
        Rows of implementation, length, milliseconds, relative (time over that of our sliding window at the
        same length), exponent (of time in length, over the whole range, at the last length), peak_mb.
    """
    for length in lengths:
        if length % window:
            raise ValueError(f"lengths must be multiples of the window {window}, got {length}")
    torch.set_num_threads(1)
    check_equal(window)
    first: dict[str, tuple[int, float]] = {}
    rows: list[dict[str, Any]] = []
    for length in sorted(lengths):
        names = [name for name in implementations(window) if "band" not in name or length <= LONGEST_BAND]
        # Short steps are the noisier ones, and cheap to repeat.
        medians = seconds(names, window, length, rounds * min(8, max(lengths) // length))
        for name, median in medians.items():
            start, start_median = first.setdefault(name, (length, median))
            exponent = math.log(median / start_median) / math.log(length / start) if length > start else None
            rows.append(
                {
                    "implementation": name,
                    "length": length,
                    "milliseconds": 1e3 * median,
                    "relative": median / medians[OURS],
                    "exponent": exponent,
                    "peak_mb": peak_memory(name, window, length) if memory else None,
                }
            )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, or JSON with ``--json``; keep the rows and where they come from with ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true", help="skip the fresh process for each peak")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="a file to write, as results/benchmarks/attention.json is")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.peak_of:
        print(json.dumps(_peak_here(given.peak_of, given.window, given.lengths[0])))
        return 0
    started = datetime.now(UTC)
    rows = run(given.lengths, given.window, given.rounds, memory=not given.no_memory)
    if given.out:
        keep(given.out, started, rows, window=given.window, rounds=given.rounds)
    if given.json:
        print(json.dumps(rows))
        return 0
    print(f"{'implementation':<40}{'length':>8}{'ms':>9}{'relative':>10}{'exponent':>10}{'peak MB':>9}")
    for row in rows:
        exponent = "" if row["exponent"] is None else f"{row['exponent']:.2f}"
        peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
        print(
            f"{row['implementation']:<40}{row['length']:>8}{row['milliseconds']:>9.1f}"
            f"{row['relative']:>10.2f}{exponent:>10}{peak:>9}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
