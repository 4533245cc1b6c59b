"""Names, strings, mappings and configs lead to the same strategy, and mistakes are named."""

from typing import Literal

import pytest

from longctx.registry import ConfigRegistry, Registry, StrategyConfig, format_call, parse_call


class HueConfig(StrategyConfig):
    name: Literal["hue"] = "hue"
    degrees: float = 0.0


@pytest.fixture
def colours() -> Registry[type]:
    registry: Registry[type] = Registry("colour", "longctx.no_such_group")

    @registry.register(HueConfig, source="https://example.org")
    class Hue:
        """A colour of the wheel.

        More about it.
        """

    return registry


@pytest.mark.parametrize(
    "spec",
    ["hue(degrees=30)", {"name": "hue", "degrees": 30}, HueConfig(degrees=30.0), " hue( degrees = 30.0 ) "],
)
def test_every_form_of_a_spec_gives_the_same_config(colours, spec):
    assert colours.parse(spec) == HueConfig(degrees=30.0)


@pytest.mark.parametrize("degrees", [0.0, 12.5])
def test_a_printed_config_parses_back(colours, degrees):
    config = HueConfig(degrees=degrees)
    assert colours.parse(str(config)) == config
    assert str(HueConfig()) == "hue" == format_call(HueConfig())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("red", "unknown colour 'red'; known: hue"),
        ("hue(degrees='x')", "degrees: .*given 'x'.*parameters: degrees"),
        ("hue(angle=1)", "angle: .*parameters: degrees"),
        ({"degrees": 1}, "needs a 'name'"),
        ("hue(30)", "not of the form"),
        ("hue(", "not of the form"),
        ("hue(name='red')", "not of the form"),
        ("hue(**{'degrees': 1})", "not of the form"),
        ("__import__('os').getcwd()", "not of the form"),
        ("hue + hue", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_a_wrong_spec_says_what_is_valid(colours, spec, message):
    with pytest.raises(ValueError, match=message):
        colours.parse(spec)


def test_operators_and_nested_calls_become_mappings():
    assert parse_call("a(x=1) | b & c") == {
        "name": "either",
        "left": {"name": "a", "x": 1},
        "right": {"name": "both", "left": {"name": "b"}, "right": {"name": "c"}},
    }
    assert parse_call("a(inner=b(y=[1, 2]))") == {"name": "a", "inner": {"name": "b", "y": [1, 2]}}


def test_two_modules_cannot_claim_one_name(colours):
    class Other:
        __module__ = "elsewhere"

    with pytest.raises(ValueError, match="already registered"):
        colours.register(HueConfig, source="")(Other)


def test_the_summary_is_the_first_sentence(colours):
    assert [entry.summary for entry in colours] == ["A colour of the wheel."]


def test_entry_points_register_plugins(monkeypatch):
    registry: Registry[type] = Registry("colour", "longctx.colours")

    class Point:
        def load(self):
            registry.register(HueConfig, source="")(type("Hue", (), {}))

    monkeypatch.setattr(
        "longctx.registry.entry_points", lambda group: [Point()] if group == "longctx.colours" else []
    )
    assert [entry.name for entry in registry] == ["hue"]


def test_a_required_field_without_examples_is_reported():
    class NeedyConfig(StrategyConfig):
        name: Literal["needy"] = "needy"
        size: int

    registry: Registry[type] = Registry("colour", "longctx.no_such_group")
    registry.register(NeedyConfig, source="")(type("Needy", (), {}))
    with pytest.raises(ValueError, match="'size' needs examples"):
        registry.examples("needy")


def test_what_is_its_own_config_is_built_and_nothing_of_another_kind():
    class Shape(StrategyConfig):
        """A figure."""

    shapes = ConfigRegistry(Shape, "shape", "longctx.no_such_group")

    @shapes.register_config(source="https://example.org")
    class Ring(Shape):
        """A round one."""

        name: Literal["ring"] = "ring"
        width: float = 1.0

    assert shapes.build("ring(width=2.0)") == Ring(width=2.0)
    unregistered = Shape(name="square")
    assert shapes.build(unregistered) is unregistered
    with pytest.raises(ValueError, match=r"hue is no shape; known: ring"):
        shapes.build(HueConfig())
