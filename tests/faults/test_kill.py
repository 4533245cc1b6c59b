"""Kill −9 at random moments of a whole run: train, checkpoint, keep weights, evaluate, record."""

import json
import subprocess
import sys
from pathlib import Path

KILLS = 10


def test_a_run_killed_at_ten_random_moments_ends_with_the_same_bits(tmp_path: Path):
    script = Path(__file__).with_name("killed_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(report)
    assert report["kills"] == KILLS
    assert report["resumed"] >= 3, "too few kills came after a checkpoint: this would not test resuming"
    assert report["different"] == [], "after these kills the finished run had other bits"
