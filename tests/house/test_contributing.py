"""The examples of CONTRIBUTING.md are complete: each runs, and is held to what every strategy is held to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)

CHECK = """
import torch
from longctx import attend, build_pattern, build_position, list_patterns, list_positions
from longctx.attention.patterns.base import build_pattern

torch.manual_seed(0)
q, k, v = (torch.randn(1, 2, 150, 8, requires_grad=True) for _ in range(3))
assert "log_distance" in list_positions() and "anchors" in list_patterns()
for name in ("log_distance", "log_distance(slope=0.5)", "nope"):
    position = build_position(name, d_model=16, n_heads=2, head_dim=8)
    for pattern in ("anchors", "anchors(n=70)", "anchors | sliding_window(window=9)", "full"):
        results = []
        for executor in ("dense", "blocks"):
            y = attend(q, k, v, pattern=pattern, position=position, executor=executor)
            results.append((y, *torch.autograd.grad(y.square().sum(), (q, k, v))))
        for dense, blocks in zip(*results):
            torch.testing.assert_close(blocks, dense, atol=1e-5, rtol=1e-5)
print("checked")
"""


def test_there_is_an_example_of_an_encoding_and_of_a_pattern() -> None:
    assert ["PositionEncoding" in text or "Pattern" in text for text in EXAMPLES] == [True, True]


@pytest.mark.parametrize("text", EXAMPLES, ids=["encoding", "pattern"])
def test_an_example_is_short(text: str) -> None:
    assert len([line for line in text.splitlines() if line.strip()]) <= 25


def test_the_examples_run_with_every_executor(tmp_path: Path) -> None:
    for number, text in enumerate(EXAMPLES):
        (tmp_path / f"example{number}.py").write_text(text)
    script = "import example0, example1\n" + CHECK
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "checked", done.stderr
