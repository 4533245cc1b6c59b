"""What encodings that learn start from: where their papers or the authors' code do."""

import pytest
import torch

from longctx.positions import build_position, list_positions

D_MODEL, HEADS, HEAD_DIM = 48, 6, 8

#: Name, parameter, and the mean and standard deviation that it is drawn with.
DRAWN = [
    ("deberta", "keys", 0.0, 0.02),
    ("deberta", "queries", 0.0, 0.02),
    ("dynamic_bias", "function.0.weight", 0.0, 1 / 3**0.5),
    ("dynamic_bias", "function.0.bias", 0.0, 1 / 3**0.5),
    ("dynamic_bias", "function.2.weight", 0.0, 1 / (3 * 64) ** 0.5),
    ("fire", "function.0.weight", 0.0, 1 / 3**0.5),
    ("fire", "function.2.weight", 0.0, 1 / (3 * 32) ** 0.5),
    ("fox", "weight", 0.0, 0.02),
    ("kerple", "p", 1.005, 1.99 / 12**0.5),
    ("kerple", "a", 0.505, 0.99 / 12**0.5),
    ("learned", "weight", 0.0, 0.02),
    ("shaw", "weight", 0.0, 0.02),
    ("t5", "weight", 0.0, D_MODEL**-0.5),
    ("transformer_xl", "weight", 0.0, 0.02),
]
#: Name, parameter, and the value that all of it starts with.
SET = [
    ("cope", "weight", 0.0),
    ("fire", "c", 0.1),
    ("fire(init_c=0.7)", "c", 0.7),
    ("fire", "threshold", 1.0),
    ("fox", "offset", 5.0),
    ("fox(init_bias=3.0)", "offset", 3.0),
    ("pope", "shift", 0.0),
    ("sinusoidal(scale=0.3, learned_scale=True)", "learned_scale", 0.3),
    ("transformer_xl", "content", 0.0),
    ("transformer_xl", "place", 0.0),
]


def build(spec):
    return build_position(spec, d_model=D_MODEL, n_heads=HEADS, head_dim=HEAD_DIM, n_kv_heads=HEADS)


@pytest.mark.parametrize(("spec", "name", "mean", "deviation"), DRAWN)
def test_what_is_drawn_has_the_spread_of_its_source(spec, name, mean, deviation):
    position, draws = build(spec), []
    for seed in range(100):
        position.reset_parameters(torch.Generator().manual_seed(seed))
        draws.append(position.get_parameter(name).detach().double().flatten())
    found = torch.cat(draws)
    error = deviation / len(found) ** 0.5
    assert found.mean().item() == pytest.approx(mean, abs=5 * error)
    assert found.std().item() == pytest.approx(deviation, abs=5 * error)


@pytest.mark.parametrize(("spec", "name", "value"), SET)
def test_what_is_set_starts_with_its_value(spec, name, value):
    parameter = build(spec).get_parameter(name)
    torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, value))


@pytest.mark.parametrize("name", list_positions())
def test_the_start_is_that_of_seed_0_and_follows_a_generator(name):
    """Records name seeds, not weights: an encoding that is built by itself is the same everywhere."""
    built, drawn, other = build(name), build(name), build(name)
    drawn.reset_parameters(torch.Generator().manual_seed(0))
    other.reset_parameters(torch.Generator().manual_seed(7))
    redrawn = {parameter for spec, parameter, *_ in DRAWN if spec == name}
    for key, value in built.named_parameters():
        assert torch.equal(value, drawn.get_parameter(key)), key
        if key in redrawn:
            assert not torch.equal(value, other.get_parameter(key)), key


def test_every_parameter_has_a_start_here():
    named = {(spec.partition("(")[0], parameter) for spec, parameter, *_ in [*DRAWN, *SET]}
    for name in list_positions():
        for key, _ in build(name).named_parameters():
            assert (name, key) in named or key.startswith("function."), f"{name}: {key}"
