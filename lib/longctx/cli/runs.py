"""One run: train it, or let it write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from longctx.cli.app import app, assignments, open_store, out, print_json, print_table, read_mapping
from longctx.data import Tokenizer
from longctx.evaluation import LengthResult, TaskResult
from longctx.experiments import Record, Store, parse_spec, replace, run
from longctx.experiments.progress import watch
from longctx.experiments.store import StoredRun, spec_of
from longctx.model import Transformer, build_model, generate
from longctx.training import load_weights

StoreOption = Annotated[
    str, typer.Option(help="local (this machine's records), results (the committed ones) or a folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command(rich_help_panel="Runs")
def train(
    spec: Annotated[Path, typer.Argument(help="A YAML or JSON file with the fields of an experiment.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field; may be repeated."),
    ] = None,
    store: StoreOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate one run, as far as the store does not hold it yet.

    A run that was interrupted goes on from its last checkpoint.

    Examples:

        longctx train my-run.yaml

        longctx train my-run.yaml --set seed=3 --set "model.position=rope(base=500000)"
    """
    asked = replace(parse_spec(read_mapping(spec)), assignments(set_ or (), "--set"))
    records = open_store(store)
    with watch([asked], records) as watching:
        record = records.get(asked) or run(asked, records, watching)
    if as_json:
        print_json({"key": record.key, **record.model_dump(mode="json")})
        return
    _show(record)


def _show(record: Record) -> None:
    training, spec = record.training, record.spec
    rows = [
        [str(e.result.length), e.result.protocol, f"{e.result.loss:.4f}", _grade(e.result)]
        for e in record.evaluations
    ]
    print_table(f"run {spec.training_key}", ["length", "protocol", "loss (nats/token)", ""], rows)
    learned = f", last training loss {training.losses[-1]:.4f}" if training.losses else ""
    out.print(
        f"{training.n_parameters:,} parameters, {spec.training.tokens:,} tokens at "
        f"{training.tokens_per_second:,.0f} tokens/s{learned}",
        highlight=False,
    )


def _grade(result: LengthResult | TaskResult) -> str:
    if isinstance(result, LengthResult):
        return f"perplexity {result.perplexity:.2f}"
    return f"{result.accuracy:.1%} of tokens right, {result.solved:.1%} of problems"


@app.command("generate", rich_help_panel="Runs")
def generate_text(
    weights: Annotated[
        str, typer.Argument(help="The key of a run (its beginning will do) or a .safetensors file.")
    ],
    prompt: Annotated[str, typer.Argument(help="The text to continue.")],
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to add.")] = 100,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest tokens only.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    store: StoreOption = "local",
) -> None:
    """Continue a text with a trained model.

    Example:

        longctx generate 3f2a "The transaction is" --tokens 60 --temperature 0
    """
    model = _load(weights, open_store(store))
    tokenizer = Tokenizer.default()
    ids = torch.from_numpy(tokenizer.encode(prompt).astype(np.int64))[None]
    new = generate(model, ids, n_tokens=tokens, temperature=temperature, top_k=top_k, seed=seed)
    out.print(tokenizer.decode(new[0].tolist()), highlight=False, markup=False, soft_wrap=True)


def _load(weights: str, store: Store) -> Transformer:
    stem = Path(weights).stem if weights.endswith(".safetensors") else weights
    recorded = find_run(store, stem)
    spec = spec_of(recorded, {"lengths": [1]})
    path = Path(weights) if weights.endswith(".safetensors") else store.weights(spec.weights_key)
    if path is None or not path.is_file():
        held = [r.training_key for r in store.runs() if store.weights(r.training_key) is not None]
        raise ValueError(f"no weights of run {stem}; weights are here for: {', '.join(held) or 'none'}")
    model = build_model(spec.model, seed=spec.seed)
    load_weights(path, model)
    return model.eval()


def find_run(store: Store, key: str) -> StoredRun:
    """The recorded run whose training key begins with ``key``.

    Raises:
        ValueError: none does, or several do.
    """
    found = [run for run in store.runs() if run.training_key.startswith(key)]
    if len(found) != 1:
        what = "no recorded run" if not found else f"{len(found)} recorded runs"
        raise ValueError(
            f"{what} with a key that begins with {key!r}; give one of those that `longctx status` lists"
        )
    return found[0]
