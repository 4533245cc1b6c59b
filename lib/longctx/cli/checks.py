"""Whether the committed records are what the code gives."""

from __future__ import annotations

from typing import Annotated

import typer

from longctx.cli.app import app, err, open_store, out, print_json, print_table
from longctx.cli.runs import JsonOption, StoreOption, find_run
from longctx.experiments import Store, load_experiment
from longctx.experiments.progress import estimated_seconds, readable
from longctx.experiments.store import StoredRun
from longctx.experiments.verify import TOLERANCE, Verdict, evaluated_specs, pick
from longctx.experiments.verify import verify as retrain_and_compare


@app.command(rich_help_panel="Checks")
def verify(
    sample: Annotated[int, typer.Option(min=1, help="How many records to retrain.")] = 1,
    key: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="This record (its beginning will do); repeatable.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="Draw from the records of this experiment only.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    store: StoreOption = "results",
    as_json: JsonOption = False,
) -> None:
    """Retrain committed records from nothing and compare every loss; exit code 1 if one differs.

    A loss may differ by 0.02 nats a token between machines; where machine and versions are those of the
    record, it is also said whether every bit is the same.

    Examples:

        longctx verify --sample 3

        longctx verify --key 3f2a

        longctx verify --experiment positions --seed 7
    """
    records = open_store(store)
    runs = [find_run(records, one) for one in key] if key else _drawn(records, experiment, sample, seed)
    estimate = estimated_seconds([spec for run in runs for spec in evaluated_specs(run)[:1]], records)
    err.print(f"retraining {len(runs)} records, about {readable(estimate)}", highlight=False)
    verdicts = []
    for run in runs:
        verdicts.append(retrain_and_compare(run))
        if not as_json:
            _show(verdicts[-1])
    if as_json:
        print_json([verdict.as_json() for verdict in verdicts])
    if wrong := [verdict.run.training_key for verdict in verdicts if not verdict.agrees]:
        err.print(f"[bold red]{len(wrong)} of {len(runs)} records differ[/]: {', '.join(wrong)}")
        raise typer.Exit(1)
    if not as_json:
        out.print(f"all {len(runs)} agree within {TOLERANCE} nats a token", highlight=False)


def _drawn(records: Store, experiment: str | None, sample: int, seed: int) -> list[StoredRun]:
    runs = records.runs()
    if experiment is not None:
        wanted = {spec.training_key for spec in load_experiment(experiment)}
        runs = [run for run in runs if run.training_key in wanted]
    if not runs:
        raise ValueError(f"no records{f' of {experiment}' if experiment else ''} to verify here")
    return pick(runs, sample, seed=seed)


def _show(verdict: Verdict) -> None:
    spec = verdict.run.spec
    model = (
        f"{spec['model']['position']} × {spec['model'].get('attention', 'full')}, seed {spec.get('seed', 0)}"
    )
    rows = [[d.what, f"{d.recorded:.6f}", f"{d.retrained:.6f}", f"{d.size:.1e}"] for d in verdict.differences]
    columns = ["loss (nats a token)", "recorded", "retrained", "difference"]
    print_table(f"{verdict.run.training_key} {model}", columns, rows)
    place = "same machine and versions" if verdict.same_machine else "another machine or other versions"
    bits = "every bit is the same" if verdict.bit_identical else "not bit-identical"
    out.print(f"{place}: {bits}", highlight=False)
