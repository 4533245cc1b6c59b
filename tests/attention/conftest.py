"""Fixtures for tests of attention."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked_shapes():
    """Without run-time shape checks, as a user runs: the library's own errors have to speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def flex_traceable():
    """FlexAttention traces predicate and bias, and run-time shape checks cannot be traced."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
