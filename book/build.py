"""Build the site, from nothing, with every warning an error.

``--execute`` runs the notebooks; without it their committed outputs are shown (what the tests of the site
need: strict nbval compares those outputs). ``--if-stale`` does nothing where the site shows the sources as
they are. A build never starts from an older one, whose leftovers it would silently reuse.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import vendor

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
SITE = BUILD / "html"
STAMP = SITE / ".sources"
SOURCES = ("_config.yml", "_toc.yml", "requirements.lock", "book", "notebooks")


def sources_digest() -> str:
    """SHA-256 over what the pages are made of: names and contents."""
    digest = hashlib.sha256(os.environ.get("LONGCTX_REPOSITORY_URL", "").encode())
    for top in SOURCES:
        path = ROOT / top
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(file.parts):
                digest.update(f"\0{file.relative_to(ROOT).as_posix()}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def is_fresh() -> bool:
    """Whether the built site shows the present sources."""
    return STAMP.is_file() and STAMP.read_text() == sources_digest()


def build(*, execute: bool) -> None:
    """Build ``_build/html``; raises SystemExit if a notebook fails or Sphinx warns."""
    vendor.fetch()
    digest = sources_digest()
    for leftover in ("html", ".doctrees", "jupyter_execute", "linkcheck"):
        shutil.rmtree(BUILD / leftover, ignore_errors=True)
    environment = {
        **os.environ,
        "LONGCTX_BOOK_EXECUTE": "force" if execute else "off",
        # Kernels are started as the bare `python3`, `jupyter` must be the environment's.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    program = Path(sys.executable).parent / "jupyter-book"
    command = [str(program), "build", str(ROOT), "--all", "-W", "--keep-going", "-q"]
    started = time.monotonic()
    if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
        raise SystemExit("error: the site was not built; the messages above say which page and why")
    STAMP.write_text(digest)
    print(f"built in {time.monotonic() - started:.0f} s")
    print(f"open  {SITE / 'index.html'}  or run: make serve")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--execute", action="store_true", help="run the notebooks at the default profile")
    parser.add_argument(
        "--if-stale", action="store_true", help="do nothing if the site shows the present sources"
    )
    arguments = parser.parse_args()
    if not (arguments.if_stale and is_fresh()):
        build(execute=arguments.execute)


if __name__ == "__main__":
    main()
