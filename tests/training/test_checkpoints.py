import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longctx.model import ModelConfig, Transformer, build_model
from longctx.training import (
    Checkpoints,
    DamagedCheckpointError,
    TrainingSpec,
    load_weights,
    save_weights,
    train,
)
from longctx.training.checkpoints import write_atomically

NewModel = Callable[[], Transformer]
Draw = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
Run = Callable[[Transformer, int | None], list[float]]


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run", key="run", every=3)


@pytest.fixture
def run_until(spec: TrainingSpec, checkpoints: Checkpoints, draw: Draw) -> Run:
    """Train with checkpoints, and be stopped after a step."""

    def run(model: Transformer, last: int | None) -> list[float]:
        def stop(*, step: int, **_: object) -> None:
            if step == last:
                raise KilledError

        return train(model, lambda step: draw(step, 4), spec, checkpoints=checkpoints, progress=stop)

    return run


def state(model: Transformer) -> list[torch.Tensor]:
    return [value.detach().clone() for value in model.state_dict().values()]


@pytest.fixture
def new_routing_model() -> NewModel:
    """With centroids, which learn without being parameters."""
    fields = {"n_layers": 1, "d_model": 16, "n_heads": 2, "vocab_size": 32}
    config = ModelConfig(**fields, attention="routing(clusters=2, window=3, decay=0.9)")
    return lambda: build_model(config, seed=0)


def test_what_follows_from_the_config_is_not_kept(tmp_path: Path):
    """ALiBi's slopes are a buffer, which weights of older runs do not hold either."""
    fields = {"n_layers": 1, "d_model": 16, "n_heads": 2, "vocab_size": 32, "position": "alibi"}
    model = build_model(ModelConfig(**fields))
    assert [name for name, _ in model.named_buffers()] == ["position.fixed_slopes"]
    save_weights(tmp_path / "w.safetensors", model, {})
    assert set(load_file(tmp_path / "w.safetensors")) == {name for name, _ in model.named_parameters()}


def test_a_resumed_run_goes_on_with_what_was_learned_beside_the_parameters(
    draw: Draw, run_until: Run, new_routing_model: NewModel, spec: TrainingSpec
):
    whole, again, resumed = (new_routing_model() for _ in range(3))
    start = state(whole)
    losses = train(whole, lambda step: draw(step, 4), spec)
    assert train(again, lambda step: draw(step, 4), spec) == losses
    with pytest.raises(KilledError):
        run_until(new_routing_model(), 5)
    assert run_until(resumed, None) == losses
    for first, *others in zip(start, *map(state, (whole, again, resumed)), strict=True):
        assert torch.equal(others[0], others[1])
        assert torch.equal(others[0], others[2])
        assert not torch.equal(others[0], first)


def test_what_was_learned_beside_the_parameters_is_kept_with_the_weights(
    tmp_path: Path, new_routing_model: NewModel
):
    model, other = new_routing_model(), new_routing_model()
    model.blocks[0].attention.pattern.centroids.add_(0.123456)
    save_weights(tmp_path / "w.safetensors", model, {})
    load_weights(tmp_path / "w.safetensors", other)
    assert all(torch.equal(a.half().float(), b) for a, b in zip(state(model), state(other), strict=True))


@pytest.mark.parametrize("stopped", [1, 3, 5, 11])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    draw: Draw,
    run_until: Run,
    new_model: NewModel,
    spec: TrainingSpec,
    checkpoints: Checkpoints,
    stopped: int,
):
    whole = new_model()
    losses = train(whole, lambda step: draw(step, 4), spec)
    with pytest.raises(KilledError):
        run_until(new_model(), stopped)
    resumed = new_model()
    assert run_until(resumed, None) == losses
    assert all(torch.equal(a, b) for a, b in zip(state(resumed), state(whole), strict=True))


def flip_bit(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 0b100
    path.write_bytes(content)


def truncate(path: Path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("at", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("damage", [flip_bit, truncate])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(
    draw: Draw,
    run_until: Run,
    new_model: NewModel,
    spec: TrainingSpec,
    checkpoints: Checkpoints,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path, float], None],
    at: float,
    suffix: str,
):
    whole = new_model()
    losses = train(whole, lambda step: draw(step, 4), spec)
    with pytest.raises(KilledError):
        run_until(new_model(), 10)
    assert checkpoints.steps() == [6, 9]
    damage(checkpoints.folder / f"step-0000009{suffix}", at)
    found = checkpoints.latest()
    assert found is not None
    assert len(found[1]) == 6
    assert "step-0000009" in caplog.text, "the damage must be reported"
    resumed = new_model()
    assert run_until(resumed, None) == losses
    assert all(torch.equal(a, b) for a, b in zip(state(resumed), state(whole), strict=True))


def test_with_every_checkpoint_damaged_the_run_starts_again(
    draw: Draw, run_until: Run, new_model: NewModel, spec: TrainingSpec, checkpoints: Checkpoints
):
    with pytest.raises(KilledError):
        run_until(new_model(), 10)
    for path in checkpoints.folder.glob("*.safetensors"):
        flip_bit(path, 0.5)
    assert checkpoints.latest() is None
    assert run_until(new_model(), None) == train(new_model(), lambda s: draw(s, 4), spec)


def test_a_checkpoint_moved_from_another_run_or_step_is_refused(
    run_until: Run, new_model: NewModel, spec: TrainingSpec, checkpoints: Checkpoints
):
    with pytest.raises(KilledError):
        run_until(new_model(), 10)
    assert Checkpoints(checkpoints.folder, key="another", every=3).latest() is None
    for suffix in (".safetensors", ".json"):
        (checkpoints.folder / f"step-0000009{suffix}").rename(checkpoints.folder / f"step-0000011{suffix}")
    found = checkpoints.latest()
    assert found is not None
    assert len(found[1]) == 6


def test_a_checkpoint_without_its_manifest_does_not_count(
    run_until: Run, new_model: NewModel, spec: TrainingSpec, checkpoints: Checkpoints
):
    with pytest.raises(KilledError):
        run_until(new_model(), 10)
    (checkpoints.folder / "step-0000009.json").unlink()
    assert checkpoints.steps() == [6]


def test_two_checkpoints_are_kept_and_none_after_the_end(
    run_until: Run, new_model: NewModel, spec: TrainingSpec, checkpoints: Checkpoints
):
    checkpoints.folder.mkdir()
    (checkpoints.folder / ".step-0000003.safetensors.left").write_text("by a kill")
    run_until(new_model(), None)
    assert checkpoints.steps() == [6, 9], "a step at the end is not kept: the result is"
    assert len(list(checkpoints.folder.iterdir())) == 4, "what a kill has left half written goes too"
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_every_must_be_positive(tmp_path: Path):
    with pytest.raises(ValueError, match="every must be at least 1 step, got 0"):
        Checkpoints(tmp_path, key="run", every=0)


def test_a_kill_before_the_rename_leaves_the_old_content(tmp_path: Path):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")
    script = (
        "import os, sys, pathlib\n"
        "os.replace = lambda *_: os._exit(9)\n"
        "from longctx.training.checkpoints import write_atomically\n"
        "write_atomically(pathlib.Path(sys.argv[1]), b'new' * 10**6)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    assert path.read_bytes() == b"old"


def test_a_failing_write_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_weights_come_back_rounded_to_half_precision(tmp_path: Path, new_model: NewModel):
    model, other = new_model(), new_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.123456)
    save_weights(tmp_path / "w.safetensors", model, {"training_key": "k"})
    load_weights(tmp_path / "w.safetensors", other)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a.detach().half().float(), b)


@pytest.mark.parametrize("at", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("damage", [flip_bit, truncate])
def test_damaged_weights_are_refused_by_name(
    tmp_path: Path, new_model: NewModel, damage: Callable[[Path, float], None], at: float
):
    path = tmp_path / "w.safetensors"
    save_weights(path, new_model(), {"training_key": "k"})
    damage(path, at)
    with pytest.raises(DamagedCheckpointError, match=r"w\.safetensors"):
        load_weights(path, new_model())


def test_weights_of_another_shape_are_refused(tmp_path: Path, new_model: NewModel):
    save_weights(tmp_path / "w.safetensors", new_model(), {})
    with pytest.raises(DamagedCheckpointError, match="does not hold the parameters of this model"):
        load_weights(tmp_path / "w.safetensors", torch.nn.Linear(2, 2))


def test_weights_that_overflow_half_precision_are_not_written(tmp_path: Path, new_model: NewModel):
    model = new_model()
    with torch.no_grad():
        model.final_norm.weight.fill_(1e6)
    with pytest.raises(OverflowError, match=r"final_norm\.weight"):
        save_weights(tmp_path / "w.safetensors", model, {})
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_json_without_code(new_model: NewModel, checkpoints: Checkpoints):
    checkpoints.save(3, {"model.x": torch.ones(2)}, [1.0, 2.0, 3.0])
    manifest = json.loads((checkpoints.folder / "step-0000003.json").read_text())
    assert set(manifest) == {"sha256"}
