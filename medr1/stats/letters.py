"""Compact letter display: letters that say which of several results cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase

_MAX_LETTERS = 200
"""Most letters of a display; with more, nobody could read it."""


def compact_letters(n: int, different: Iterable[tuple[int, int]]) -> list[str] | None:
    """The letters of each of n results: two share a letter if and only if they are not different.

    Insert and absorb: begin with one letter for all; each different pair splits the letters that
    both have; a letter whose results all have another one is dropped. Source: Piepho (2004),
    Journal of Computational and Graphical Statistics 13:456.

    Args:
        n: Number of results, in the order in which letters are given.
        different: Pairs of positions, from 0, whose results differ.

    Returns:
        "a", "ab" and so on, one text for each result; None where it takes too many letters.
    """
    columns = [frozenset(range(n))]
    for first, second in different:
        split = [part for column in columns for part in _without(column, first, second)]
        columns = [
            part for part in dict.fromkeys(split) if not any(part < other for other in split)
        ]
        if len(columns) > _MAX_LETTERS:
            return None
    columns.sort(key=sorted)
    return [
        "".join(_letter(place) for place, column in enumerate(columns) if position in column)
        for position in range(n)
    ]


def _without(column: frozenset[int], first: int, second: int) -> list[frozenset[int]]:
    """The column if it lacks one of the two, else the column without the one and the other."""
    if first in column and second in column:
        return [column - {second}, column - {first}]
    return [column]


def _letter(place: int) -> str:
    """a, b ... z, then a2, b2 and so on."""
    turn, position = divmod(place, len(ascii_lowercase))
    return ascii_lowercase[position] + (str(turn + 1) if turn else "")
