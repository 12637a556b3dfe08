"""The form of a definition of a number in summary.json; with the phrases that several share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """What one number is, how it is computed and how to read it."""

    name: str
    """Its key in summary.json, such as "token_f1"."""
    title: str
    formula: str
    normalisation: str
    """What is done to the texts, or which items are selected, before the number is computed."""
    library: str
    """The package and function that compute it, or "none: medr1"."""
    range: str
    reading: str
    """How to read the number, in short sentences."""
    source: str
    """A paper, or the file of this project that defines the number."""
    packages: tuple[str, ...] = ()
    """Names on PyPI of the packages whose installed versions can change the number."""


OWN = "none: medr1"
"""The library of numbers that medr1 computes itself."""
SHARE = "0 to 1"
"""The range of a share."""
SQUAD_TEXT = "SQuAD's: lower case, no ASCII punctuation, no articles, single spaces"
OPTION_TEXT = (
    "For a question with options the text of the chosen one, else the answer as the model wrote it "
    '(without tags and "The answer is"), whatever the type of the ground truth and the protocol; '
    "no answer has the worst value, 0 where higher is better."
)
TEXTS_OF_ANSWERS = f"{SQUAD_TEXT}. {OPTION_TEXT}"
