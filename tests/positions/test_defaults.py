"""What the catalogue promises of its entries: their defaults, and what the library may assume of them."""

from collections.abc import Iterable
from inspect import signature

import pytest

from longctx.positions import POSITIONS
from longctx.positions.sampling import SAMPLINGS
from longctx.positions.scaling import SCALINGS
from longctx.positions.scaling.search import BEYOND, search_factors
from longctx.registry import parse_call

ROPE = "base=10000.0, partial_rotary_factor=1.0, layout='half', scaling=None"
#: Every parameter of every encoding, with what its paper uses, or where that depends on the context, with
#: what suits some hundred tokens.
POSITION_DEFAULTS = (
    "alibi(learned=False, symmetric=True)",
    "cope(max_positions=64)",
    "deberta(max_distance=64)",
    f"dual_chunk({ROPE}, chunk_size=384, original_max_position_embeddings=512)",
    "dynamic_bias(width=64, depth=2, log_distance=True)",
    "fire(width=32, init_c=0.1, init_threshold=512.0)",
    "fox(init_bias=5.0)",
    "kerple(kernel='log')",
    "learned(max_length=1024, factor=1.0)",
    "nope",
    f"p_rope({ROPE}, fraction=0.75)",
    f"pope({ROPE})",
    f"rerope({ROPE}, window=512, factor=None)",
    f"rope({ROPE})",
    "sandwich(channels=128, base=10000.0)",
    f"self_extend({ROPE}, window=512, group_size=8)",
    "shaw(max_distance=64)",
    "sinusoidal(base=10000.0, scale=1.0, learned_scale=False)",
    "t5(num_buckets=32, max_distance=128, bidirectional=False)",
    "transformer_xl",
    f"xpos({ROPE}, scale_base=512.0, gamma=0.4)",
)
WINDOW = "original_max_position_embeddings=64"
SCALING_DEFAULTS = (
    f"dynamic(factor=2.0, {WINDOW})",
    "linear(factor=2.0)",
    f"llama3(factor=2.0, {WINDOW}, low_freq_factor=1.0, high_freq_factor=4.0)",
    f"longrope({WINDOW}, long_factor=[2.0, 4.0], short_factor=None, factor=1.0, attention_factor=None)",
    "ntk(factor=2.0)",
    f"ntk_by_parts(factor=2.0, {WINDOW}, beta_fast=32.0, beta_slow=1.0)",
    f"yarn(factor=None, dynamic=True, {WINDOW}, beta_fast=32.0, beta_slow=1.0, attention_factor=None, "
    "mscale=None, mscale_all_dim=None, truncate=True)",
    f"yarn(factor=2.0, dynamic=False, {WINDOW}, beta_fast=32.0, beta_slow=1.0, attention_factor=None, "
    "mscale=None, mscale_all_dim=None, truncate=True)",
)
SAMPLING_DEFAULTS = (
    "pose(max_length=2048, chunks=2)",
    "randomized(max_length=2048)",
    "shape(max_shift=1920)",
)
#: Given in `SCALING_DEFAULTS`, as they must be.
REQUIRED = {"factor": 2.0, "original_max_position_embeddings": 64, "long_factor": [2.0, 4.0], "dynamic": True}

#: Those whose logits depend on more than distances and content.
PLACE_MATTERS = {"dual_chunk", "fire", "self_extend"}
CAUSAL_ONLY = {"cope", "dual_chunk", "fox", "rerope", "self_extend", "xpos"}
PER_LAYER = {"cope", "deberta", "fox", "shaw", "transformer_xl"}
KINDS = {
    "none": {"nope"},
    "additive": {"learned", "sinusoidal"},
    "rotary": {"dual_chunk", "p_rope", "pope", "rerope", "rope", "self_extend", "xpos"},
    "data-dependent": {"cope", "fox"},
}
#: The last by each name, for YaRN the one with a factor.
FULL = {given["name"]: given for given in map(parse_call, SCALING_DEFAULTS)}
#: Registry, entry, field, the last values that are valid and the next that are not.
BOUNDS = [
    (POSITIONS, "learned", "factor", [1.0], [0.99]),
    (POSITIONS, "p_rope", "fraction", [0.01, 1.0], [0.0, 1.01]),
    (POSITIONS, "rerope", "factor", [1.0], [0.99]),
    (POSITIONS, "rope", "base", [1.01], [1.0]),
    (POSITIONS, "rope", "partial_rotary_factor", [0.01, 1.0], [0.0, 1.01]),
    (POSITIONS, "sandwich", "channels", [2, 4], [0, 3]),
    (POSITIONS, "t5", "max_distance", [64], [1]),
    (POSITIONS, "t5", "num_buckets", [4, 8], [0, 6]),
    (SCALINGS, "linear", "factor", [1.0], [0.99]),
    (SCALINGS, "longrope", "factor", [1.0], [0.99]),
    (SCALINGS, "yarn", "factor", [1.0], [0.99]),
    (SCALINGS, "yarn", "original_max_position_embeddings", [2], [1]),
    (SAMPLINGS, "pose", "chunks", [2], [1]),
    (SAMPLINGS, "randomized", "max_length", [2], [1]),
    (SAMPLINGS, "shape", "max_shift", [1], [0]),
]


def names(specs: Iterable[str]) -> list[str]:
    return [spec.partition("(")[0] for spec in specs]


@pytest.mark.parametrize("spec", POSITION_DEFAULTS, ids=names(POSITION_DEFAULTS))
def test_the_defaults_of_an_encoding(spec):
    name = spec.partition("(")[0]
    assert POSITIONS.parse(name) == POSITIONS.parse(spec)
    assert set(type(POSITIONS.parse(name)).model_fields) == set(parse_call(spec)), "all its parameters"


@pytest.mark.parametrize("spec", SCALING_DEFAULTS, ids=names(SCALING_DEFAULTS))
def test_the_defaults_of_a_scaling(spec):
    given = parse_call(spec)
    config = SCALINGS.parse(given)
    assert set(type(config).model_fields) == set(given), "all its parameters"
    required = {key: value for key, value in given.items() if key == "name" or REQUIRED.get(key) == value}
    assert SCALINGS.parse(required) == config


@pytest.mark.parametrize("spec", SAMPLING_DEFAULTS, ids=names(SAMPLING_DEFAULTS))
def test_the_defaults_of_a_sampling(spec):
    assert SAMPLINGS.parse(names([spec])[0]) == SAMPLINGS.parse(spec)
    assert set(type(SAMPLINGS.parse(spec)).model_fields) == set(parse_call(spec))


@pytest.mark.parametrize("name", names(POSITION_DEFAULTS))
def test_what_the_library_may_assume_of_an_encoding(name):
    encoding = POSITIONS[name].target
    assert encoding.kind == next((kind for kind, members in KINDS.items() if name in members), "bias")
    assert encoding.shift_invariant == (name not in PLACE_MATTERS)
    assert encoding.causal_only == (name in CAUSAL_ONLY)
    assert encoding.per_layer == (name in PER_LAYER)


@pytest.mark.parametrize(("registry", "name", "field", "valid", "invalid"), BOUNDS)
def test_the_bounds_of_a_parameter(registry, name, field, valid, invalid):
    given = FULL.get(name, {"name": name})
    for value in valid:
        assert getattr(registry.parse({**given, field: value}), field) == value
    for value in invalid:
        with pytest.raises(ValueError, match=field):
            registry.parse({**given, field: value})


def test_no_entry_is_forgotten():
    for registry, defaults in (
        (POSITIONS, POSITION_DEFAULTS),
        (SCALINGS, SCALING_DEFAULTS),
        (SAMPLINGS, SAMPLING_DEFAULTS),
    ):
        ours = {entry.name for entry in registry if entry.target.__module__.startswith("longctx.")}
        assert ours == set(names(defaults))


@pytest.mark.parametrize("spec", SCALING_DEFAULTS, ids=names(SCALING_DEFAULTS))
def test_a_scaling_says_whether_it_follows_the_length(spec):
    given = parse_call(spec)
    follows = given["name"] in {"dynamic", "longrope"} or given.get("dynamic") is True
    scaling = SCALINGS.build(given)
    assert scaling.follows_length is follows
    # What it says is what it does.
    short, long = (scaling.frequencies(1e4, 4, length).tolist() for length in (32, 4096))
    assert (short != long) is follows


def test_a_search_without_further_words_is_the_papers_in_small():
    found = {name: parameter.default for name, parameter in signature(search_factors).parameters.items()}
    words = {"base": 10_000.0, "generations": 8, "population": 16, "parents": 6, "mutation": 0.3}
    assert {name: found[name] for name in words} == words
    assert BEYOND == 1.25, "the paper's search space ends at 1.25 times the factor"
