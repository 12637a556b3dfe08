"""board.json, the document of `medr1 board`: cards of the same questions, ranked and compared."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.documents.metric import Metric


class BoardRow(Struct, frozen=True, kw_only=True):
    """One card."""

    card: str
    """The path of its file, relative to the folder of the board."""
    model: str | None
    model_sha256: str | None
    prompt: str | None
    date: str | None
    accuracy: Metric
    groups: str | None
    """Letters; rows that share one cannot be told apart. None where there are too many."""
    best_without_image: Metric | None
    """Accuracy of the best predictor without the image; None if it is not recorded."""
    image_gain: Metric | None
    """The accuracy minus that of this predictor, on the items with options."""
    n_without_answer: int
    n_leaked: int | None
    """The largest number of items that leak from training data in one way; None without audit."""


class BoardPair(Struct, frozen=True, kw_only=True):
    """Two cards of a table."""

    first: str
    second: str
    """Their files."""
    difference: float | None
    """Accuracy of the first minus that of the second."""
    p: float | None
    """None where there is no test."""
    p_holm: float | None
    """The same with Holm's correction over all pairs of the table."""
    test: Literal["paired", "unpaired", "none"]
    """paired: the sign-flip test over clusters, which is McNemar's exact test where each item has
    its own image. unpaired: a z test of two independent accuracies, by their intervals."""


class BoardTable(Struct, frozen=True, kw_only=True):
    """The cards of the same questions and protocol, the highest accuracy first."""

    data: str | None
    """The name of the file of questions."""
    data_sha256: str | None
    n: int
    protocol: str
    rows: list[BoardRow]
    pairs: list[BoardPair]


class Board(Struct, frozen=True, kw_only=True):
    """board.json."""

    schema: Literal["medr1.board/1"] = "medr1.board/1"
    alpha: float
    """Rows are told apart if their adjusted p is below it."""
    tables: list[BoardTable]
    notes: list[str]
    """Sentences about files that were left out."""
