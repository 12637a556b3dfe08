"""Collect the cards of a folder to a board."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.workflows.arguments import keep_apart, require_writable
from medr1.workflows.card import MAX_CARD, read_card

if TYPE_CHECKING:
    from medr1.documents.board import Board
    from medr1.documents.card import Card

logger = logging.getLogger("medr1")

MAX_FILES = 10_000
"""Most JSON files of a folder that are looked at."""
_REPRODUCTION = re.compile(r"\.reproduced(\.bak(\.\d+)?)?$")
"""Ends the name of a folder of `medr1 reproduce`, or of an old one that was replaced."""
_MARK = b'"medr1.card/'
_HEAD = 1000
"""A card says what it is in so many bytes."""


def run_board(
    folder: str | Path,
    *,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
) -> Board:
    """Collect the cards of a folder to tables, with tests of which of them differ.

    Cards are in one table if they have the same questions and protocol. Where cards have the
    verdicts on the items, each pair is tested on the same items, else as independent samples.

    Args:
        folder: Folder with cards, also in folders below it. Other files, and the folders of
            `medr1 reproduce`, are skipped.
        output_dir: Folder to write: board.html and board.json; None: no files.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: The folder has no card.
        OutputError: The output cannot be written.
    """
    from medr1.documents.board import Board
    from medr1.evaluate.cards.board import ALPHA, board_tables
    from medr1.files import prepare_folder, to_json, write_atomic
    from medr1.report.pages.board import board_html

    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder. Name one with cards of medr1 eval --card.")
    if output_dir:
        require_writable(Path(output_dir) / "board.json")
        keep_apart(output_dir, [root], overwrite)
    cards, notes = _cards(root)
    if not cards:
        raise InputError(f"{root} has no cards. Make some with medr1 eval RESULTS --card {root}.")
    document = Board(alpha=ALPHA, tables=board_tables(cards), notes=notes)
    if output_dir:
        output = Path(output_dir)
        prepare_folder(output, overwrite=overwrite)
        write_atomic(output / "board.html", board_html(document))
        write_atomic(output / "board.json", to_json(document))
    for note in notes:
        logger.warning("%s", note)
    return document


def _cards(root: Path) -> tuple[dict[str, Card], list[str]]:
    """The cards by their paths below the folder, and sentences about those that are left out.

    Two cards of the same results and protocol count once.
    """
    from medr1.evaluate.cards.items import item_columns

    files = [
        path
        for path in sorted(root.rglob("*.json"))
        if not any(_REPRODUCTION.search(part) for part in path.relative_to(root).parts)
    ]
    if len(files) > MAX_FILES:
        raise InputError(f"{root} has more than {MAX_FILES:,} JSON files. Name a smaller folder.")
    cards: dict[str, Card] = {}
    notes: list[str] = []
    names: dict[tuple[str, str], str] = {}
    for path in files:
        name = path.relative_to(root).as_posix()
        try:
            if not _may_be_card(path):
                continue
            card = read_card(path)
            if card.items:
                item_columns(card.items, name)
        except (InputError, OSError) as error:
            notes.append(f"{name} is left out: {error}")
            continue
        first = names.setdefault((card.results_sha256, card.protocol), name)
        if first != name:
            notes.append(f"{name} is left out: it is about the same results as {first}.")
            continue
        cards[name] = card
    return cards, notes


def _may_be_card(path: Path) -> bool:
    """Whether the beginning of a file says that it is a card."""
    if not path.is_file() or path.stat().st_size > MAX_CARD:
        return False
    with path.open("rb") as file:
        return _MARK in file.read(_HEAD)
