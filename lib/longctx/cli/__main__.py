"""`python -m longctx.cli`, where the `longctx` script is not on the PATH."""

from longctx.cli import app

app(prog_name="longctx")
