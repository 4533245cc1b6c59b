"""A build back-end that answers pip's one question about a source distribution: its metadata.

pip prepares metadata even of what it only downloads, and for that installs and runs the project's own build
system. This file, put in that system's place, copies ``PKG-INFO``; it needs no other package and runs no
code of the archive.
"""

import pathlib
import shutil
import sys
from email.parser import HeaderParser


def get_requires_for_build_wheel(config_settings=None):  # type: ignore[no-untyped-def]
    """Nothing is needed."""
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):  # type: ignore[no-untyped-def]
    """Copy the metadata that the archive came with."""
    fields = HeaderParser().parsestr(pathlib.Path("PKG-INFO").read_text(encoding="utf-8"))
    name = f"{fields['Name'].replace('-', '_')}-{fields['Version']}.dist-info"
    folder = pathlib.Path(metadata_directory, name)
    folder.mkdir()
    shutil.copy("PKG-INFO", folder / "METADATA")
    return name


# The entry that pip asks for where a project has only a setup.py.
__legacy__ = sys.modules[__name__]
