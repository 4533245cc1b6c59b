"""Every task asks what it says: its answers are worked out again from the tokens alone."""

from collections.abc import Callable
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.data.tasks import IGNORED, TASKS, Task, build_task

NAMES = [entry.name for entry in TASKS]


def split(inputs: list[int], mark: int) -> list[int]:
    return inputs[: inputs.index(mark)]


def number(digits: list[int]) -> int:
    return int("".join(map(str, reversed(digits))))


def copied(inputs: list[int], n: int) -> list[int]:
    return split(inputs, 30)


def reversed_(inputs: list[int], n: int) -> list[int]:
    return list(reversed(split(inputs, 30)))


def sorted_(inputs: list[int], n: int) -> list[int]:
    return sorted(split(inputs, 30))


def added(inputs: list[int], n: int) -> list[int]:
    plus, equals = inputs.index(10), inputs.index(11)
    total = number(inputs[:plus]) + number(inputs[plus + 1 : equals])
    return [int(digit) for digit in reversed(str(total).zfill(plus + 1))]


def recalled(inputs: list[int], n: int) -> list[int]:
    pairs = len(inputs) - n
    book = dict(zip(inputs[:pairs:2], inputs[1:pairs:2], strict=True))
    assert len(book) == pairs // 2, "a key is said once"
    return [book[key] for key in inputs[pairs:]]


def latest(inputs: list[int], n: int) -> list[int]:
    return [[token for token in inputs[:-n] if token < 32][-1]] * n


def copied_back(inputs: list[int], n: int) -> list[int]:
    """The text goes on; its last token nobody can know, unless a trigger stands before it."""
    assert inputs[0] == 32
    assert 32 not in inputs[1:]
    answers = [*inputs[2:], inputs[-2] if inputs[-1] >= 24 else ANY]
    for before, trigger, after in zip(inputs[1:], inputs[2:], answers[1:], strict=False):
        assert trigger < 24 or after == before
    return answers


#: What a person would answer to the tokens of a problem, given how many answers are wanted.
BY_HAND: dict[str, Callable[[list[int], int], list[int]]] = {
    "copy": copied,
    "reverse": reversed_,
    "sort": sorted_,
    "addition": added,
    "backcopy": copied_back,
    "recall": recalled,
    "latest": latest,
}


def test_every_task_is_checked_by_hand():
    assert sorted(BY_HAND) == NAMES


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**31), length=st.integers(8, 90), hardest=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_answers_are_right(name: str, seed: int, length: int, hardest: bool):
    task = build_task(name)
    batch = task.batch(length=length, batch_size=3, names=(seed,), hardest=hardest)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        places = [i for i, target in enumerate(targets) if target != IGNORED]
        assert places == list(range(places[0], places[-1] + 1)), "asked without a gap"
        wanted = [targets[i] for i in places]
        assert wanted == BY_HAND[name](inputs[: places[-1] + 1], len(wanted))
        assert 0 <= min(inputs) <= max(inputs) < task.vocab_size
        assert max(wanted) < task.vocab_size


@pytest.mark.parametrize("name", ["copy", "reverse", "sort", "addition"])
def test_an_answer_is_predicted_from_what_stands_before_it(name: str):
    batch = build_task(name).batch(length=40, batch_size=8, names=(1,))
    asked = batch.targets[:, :-1] != IGNORED
    follows = batch.targets[:, 1:] != IGNORED
    both = asked & follows
    assert torch.equal(batch.inputs[:, 1:][both], batch.targets[:, :-1][both]), "teacher forcing"


@pytest.mark.parametrize("name", ["copy", "reverse", "sort", "recall", "latest"])
def test_the_evidence_lies_where_the_distance_says(name: str):
    batch = build_task(name).batch(length=48, batch_size=8, names=(2,))
    rows, places = (batch.targets != IGNORED).nonzero(as_tuple=True)
    back = places - batch.distances[rows, places]
    assert torch.equal(batch.inputs[rows, back], batch.targets[rows, places])
    assert (batch.distances[rows, places] > 0).all()


def test_the_evidence_of_a_digit_is_its_column():
    batch = build_task("addition").batch(length=32, batch_size=1, names=(3,), hardest=True)
    assert batch.distances[0][batch.targets[0] != IGNORED].tolist() == [21] * 10 + [22]


@pytest.mark.parametrize("name", NAMES)
def test_problems_come_in_every_size_and_the_hardest_in_one(name: str):
    task = build_task(name)
    some = task.batch(length=32, batch_size=200, names=(4,))
    sizes = {tuple(row) for row in (some.targets != IGNORED).tolist()}
    assert len(sizes) == task.largest(32)
    hard = task.batch(length=32, batch_size=20, names=(4,), hardest=True)
    assert len({tuple(row) for row in (hard.targets != IGNORED).tolist()}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_gives_its_problems_again_and_another_gives_others(name: str):
    task = build_task(name)
    first, again, other = (
        task.batch(length=32, batch_size=4, names=names) for names in ((5, 1), (5, 1), (5, 2))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.inputs, other.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_too_short_a_length_is_refused(name: str):
    with pytest.raises(ValueError, match=f"length: given 1, too short for any problem of {name}"):
        build_task(name).batch(length=1, batch_size=1, names=(0,))


def test_digits_are_uniform_and_carries_happen():
    batch = build_task("addition").batch(length=32, batch_size=500, names=(6,), hardest=True)
    operands = batch.inputs[:, :10]
    counts = np.bincount(operands.flatten().numpy(), minlength=10)
    assert abs(counts - 500).max() < 5 * np.sqrt(450), "five standard deviations of a binomial"
    last = batch.targets[:, -1]
    assert set(last.tolist()) == {0, 1}


def test_an_unknown_task_is_refused_with_the_known_ones():
    known = "addition, backcopy, copy, latest, recall, reverse, sort"
    with pytest.raises(ValueError, match=rf"unknown task 'sum'; known: {known}"):
        build_task("sum")


def test_a_task_is_its_own_config():
    task = build_task("copy(symbols=5)")
    assert isinstance(task, Task)
    assert str(task) == "copy(symbols=5)"
    assert task.batch(length=20, batch_size=50, names=(0,)).inputs.max() == 5


def test_the_latest_needle_is_one_of_several_and_may_stand_anywhere():
    task = build_task("latest(needles=3)")
    batch = task.batch(length=40, batch_size=300, names=(7,))
    assert ((batch.inputs < 32).sum(1) == 3).all(), "as many needles as asked for, no two in one place"
    first_asked = batch.distances[:, -4]
    assert first_asked.min() == 1
    assert first_asked.max() > 25
    assert build_task("latest(values=2, needles=3)").largest(40) == 0, "two values are no three needles"


def test_after_a_symbol_the_text_has_the_entropy_that_it_says_and_no_memory():
    batch = build_task("backcopy").batch(length=64, batch_size=3000, names=(8,), hardest=True)
    ordinary = (batch.inputs < 24) & (batch.targets != IGNORED)
    counts = np.zeros((24, 32))
    np.add.at(counts, (batch.inputs[ordinary], batch.targets[ordinary]), 1)
    shares = -np.sort(-counts[counts.sum(1) > 3000], axis=1)
    shares /= shares.sum(1, keepdims=True)
    assert len(shares) > 8
    assert np.abs(shares[:, :4] - [1 / 2, 1 / 4, 1 / 8, 1 / 16]).max() < 0.03
    assert torch.equal(batch.distances == 1, (batch.inputs >= 24) & (batch.inputs < 32))
    with pytest.raises(ValueError, match="fewer than symbols=32, given 32"):
        build_task("backcopy(triggers=32)")
    assert 0.05 < (batch.distances == 1).double().mean() < 0.5
