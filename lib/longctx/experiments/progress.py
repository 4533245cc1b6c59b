"""Saying what will be computed and how long it takes, then how far it is: terminal, notebook or nothing."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from longctx.experiments.spec import ExperimentSpec
from longctx.experiments.store import Store
from longctx.model import ModelConfig, Transformer
from longctx.training import Progress


class Watch:
    """Shows the steps of several runs as one piece of work."""

    def __init__(self, show: Callable[[int, str], None]) -> None:
        self._show, self._before, self._run = show, 0, 0

    def training(self, spec: ExperimentSpec) -> Progress:
        """What the training loop of one run calls."""
        self._before += self._run

        def after_step(*, step: int, steps: int, loss: float, tokens_per_second: float) -> None:
            self._run = step
            self._show(
                self._before + step,
                f"{name_of(spec)}: step {step}/{steps}, loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s",
            )

        return after_step

    def evaluated(self, spec: ExperimentSpec, length: int) -> None:
        """One context length of one run is measured."""
        self._show(self._before + self._run, f"{name_of(spec)}: evaluated at {length}")


def name_of(spec: ExperimentSpec) -> str:
    """What tells a run from its neighbours, in a line."""
    training = spec.training
    where = f"L={training.length}" + (f" at {training.positions}" if training.positions else "")
    if spec.start is not None:
        where = f"after L={spec.start.training.length}" + (f", {where}" if training.steps else "")
    what = f"{spec.data.task}: " if spec.data.task else ""
    return f"{what}{spec.model.position} × {spec.model.attention}, {where}, seed {spec.seed}"


@contextmanager
def watch(specs: Sequence[ExperimentSpec], store: Store, *, enabled: bool = True) -> Iterator[Watch | None]:
    """Announce what ``store`` is missing of ``specs``, and show the work while the context lasts."""
    incomplete = [spec for spec in specs if store.get(spec) is None]
    if not enabled or not incomplete:
        yield None
        return
    to_train = untrained(incomplete, store)
    steps = sum(spec.training.steps for spec in to_train)
    if _in_notebook():
        with _notebook_watch(announcement(incomplete, to_train), steps) as show:
            yield Watch(show)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Watch(_log_lines(steps))
        return
    estimate = estimated_seconds(to_train, store)
    about = f" About {readable(estimate)}." if estimate else ""
    console.print(announcement(incomplete, to_train) + about)
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=steps or None)
        yield Watch(lambda done, text: bar.update(task, completed=done, description=text))


def announcement(incomplete: Sequence[ExperimentSpec], to_train: Sequence[ExperimentSpec]) -> str:
    """What is about to be computed, in a sentence; without times, so that notebooks may commit it."""
    tokens = sum(spec.training.tokens for spec in to_train)
    runs = "run" if len(to_train) == 1 else "runs"
    parts = [f"{len(to_train)} {runs} to train on {tokens / 1e6:.2f} M tokens"] if to_train else []
    ours = {spec.weights_key for spec in to_train}
    if others := sum(spec.weights_key not in ours for spec in incomplete):
        parts.append(f"{others} trained already, to evaluate at new lengths")
    return "; ".join(parts) + "."


def untrained(specs: Iterable[ExperimentSpec], store: Store) -> list[ExperimentSpec]:
    """The runs without weights among ``specs`` and those they begin with, each once, first things first."""
    with_origins = [run for spec in specs for run in (spec.origin, spec) if run is not None]
    found = {run.training_key: run for run in with_origins if run.training.steps}
    return [run for key, run in found.items() if store.weights(key) is None]


def estimated_seconds(specs: Sequence[ExperimentSpec], store: Store) -> float | None:
    """Time to train ``specs``, from the parameters × tokens a second of the runs that ``store`` holds."""
    trained = [run.training for run in store.runs() if run.training.losses]
    rates = [training.n_parameters * training.tokens_per_second for training in trained]
    if not rates:
        return None
    work = sum(n_parameters(spec.model) * spec.training.tokens for spec in specs)
    return work / statistics.median(rates)


def n_parameters(config: ModelConfig) -> int:
    """Trainable numbers of a model, counted without building it."""
    with torch.device("meta"):
        return Transformer(config).n_parameters()


def readable(seconds: float | None) -> str:
    """A duration as people say it."""
    return "an unknown time" if seconds is None else str(timedelta(seconds=max(1, round(seconds))))


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == "ZMQInteractiveShell"


@contextmanager
def _notebook_watch(text: str, steps: int) -> Iterator[Callable[[int, str], None]]:
    """A line that is updated in place and ends as it began: what a notebook commits does not hold times."""
    from IPython.display import DisplayHandle

    handle = DisplayHandle()
    handle.display({"text/plain": text}, raw=True)
    began, last = time.perf_counter(), 0.0

    def show(done: int, line: str) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last < 0.5:
            return
        last = now
        left = readable((now - began) * (steps - done) / done) if done and steps else "?"
        handle.update({"text/plain": f"{text} {done}/{steps} steps, {left} left. {line}"}, raw=True)

    yield show
    handle.update({"text/plain": text}, raw=True)


def _log_lines(steps: int) -> Callable[[int, str], None]:
    """A line now and then, for logs."""
    last = time.perf_counter()

    def show(done: int, line: str) -> None:
        nonlocal last
        if time.perf_counter() - last >= 30:
            last = time.perf_counter()
            print(f"{done}/{steps} {line}", file=sys.stderr, flush=True)

    return show
