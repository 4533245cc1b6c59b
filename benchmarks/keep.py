"""How a benchmark's rows are kept."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from longctx.experiments.record import provenance
from longctx.training.checkpoints import write_atomically


def keep(path: Path, started: datetime, rows: list[dict[str, Any]], **settings: Any) -> None:
    """Write rows with the settings and the machine that they come from."""
    where = provenance(started, threads=1).model_dump(mode="json")
    content = {"provenance": where, **settings, "rows": rows}
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
