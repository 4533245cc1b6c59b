"""Sparse attention against its peers: time and memory, forward and backward, interleaved in one run.

Every implementation runs once a round, so that a slow moment of the machine falls on all of them; medians are
over rounds. Peak memory is measured in a fresh process for each. Before anything is timed, outputs and
gradients are compared wherever two implementations promise the same mask.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from implementations import BATCH, DENSE, FULL, HEAD_DIM, HEADS, OURS, Implementation, implementations
from keep import keep
from peers import Attention
from report import report
from torch import Tensor

LENGTHS = (1024, 4096, 16384)
#: Where break-even lengths are looked for, and for what.
GRID = (256, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096)
EVEN = ("sliding_window", "block_local", "dilated_window", "longformer", "bigbird", "longnet", "moba")

#: Two patterns whose times say what a pair costs: in the order of the text, and in another.
CALIBRATION = (OURS, "longctx strided")

Inputs = tuple[Tensor, Tensor, Tensor]
Row = dict[str, Any]


def inputs(length: int) -> Inputs:
    """Random queries, keys and values that need gradients, the same at every call."""
    generator = torch.Generator().manual_seed(length)
    shape = (BATCH, HEADS, length, HEAD_DIM)
    q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for _ in range(3))
    return q, k, v


def step(attention: Attention, tensors: Inputs, *, gradient: bool = True) -> None:
    """Forward and backward, with the output as its own gradient; or forward alone."""
    with torch.set_grad_enabled(gradient):
        y = attention(*tensors)
    if gradient:
        torch.autograd.grad(y, tensors, y.detach())


def check_equal(window: int, names: Sequence[str]) -> None:
    """Raise if two implementations of one mask differ in outputs or gradients."""
    known, length = implementations(window), 4 * window
    for name in names:
        if (twin := known[name].same_as) is None:
            continue
        results = []
        for one in (known[name], known[twin]):
            tensors = inputs(length)
            with torch.set_grad_enabled(one.gradient):
                y = one.build(length)(*tensors)
            results.append(
                (y.detach(), *(torch.autograd.grad(y, tensors, y.detach()) if one.gradient else ()))
            )
        torch.testing.assert_close(*results, atol=2e-5, rtol=2e-5, msg=lambda why, n=name: f"{n}: {why}")


def seconds(some: dict[str, Implementation], length: int, rounds: int) -> dict[str, float]:
    """Median seconds of each implementation over interleaved rounds, after one round to warm up."""
    tensors, times = inputs(length), {name: [] for name in some}
    built = {name: one.build(length) for name, one in some.items()}
    for _ in range(rounds + 1):
        for name, one in some.items():
            start = time.perf_counter()
            step(built[name], tensors, gradient=one.gradient)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def peak_memory(names: Sequence[str], window: int, length: int) -> dict[str, float | None]:
    """Megabytes that one step of each adds to a process which holds its inputs alone; None where unknown."""
    command = [sys.executable, str(Path(__file__)), "--window", str(window), "--lengths", str(length)]
    answer = subprocess.run([*command, "--peaks-of", *names], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def _peaks_here(names: Sequence[str], window: int, length: int) -> dict[str, float | None]:
    """Each in a child of this process, which has loaded everything and computed nothing."""
    torch.set_num_threads(1)
    if not Path("/proc/self/status").exists():
        return dict.fromkeys(names)
    known, peaks = implementations(window), {}
    for name in names:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            one, tensors = known[name], inputs(4 * window)
            # What is loaded on first use belongs to the baseline.
            step(one.build(4 * window), tensors, gradient=one.gradient)
            attention, tensors = one.build(length), inputs(length)
            before = _high_water()
            step(attention, tensors, gradient=one.gradient)
            os.write(writer, str(_high_water() - before).encode())
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError(f"{name} failed at length {length}")
        peaks[name] = float(os.read(reader, 64))
        os.close(reader)
    return peaks


def _high_water() -> float:
    # Not getrusage: there a child begins at its parent's maximum.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def run(
    lengths: Sequence[int] = LENGTHS,
    window: int = 256,
    rounds: int = 5,
    *,
    memory: bool = True,
    only: Sequence[str] | None = None,
) -> list[Row]:
    """Measure at every length, on one thread; a row for each implementation that is given such texts.

    Returns:
        Rows of implementation, length, milliseconds, relative (time over that of our sliding window),
        exponent (of time in length, since the shortest length), peak_mb; gradient (whether it was timed),
        relative_to_dense (time over that of causal SDPA), same_as and relative_to_same (the implementation
        of ours with the same mask, and time over its time); and for patterns of ours pairs_allowed and
        pairs_computed of a head, of_allowed_ideal and of_computed_ideal (the speed-up over causal SDPA as
        a part of what these pairs promise), work (in pairs: `cost.work`) and, predicted from it,
        predicted_milliseconds, and predicted_mb. None where not known.
    """
    for length in lengths:
        if length % window:
            raise ValueError(f"lengths must be multiples of the window {window}, got {length}")
    torch.set_num_threads(1)
    known = implementations(window)
    known = {name: one for name, one in known.items() if only is None or name in {OURS, DENSE, *only}}
    check_equal(window, [name for name, one in known.items() if one.same_as in known])
    rows: list[Row] = []
    for length in sorted(lengths):
        some = {name: one for name, one in known.items() if one.shortest <= length <= one.longest}
        # Short steps are the noisier ones, and cheap to repeat.
        medians = seconds(some, length, rounds * min(8, max(lengths) // length))
        peaks = peak_memory(list(some), window, length) if memory else dict.fromkeys(some)
        for name, one in some.items():
            rows.append(_row(name, one, length, medians) | {"peak_mb": peaks[name]})
    _add_exponents(rows)
    _add_predictions(rows, known)
    return rows


def _row(name: str, one: Implementation, length: int, medians: dict[str, float]) -> Row:
    own, counts = medians[name], one.counts(length)
    dense = medians.get(DENSE) if one.gradient else None
    row: Row = {
        "implementation": name,
        "length": length,
        "milliseconds": 1e3 * own,
        "relative": own / medians[OURS],
        "gradient": one.gradient,
        "relative_to_dense": None if dense is None else own / dense,
        "same_as": one.same_as,
        "relative_to_same": own / medians[one.same_as] if one.same_as in medians else None,
    }
    for kind, pairs in zip(("allowed", "computed"), counts or (None, None), strict=True):
        row[f"pairs_{kind}"] = pairs
        ideal = None if pairs is None else length * (length + 1) / 2 / pairs
        row[f"of_{kind}_ideal"] = None if ideal is None or dense is None else dense / own / ideal
    return row


def _add_exponents(rows: list[Row]) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        start, row["exponent"] = first.setdefault(row["implementation"], row), None
        if row is not start:
            ratio = row["milliseconds"] / start["milliseconds"]
            row["exponent"] = math.log(ratio) / math.log(row["length"] / start["length"])


def _add_predictions(rows: list[Row], known: dict[str, Implementation]) -> None:
    """From counts and two times at the middle length: the price of a pair is their geometric mean's."""
    lengths = sorted({row["length"] for row in rows})
    middle = [row for row in rows if row["length"] == lengths[len(lengths) // 2]]
    per_pair = statistics.geometric_mean(
        row["milliseconds"] / known[name].work(row["length"])
        for row in middle
        if (name := row["implementation"]) in CALIBRATION
    )
    for row in rows:
        one, length = known[row["implementation"]], row["length"]
        # Full attention is no affair of blocks.
        by_blocks = one.pattern is not None and row["implementation"] != FULL
        row["work"] = one.work(length) if by_blocks else None
        row["predicted_milliseconds"] = per_pair * row["work"] if by_blocks else None
        row["predicted_mb"] = one.held(length) / 1e6 if by_blocks else None


def break_even(
    names: Sequence[str], window: int = 256, grid: Sequence[int] = GRID, rounds: int = 15
) -> list[Row]:
    """From which length on each beats causal SDPA, interpolated on logarithmic axes within a grid.

    Returns:
        Rows of implementation, length (None if it never does; 0 if it always does), and the grid's
        lengths and ratios (time of SDPA over its own).
    """
    torch.set_num_threads(1)
    known = implementations(window)
    some = {name: known[name] for name in (DENSE, *names)}
    times = {length: seconds(some, length, rounds) for length in sorted(grid)}
    rows = []
    for name in names:
        ratios = [spent[DENSE] / spent[name] for spent in times.values()]
        length = crossing(list(times), ratios)
        rows.append({"implementation": name, "length": length, "grid": list(times), "ratios": ratios})
    return rows


def crossing(lengths: Sequence[int], ratios: Sequence[float]) -> float | None:
    """The length from which a ratio stays above 1."""
    slower = [n for n, ratio in enumerate(ratios) if ratio <= 1]
    if not slower:
        return 0.0
    last = slower[-1]
    if last == len(ratios) - 1:
        return None
    near = slice(last, last + 2)
    return float(np.exp(np.interp(0.0, np.log(ratios[near]), np.log(lengths[near]))))


def one_step(length: int, window: int) -> Row:
    """Seconds and peak megabytes of a training step of our sliding window, after one to warm up."""
    torch.set_num_threads(1)
    attention, tensors = implementations(window)[OURS].build(length), inputs(length)
    step(attention, tensors)
    start = time.perf_counter()
    step(attention, tensors)
    spent = time.perf_counter() - start
    return {"length": length, "seconds": spent, "peak_mb": peak_memory([OURS], window, length)[OURS]}


def main(argv: Sequence[str] | None = None) -> int:
    """Print tables, or JSON with ``--json``; keep the rows and where they come from with ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these, our window and dense attention")
    parser.add_argument("--no-memory", action="store_true", help="skip the fresh process for each peak")
    parser.add_argument("--no-break-even", action="store_true", help="skip the search for break-even lengths")
    parser.add_argument("--step", type=int, metavar="LENGTH", help="only a step of our window, and its peak")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="a file to write, as results/benchmarks/attention.json is")
    parser.add_argument("--peaks-of", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.peaks_of:
        print(json.dumps(_peaks_here(given.peaks_of, given.window, given.lengths[0])))
        return 0
    if given.step:
        print(json.dumps(one_step(given.step, given.window)))
        return 0
    started = datetime.now(UTC)
    rows = run(given.lengths, given.window, given.rounds, memory=not given.no_memory, only=given.only)
    even = [] if given.no_break_even else break_even([f"longctx {name}" for name in EVEN], given.window)
    if given.out:
        keep(given.out, started, rows, window=given.window, rounds=given.rounds, break_even=even)
    if given.json:
        print(json.dumps({"rows": rows, "break_even": even}))
        return 0
    for line in report(rows, even):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
