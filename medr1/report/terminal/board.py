"""What `medr1 board` prints."""

from __future__ import annotations

from collections.abc import Iterator

from medr1.documents.board import Board, BoardRow, BoardTable
from medr1.report.terminal.layout import WIDTH, Row, clean, filled, grid
from medr1.report.terminal.tables import interval_text, percent

_NAME = 28
"""Most characters of a model's name in the table, which fits into 80 columns then."""


def board_table(document: Board, *, width: int = WIDTH) -> str:
    """The tables of a board, each with the sentences about its tests.

    Args:
        document: The content of board.json.
        width: Columns of the terminal.
    """
    return "\n\n".join("\n".join(_lines(table, width)) for table in document.tables) + "\n"


def _lines(table: BoardTable, width: int) -> Iterator[str]:
    sha256 = (
        f"SHA-256 {clean(table.data_sha256)[:12]}" if table.data_sha256 else "hash not recorded"
    )
    title = f"{clean(table.data or 'questions')}, {sha256}, protocol {clean(table.protocol)}"
    yield from filled(title, width).split("\n")
    yield ""
    header = ("model", "accuracy", "95 % CI", "n", "group", "gain")
    names = [_short(clean(row.model or row.card)) for row in table.rows]
    rows = [
        _row(row, name if names.count(name) == 1 else _short(clean(row.card)))
        for row, name in zip(table.rows, names, strict=True)
    ]
    yield from grid(header, rows, width)
    if any(row.image_gain for row in table.rows):
        yield from filled("gain: accuracy above the best without image.", width).split("\n")
    yield ""
    for sentence in board_sentences(table):
        yield from filled(sentence, width).split("\n")


def _row(row: BoardRow, name: str) -> Row:
    metric, gain = row.accuracy, row.image_gain
    above = percent(gain.value, signed=True) if gain and gain.value is not None else "-"
    rest = (str(metric.n), row.groups or "-", above)
    if metric.value is None:
        return name, "-", metric.reason or "", *rest
    return name, percent(metric.value), interval_text(metric.ci95), *rest


def _short(name: str) -> str:
    """A name that is shortened in its middle, since names of models often differ at their ends."""
    return name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[1 - _NAME // 2 :]}"


def board_sentences(table: BoardTable) -> list[str]:
    """Which models cannot be told apart from the first, and how they were tested.

    Args:
        table: A table of board.json.
    """
    if len(table.rows) == 1:
        return ["There is one card, so nothing is compared."]
    sentences = []
    first, letters = table.rows[0], [row.groups for row in table.rows]
    if None in letters:
        sentences.append("There are too many groups for letters; board.json has each pair.")
    else:
        alike = sum(
            bool(set(_letters(row.groups)) & set(_letters(first.groups))) for row in table.rows[1:]
        )
        name = clean(first.model or first.card)
        others = len(table.rows) - 1
        which = "the other" if others == 1 else f"{alike} of the {others} others"
        sentences.append(
            f"{name} has the highest accuracy; {which} cannot be told apart from it."
            if alike
            else f"{name} has the highest accuracy, and its difference from "
            f"{'each of the others' if others > 1 else 'the other'} is significant."
        )
    tests = [pair.test for pair in table.pairs]
    n_paired, n_without = tests.count("paired"), tests.count("none")
    if n_paired == len(tests):
        sentences.append("All pairs were tested on the same items.")
    else:
        sentences.append(
            f"{n_paired} of {len(tests)} pairs were tested on the same items. The others were "
            "tested as independent samples, because a card has no verdicts on items or has other "
            "items; such a test finds fewer differences."
        )
    if n_without:
        sentences.append(
            f"{n_without} pairs could not be tested, because a card has no interval: they count as "
            "not told apart."
        )
    return sentences


def _letters(text: str | None) -> list[str]:
    """The letters of a row: "ab" is a and b, "a2b" is a2 and b."""
    letters: list[str] = []
    for character in text or "":
        if character.isdigit() and letters:
            letters[-1] += character
        else:
            letters.append(character)
    return letters
