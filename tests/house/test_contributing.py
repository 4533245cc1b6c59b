"""The examples of CONTRIBUTING.md are complete: installed as other people's packages, they run everywhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ENCODING, PATTERN, TASK = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(PACKAGE,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)

COMBINE = """
import torch
from longctx import attend, build_position, list_patterns, list_positions
from longctx.attention import PATTERNS

torch.manual_seed(0)
q, k, v = (torch.randn(1, 2, 150, 8, requires_grad=True) for _ in range(3))
assert "log_distance" in list_positions() and "anchors" in list_patterns()
patterns = [str(config) for name in list_patterns() for config in PATTERNS.examples(name)]
for name in ("log_distance", "log_distance(slope=0.5)", "nope"):
    position = build_position(name, d_model=16, n_heads=2, head_dim=8)
    for pattern in [*patterns, "anchors(n=70)", "anchors | sliding_window(window=9)"]:
        results = []
        for executor in ("dense", "blocks"):
            y = attend(q, k, v, pattern=pattern, position=position, executor=executor)
            results.append((y, *torch.autograd.grad(y.square().sum(), (q, k, v))))
        for dense, blocks in zip(*results):
            torch.testing.assert_close(blocks, dense, atol=1e-5, rtol=1e-5)
print("checked", len(patterns))
"""


def lines(text: str) -> int:
    return len([line for line in text.splitlines() if line.strip()])


def test_the_examples_are_short() -> None:
    assert lines(ENCODING) + lines(PACKAGE) <= 20
    assert lines(PATTERN) + lines(PACKAGE) <= 20
    assert lines(TASK) <= 20


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the examples are installed, each as a package of its own."""
    target = tmp_path_factory.mktemp("site")
    modules = {
        "log_distance": ("positions", ENCODING),
        "anchors": ("patterns", PATTERN),
        "first": ("tasks", TASK),
    }
    for name, (group, module) in modules.items():
        package = PACKAGE.replace("positions", group)
        for old in ("log_distance", "log-distance"):
            package = package.replace(old, name)
        folder = tmp_path_factory.mktemp(name)
        (folder / f"{name}.py").write_text(module)
        (folder / "pyproject.toml").write_text(package)
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
        subprocess.run([*command, "--target", target, folder], check=True, capture_output=True, text=True)
    home = tmp_path_factory.mktemp("home")
    return {**os.environ, "PYTHONPATH": str(target), "LONGCTX_HOME": str(home), "OMP_NUM_THREADS": "1"}


def run(installed: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=installed, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_they_combine_with_every_pattern_and_executor(installed: dict[str, str]) -> None:
    assert run(installed, "-c", COMBINE).startswith("checked")


def test_the_encoding_is_listed_and_trains(installed: dict[str, str], tmp_path: Path) -> None:
    rows = json.loads(run(installed, "-m", "longctx.cli", "list", "positions", "--json"))
    (row,) = [row for row in rows if row["name"] == "log_distance"]
    assert row["kind"] == "bias"
    assert row["parameters"] == {"slope": 1.0}
    assert row["source"] == "CONTRIBUTING.md"
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "model: {n_layers: 1, d_model: 16, n_heads: 2, vocab_size: 2048, position: log_distance(slope=2)}\n"
        "data: {source: sample}\n"
        "training: {length: 16, batch_size: 4, steps: 3, learning_rate: 0.001, warmup_steps: 1}\n"
        "evaluation: {lengths: [16, 64], excerpt: 64, documents: 2}\n"
    )
    run(installed, "-m", "longctx.cli", "train", str(spec), "--store", str(tmp_path / "store"))
    (record,) = (tmp_path / "store").glob("*.json")
    assert '"position": "log_distance(slope=2.0)"' in record.read_text()


def test_the_encoding_is_drawn_in_the_comparison(installed: dict[str, str], tmp_path: Path) -> None:
    chosen = ["-p", "encodings", "log_distance,alibi", "--profile", "smoke", "--out", str(tmp_path)]
    run(installed, "-m", "longctx.cli", "notebook", "04", *chosen)
    (notebook,) = tmp_path.glob("*.ipynb")
    outputs = [
        output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", [])
    ]
    text = json.dumps([output.get("text") or output.get("data", {}).get("text/plain") for output in outputs])
    assert text.count("log_distance") >= 3


def test_the_pattern_is_listed_and_trains(installed: dict[str, str], tmp_path: Path) -> None:
    rows = json.loads(run(installed, "-m", "longctx.cli", "list", "patterns", "--json"))
    (row,) = [row for row in rows if row["name"] == "anchors"]
    assert (row["source"], row["looks"], row["parameters"]) == (
        "CONTRIBUTING.md",
        "either way",
        {"causal": True, "n": 4},
    )
    spec = {
        "model": {
            "n_layers": 1,
            "d_model": 16,
            "n_heads": 2,
            "vocab_size": 2048,
            "attention": "anchors(n=2)",
        },
        "data": {"source": "sample"},
        "training": {"length": 16, "batch_size": 4, "steps": 3, "learning_rate": 0.001, "warmup_steps": 1},
        "evaluation": {"lengths": [16, 64], "excerpt": 64, "documents": 2},
    }
    (tmp_path / "anchors.json").write_text(json.dumps(spec))
    record = json.loads(
        run(installed, "-m", "longctx.cli", "train", str(tmp_path / "anchors.json"), "--json")
    )
    assert record["spec"]["model"]["attention"] == "anchors(n=2)"
    assert len(record["training"]["losses"]) == 3


def test_the_pattern_is_drawn_in_the_gallery(installed: dict[str, str], tmp_path: Path) -> None:
    chosen = ["-p", "patterns", "anchors", "--profile", "smoke", "--out", str(tmp_path)]
    run(installed, "-m", "longctx.cli", "notebook", "22", *chosen)
    (notebook,) = tmp_path.glob("*.ipynb")
    cells = json.loads(notebook.read_text())["cells"]
    text = json.dumps([output for cell in cells for output in cell.get("outputs", [])])
    assert text.count("anchors") >= 2


def test_the_task_is_listed_and_learned(installed: dict[str, str], tmp_path: Path) -> None:
    rows = json.loads(run(installed, "-m", "longctx.cli", "list", "tasks", "--json"))
    assert "first" in {row["name"] for row in rows}
    spec = {
        "model": {"n_layers": 1, "d_model": 32, "n_heads": 2, "vocab_size": 11, "position": "nope"},
        "data": {"source": "task:first"},
        "training": {"length": 8, "batch_size": 64, "steps": 150, "learning_rate": 0.01, "warmup_steps": 5},
        "evaluation": {"lengths": [8], "protocols": ["problems"]},
    }
    (tmp_path / "first.json").write_text(json.dumps(spec))
    record = json.loads(run(installed, "-m", "longctx.cli", "train", str(tmp_path / "first.json"), "--json"))
    assert record["evaluations"][0]["result"]["targets"] == 256
    assert record["training"]["losses"][-1] < record["training"]["losses"][0]
