"""The command line: `longctx --help`."""

from longctx.cli import benchmarks, catalogue, chapters, checks, runs, sweeps  # noqa: F401  (registers the verbs)
from longctx.cli.app import app

__all__ = ["app"]
