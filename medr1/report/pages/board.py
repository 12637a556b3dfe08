"""board.html: models on the same questions, as tables that can be sorted, on an offline page."""

from __future__ import annotations

from collections import Counter

from medr1.documents.board import Board, BoardPair, BoardRow, BoardTable
from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, interval_of, one_line, visible
from medr1.report.pages.summary import MARGIN, PLOT_WIDTH, forest_row, plot_x
from medr1.report.terminal.board import board_sentences
from medr1.report.terminal.tables import percent

MAX_PAIRS = 500
"""Most pairs of a table that the page shows."""
_UNKNOWN = "-"


def board_html(document: Board) -> str:
    """The page as HTML; `document` is the content of board.json."""
    from medr1 import __version__

    style, script = asset("report.css"), asset("board.js")
    return template("board.html").render(
        title="models on the same questions",
        heading="Models on the same questions",
        style=style,
        script=script,
        style_hash=csp_hash(style),
        script_hash=csp_hash(script),
        plot_width=PLOT_WIDTH,
        margin=MARGIN,
        n_cards=sum(len(table.rows) for table in document.tables),
        alpha=document.alpha,
        tables=[_table(table, document.alpha) for table in document.tables],
        notes=[visible(note, 600) for note in document.notes[:40]],
        version=__version__,
    )


def _table(table: BoardTable, alpha: float) -> dict[str, object]:
    counts = Counter(_model(row) for row in table.rows)
    names = {
        row.card: _model(row)
        if counts[_model(row)] == 1
        else f"{_model(row)} ({one_line(row.card)})"
        for row in table.rows
    }
    pairs = sorted(table.pairs, key=lambda pair: 2.0 if pair.p_holm is None else pair.p_holm)
    return {
        "data": one_line(table.data or "questions"),
        "sha256": one_line(table.data_sha256),
        "protocol": one_line(table.protocol),
        "n": count_text(table.n),
        "sentences": board_sentences(table),
        "has_chance": any(row.best_without_image for row in table.rows),
        "rows": [_row(row) for row in table.rows],
        "pairs": [_pair(pair, names, alpha) for pair in pairs[:MAX_PAIRS]],
        "n_pairs": len(pairs),
    }


def _model(row: BoardRow) -> str:
    return one_line(row.model or "model not named")


def _row(row: BoardRow) -> dict[str, object]:
    best, gain = row.best_without_image, row.image_gain
    return {
        **forest_row(_model(row), row.accuracy),
        "card": one_line(row.card),
        "groups": row.groups or _UNKNOWN,
        "without_image": plot_x(best.value) if best else None,
        "gain": percent(gain.value, signed=True) if gain and gain.value is not None else _UNKNOWN,
        "gain_interval": interval_of(gain, signed=True) if gain else "",
        "n_without_answer": count_text(row.n_without_answer),
        "n_leaked": _UNKNOWN if row.n_leaked is None else count_text(row.n_leaked),
        "prompt": one_line(row.prompt or _UNKNOWN, 40),
        "date": one_line((row.date or _UNKNOWN)[:10]),
    }


def _pair(pair: BoardPair, names: dict[str, str], alpha: float) -> dict[str, object]:
    difference = _UNKNOWN if pair.difference is None else f"{100 * pair.difference:+z.1f}"
    return {
        "first": names[pair.first],
        "second": names[pair.second],
        "difference": difference,
        "p": _p(pair.p),
        "p_holm": _p(pair.p_holm),
        "is_different": pair.p_holm is not None and pair.p_holm < alpha,
        "test": pair.test,
    }


def _p(value: float | None) -> str:
    """A p value with two digits, such as "0.031"; a dash without a test."""
    if value is None:
        return _UNKNOWN
    return "<0.0001" if value < 0.0001 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"
