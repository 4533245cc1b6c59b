"""Many runs: compute them, ask how far they are, and check them."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from longctx.cli.app import app, assignments, err, open_store, out, print_json, print_table
from longctx.cli.runs import JsonOption, StoreOption
from longctx.experiments import ExperimentSpec, Store, load_experiment
from longctx.experiments.declared import Profile
from longctx.experiments.progress import name_of, readable
from longctx.experiments.status import Overview, RunStatus, log_file, logged_error, overview, seconds_left
from longctx.experiments.sweep import snakemake_log
from longctx.experiments.sweep import sweep as run_sweep

ExperimentArgument = Annotated[
    str, typer.Argument(help="The name of a declared experiment, or the path of a .yaml file.")
]
ProfileOption = Annotated[
    Profile, typer.Option(help="smoke: seconds; cpu: what the book shows; gpu: real sizes.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help='Change a field or an axis: --set "seed=[0, 1]".'),
]
JobsOption = Annotated[int, typer.Option(min=1, help="Runs at a time.")]


@app.command(rich_help_panel="Runs")
def sweep(
    experiment: ExperimentArgument,
    options: Annotated[list[str] | None, typer.Argument(help="For Snakemake, after --.")] = None,
    profile: ProfileOption = "cpu",
    set_: SetOption = None,
    jobs: JobsOption = 1,
    executor: Annotated[
        str | None,
        typer.Option(help="A Snakemake executor plug-in: slurm, kubernetes, …; none: this machine."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    store: StoreOption = "results",
) -> None:
    """Compute what an experiment still lacks, several runs at a time.

    It may be interrupted and started again at will: finished runs stay, unfinished ones go on from their last
    checkpoint, and a failed run is reported but stops no other.

    Examples:

        longctx sweep positions --jobs 2

        longctx sweep positions --profile smoke --store my-records --dry-run

        longctx sweep positions --profile gpu --executor slurm -- --default-resources slurm_partition=gpu
    """
    specs = load_experiment(experiment, profile, assignments(set_ or (), "--set"))
    records = open_store(store)
    before = overview(specs, records, jobs=jobs)
    todo = [run for run in before.runs if run.state not in ("done", "damaged")]
    err.print(
        f"{experiment} ({profile}): {before.count('done')} of {len(specs)} runs are recorded, "
        f"{len(todo)} to compute" + _about(before.seconds_left),
        highlight=False,
    )
    if dry_run:
        for run in todo:
            out.print(f"{run.spec.key}  {name_of(run.spec)}", highlight=False, markup=False)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    name = f"{experiment.replace('/', '_')}-{profile}"
    with _shown(records, jobs) as watching:
        runs = run_sweep(
            specs,
            records,
            name=name,
            jobs=jobs,
            executor=executor,
            options=options or (),
            watching=watching,
        )
    _report(runs, name)


def _about(seconds: float | None) -> str:
    return f", about {readable(seconds)}" if seconds else ""


def _report(runs: Sequence[RunStatus], name: str) -> None:
    unfinished = [run for run in runs if run.state != "done"]
    if not unfinished:
        out.print(f"all {len(runs)} runs are recorded", highlight=False)
        return
    err.print(f"[bold red]{len(unfinished)} of {len(runs)} runs are not recorded[/]", highlight=False)
    for run in unfinished:
        err.print(
            f"  {run.spec.key} {name_of(run.spec)}: {_problem(run)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    err.print(
        f"logs: {log_file(runs[0].spec).parent}; Snakemake: {snakemake_log(name)}",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(1)


def _problem(run: RunStatus) -> str:
    return run.error or logged_error(log_file(run.spec)) or "it was not started; see Snakemake's log"


@contextmanager
def _shown(store: Store, jobs: int) -> Iterator[Callable[[list[RunStatus]], None]]:
    """Show how far a sweep is: a bar on a terminal, else a line whenever a run ends."""
    if err.is_terminal:
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("starting")

            def update(runs: list[RunStatus]) -> None:
                bar.update(task, total=len(runs), completed=_done(runs), description=_line(runs, store, jobs))

            yield update
        return
    seen = (-1, 0.0)

    def print_line(runs: list[RunStatus]) -> None:
        nonlocal seen
        if _done(runs) != seen[0] or time.monotonic() - seen[1] > 60:
            seen = (_done(runs), time.monotonic())
            line = f"{_done(runs)}/{len(runs)} runs; {_line(runs, store, jobs)}"
            err.print(line, highlight=False, markup=False, soft_wrap=True)

    yield print_line


def _done(runs: Sequence[RunStatus]) -> int:
    return sum(run.state == "done" for run in runs)


def _line(runs: Sequence[RunStatus], store: Store, jobs: int) -> str:
    left = seconds_left(runs, store, jobs=jobs)
    now = [
        f"{run.spec.model.position} seed {run.spec.seed} {run.step}/{run.spec.training.steps}"
        for run in runs
        if run.state == "running"
    ]
    failed = sum(run.state == "failed" for run in runs)
    return escape(
        f"{readable(left)} left"
        + (f"; running: {', '.join(now)}" if now else "")
        + (f"; {failed} failed" if failed else "")
    )


@app.command(rich_help_panel="Runs")
def status(
    experiment: ExperimentArgument,
    profile: ProfileOption = "cpu",
    set_: SetOption = None,
    jobs: JobsOption = 1,
    store: StoreOption = "results",
    as_json: JsonOption = False,
) -> None:
    """Say which runs are done, running, failed, missing or stale, and how long the rest takes.

    Examples:

        longctx status positions

        longctx status positions --json
    """
    specs: list[ExperimentSpec] = load_experiment(experiment, profile, assignments(set_ or (), "--set"))
    state = overview(specs, open_store(store), jobs=jobs)
    if as_json:
        print_json(state.as_json())
        return
    _show_status(f"{experiment} ({profile})", state, jobs)


def _show_status(title: str, state: Overview, jobs: int) -> None:
    rows = [
        [run.spec.key, name_of(run.spec), run.state, f"{run.step}/{run.spec.training.steps}"]
        for run in state.runs
    ]
    print_table(title, ["key", "run", "state", "steps"], rows)
    for run in state.runs:
        if run.error:
            err.print(
                f"[red]{run.state}[/] {run.spec.key}: {escape(run.error)}", highlight=False, soft_wrap=True
            )
    for one in state.stale:
        err.print(
            f"[yellow]stale[/] {escape(one.path)}: {escape(one.reason)}", highlight=False, soft_wrap=True
        )
    counts: Counter[Any] = Counter(run.state for run in state.runs)
    parts = [f"{n} {name}" for name, n in counts.items()] + (
        [f"{len(state.stale)} stale"] if state.stale else []
    )
    left = f"{_about(state.seconds_left)} left with --jobs {jobs}" if state.seconds_left else ""
    out.print(", ".join(parts) + left, highlight=False)
