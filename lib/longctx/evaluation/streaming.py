"""Loss along a stream that is longer than what a model may hold, read in four ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from numpy import ndarray
from torch import Tensor

from longctx.evaluation.perplexity import BATCH_TOKENS, LengthResult, Reading, position_edges
from longctx.model import Transformer, read
from longctx.objectives import judged_states

#: First tokens that the readings with sinks keep, as StreamingLLM does.
SINKS = 4
#: One target of so many is scored: recomputing a window for each costs as many passes as there are targets.
EVERY = 8


@torch.no_grad()
def recomputed(
    model: Transformer, tokens: Int[Tensor, "batch length"], window: int, places: Int[Tensor, " places"]
) -> Float[Tensor, "batch places d_model"]:
    """The states at some places if nothing is kept: of a pass over the last ``window`` tokens for each."""
    states = tokens.new_zeros(len(tokens), len(places), model.config.d_model).to(model.embedding.weight)
    early = places < window  # these see all there is, in one pass
    if early.any():
        states[:, early] = model.hidden(tokens[:, :window])[:, places[early]]
    windows = tokens.unfold(1, window, 1)
    rows = max(1, BATCH_TOKENS // (window * len(tokens)))
    for some in torch.arange(len(places))[~early].split(rows):
        read = windows[:, places[some] - window + 1].flatten(0, 1)
        states[:, some] = model.hidden(read)[:, -1].unflatten(0, (len(tokens), -1))
    return states


def evaluate_stream(
    model: Transformer, excerpts: Sequence[Integer[ndarray, " _"]], *, length: int, reading: Reading
) -> LengthResult:
    """Score every eighth target of streams of which the model holds ``length`` tokens at a time.

    ``window`` keeps keys and values of the last tokens, as they were computed; if ``length`` is that of the
    excerpts, nothing ever leaves. ``recomputed`` keeps nothing, and reads the last ``length`` tokens anew for
    each target. ``sinks`` keeps the first 4 tokens and the last ``length`` − 4, at positions in the cache;
    ``sinks_in_text`` the same, at the positions where they were read.

    Args:
        excerpts: token ids, as many in each.
        length: tokens held, the newest included.

    Raises:
        ValueError: excerpts of different lengths, or a ``length`` that holds no window.
    """
    sizes = {len(excerpt) for excerpt in excerpts}
    least = SINKS + 1 if reading.startswith("sinks") else 1
    if len(sizes) != 1 or not least <= length < min(sizes):
        raise ValueError(
            f"excerpts must be equally long, and length lie between {least} and their tokens less one; "
            f"got {sorted(sizes)} and {length}"
        )
    tokens = torch.from_numpy(np.stack(list(excerpts)).astype(np.int64))
    inputs, places = tokens[:, :-1], torch.arange(EVERY - 1, tokens.shape[1] - 1, EVERY)
    was_training = model.training
    model.eval()
    if reading == "recomputed":
        states = recomputed(model, inputs, length, places)
    else:
        sinks = 0 if reading == "window" else SINKS
        cache = model.streaming_cache(
            len(inputs),
            window=length - sinks,
            sinks=sinks,
            positions="cache" if reading == "sinks" else "text",
        )
        states = read(model, inputs, cache)[:, places]
    losses, _ = judged_states(states, model.head.weight, tokens[:, places + 1])
    model.train(was_training)
    return _by_place(losses.double().mean(0), places, length, reading, len(tokens))


def _by_place(losses: Tensor, places: Tensor, length: int, reading: Reading, streams: int) -> LengthResult:
    edges = torch.tensor(position_edges(int(places[-1]) + 1))
    bins = torch.searchsorted(edges, places, right=True)
    kept = bins.unique()
    return LengthResult(
        length=length,
        protocol=reading,
        loss=float(losses.mean()),
        targets=streams * len(places),
        edges=tuple(edges[kept].tolist()),
        loss_by_position=tuple(float(losses[bins == k].mean()) for k in kept),
    )
