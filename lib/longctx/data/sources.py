"""Where the text of the ``docs`` corpus comes from: source distributions pinned by version and hash.

Nine Python projects with long, hand-written documentation under permissive licences. Their *source*
distributions carry the documentation trees that wheels leave out, and never change once published.
"""

from __future__ import annotations

from dataclasses import dataclass


class CorpusError(RuntimeError):
    """A corpus cannot be had as pinned: the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """One pinned source distribution.

    Args:
        project: name on a package index.
        version: exact version.
        sha256: hex digest of the ``.tar.gz`` archive.
        docs: folder, relative to the archive's root, that holds the documentation.
        licence: SPDX expression, as the project states it.
        exclude: paths below the archive's root that are machine-made or no prose; a folder ends in ``/``.
    """

    project: str
    version: str
    sha256: str
    docs: str
    licence: str
    exclude: tuple[str, ...] = ()

    @property
    def archive(self) -> str:
        """File name of the archive, as the index serves it."""
        return f"{self.project.lower()}-{self.version}.tar.gz"


SOURCES: tuple[Source, ...] = (
    Source(
        "Django",
        "5.2.8",
        "23254866a5bb9a2cfa6004e8b809ec6246eba4b58a7589bc2772f1bcc8456c7f",
        docs="docs/",
        licence="BSD-3-Clause",
        exclude=("docs/ref/class-based-views/flattened-index.txt",),
    ),
    Source(
        "SQLAlchemy",
        "2.0.44",
        "0ae7454e1ab1d780aee69fd2aae7d6b8670a581d8847f2d1e0f7ddfbf47e5a22",
        docs="doc/",
        licence="MIT",
    ),
    Source(
        "sympy",
        "1.14.0",
        "d3d3fe8df1e5a0b42f0e7bdf50541697dbe7d23746e894990c030e2b05e72517",
        docs="doc/",
        licence="BSD-3-Clause",
    ),
    Source(
        "celery",
        "5.5.3",
        "6c972ae7968c2b5281227f01c3a3f984037d21c5129d07bf3550cc2afc6b10a5",
        docs="docs/",
        licence="BSD-3-Clause",
        exclude=("docs/spelling_wordlist.txt",),
    ),
    Source(
        "astropy",
        "8.0.2",
        "e6af35823099ad6a40b57dbe5ff845f577374ea131925c9fa4b49eeab06c5310",
        docs="docs/",
        licence="BSD-3-Clause",
    ),
    Source(
        "Cython",
        "3.3.1",
        "e0e45989e821bef6aa9ae15c7d583ab5e055f7406c4b3624e49e06d24e90375a",
        docs="docs/",
        licence="Apache-2.0",
    ),
    Source(
        "Twisted",
        "26.10.0",
        "5f0355403e507fc23ceea85e9dbb4bc59335aabde41dd324e8b8cea180dd38de",
        docs="docs/",
        licence="MIT",
        exclude=("docs/security.rst",),  # public keys
    ),
    Source(
        "docutils",
        "0.23",
        "746f5060322511280a1e50eb76846ed6bf2342984b2ac04dc42caa1a8d78799e",
        docs="docs/",
        licence="LicenseRef-public-domain",
    ),
    Source(
        "pytest",
        "9.2.0",
        "97c4f3b1f3c7414aa36465e09b8220f1d03627993bd51b1282e193753c80557b",
        docs="doc/",
        licence="MIT",
        exclude=(
            "doc/en/reference/plugin_list.rst",  # generated from a package index
            "doc/en/example/reportingdemo.rst",  # a program's output
            "doc/en/announce/",  # lists of names
        ),
    ),
)
