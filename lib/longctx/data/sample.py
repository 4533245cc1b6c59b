"""The ``sample`` corpus: *synthetic* English-like text from a small probabilistic grammar.

It exists so that tests and smoke runs need no network. Its losses say that code runs, nothing about language.
Each document has its own cast and places, drawn once and then repeated, so a longer context helps a little,
as in real text. Drawing uses only ``random.Random.random``, whose stream Python promises to keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from longctx.data.documents import Document

SEED = 20_177
N_DOCUMENTS = {"train": 60, "validation": 12}
SHORTEST, LONGEST = 60, 900  # sentences of a document
RECIPE = {"seed": SEED, **N_DOCUMENTS, "sentences": [SHORTEST, LONGEST], "version": 1}

ONSETS = ("b", "br", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo")
CODAS = ("", "l", "m", "n", "nd", "r", "rk", "s", "st", "th")
NOUNS = (
    *("river", "lantern", "letter", "window", "engine", "garden", "bridge", "ledger", "signal", "harbour"),
    *("kettle", "archive", "compass", "orchard", "mirror", "tower", "needle", "valley", "clock", "boat"),
)
ADJECTIVES = ("old", "quiet", "narrow", "bright", "broken", "distant", "heavy", "careful", "hollow", "plain")
TRANSITIVE = ("found", "carried", "watched", "repaired", "forgot", "painted", "measured", "sold", "opened")
MOTION = ("walked to", "returned to", "sailed past", "waited near", "wrote from", "slept in", "left")
ADVERBS = ("slowly", "at dawn", "without a word", "again", "in the rain", "before noon", "twice", "once more")
LINKS = ("Then", "Later", "Meanwhile", "After that", "Soon", "For a while")


def documents() -> Iterator[tuple[str, Document]]:
    """Pairs of split and document, always the same."""
    for split, n_documents in N_DOCUMENTS.items():
        for index in range(n_documents):
            random = Random(f"{SEED} {split} {index}")
            yield split, Document(f"sample/{split}-{index:02d}", _story(random))


def _story(random: Random) -> str:
    """One document: a heading, then paragraphs about a cast and places of its own."""
    cast = [_name(random) for _ in range(4)]
    places = [_name(random) for _ in range(3)]
    nouns = [_choose(random, NOUNS) for _ in range(8)]
    title = f"The {_choose(random, NOUNS)} of {places[0]}"
    # Squared: most documents are short, a few are long.
    n_sentences = SHORTEST + int((LONGEST - SHORTEST) * random.random() ** 2)
    sentences = [_sentence(random, cast, places, nouns) for _ in range(n_sentences)]
    paragraphs = []
    while sentences:
        size = 3 + int(4 * random.random())
        paragraphs.append(" ".join(sentences[:size]))
        sentences = sentences[size:]
    return "\n\n".join([title + "\n" + "=" * len(title), *paragraphs]) + "\n"


def _sentence(random: Random, cast: Sequence[str], places: Sequence[str], nouns: Sequence[str]) -> str:
    who = _choose(random, cast)
    opening = f"{_choose(random, LINKS)} {who}" if random.random() < 0.3 else who
    if random.random() < 0.4:
        core = f"{_choose(random, MOTION)} {_choose(random, places)}"
    else:
        core = f"{_choose(random, TRANSITIVE)} the {_choose(random, ADJECTIVES)} {_choose(random, nouns)}"
    if random.random() < 0.3:
        core += f" with {_choose(random, cast)}"
    if random.random() < 0.4:
        core += f" {_choose(random, ADVERBS)}"
    return f"{opening} {core}."


def _name(random: Random) -> str:
    syllables = [_choose(random, ONSETS) + _choose(random, VOWELS) for _ in range(2)]
    return ("".join(syllables) + _choose(random, CODAS)).capitalize()


def _choose(random: Random, options: Sequence[str]) -> str:
    return options[int(random.random() * len(options))]
