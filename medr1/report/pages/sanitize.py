"""Untrusted text made safe to read in a page: visible control characters, no private folders.

Nothing here makes markup. The results are plain text, and the page's template escapes them like
any other text.
"""

from __future__ import annotations

import re
import unicodedata

from medr1.documents.metric import Metric
from medr1.report.terminal.tables import interval_text

_JOINERS = "\u200c\u200d"
"""Kept: letters of Persian, Hindi and others are joined by them. They hide and reorder nothing."""
_MARKS_IN_A_ROW = 4
"""Combining marks (accents) on one letter. No script writes more; more only cover other text."""
_ABSOLUTE_PATH = re.compile(r"^[A-Za-z]:[\\/]|^[\\/~]")


def visible(value: object, limit: int = 4000) -> str:
    """The value as text in which control and direction characters are written as ⟦U+202E⟧.

    Args:
        value: Anything; None gives an empty text. Line ends and tabs stay.
        limit: The most characters that are kept. A longer text ends with how many more it had.
    """
    text = "" if value is None else str(value)
    n_more = len(text) - limit
    if n_more > 0:
        text = text[:limit]
    text = text.replace("\r\n", "\n")
    # the common case, printable ASCII, needs no look at each character
    if not text.isascii() or not text.isprintable():
        text = "".join(_visible_characters(text))
    return f"{text} … ({n_more:,} more characters)" if n_more > 0 else text


def _visible_characters(text: str) -> list[str]:
    """The characters, the invisible ones replaced by their code, such as ⟦U+202E⟧."""
    pieces, n_marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        n_marks = n_marks + 1 if category in ("Mn", "Me") else 0
        # control, format, surrogate, private use, unassigned, line and paragraph separators
        is_visible = category not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        may_stay = character in "\n\t" or character in _JOINERS
        if (is_visible and n_marks <= _MARKS_IN_A_ROW) or may_stay:
            pieces.append(character)
        elif is_visible and n_marks > _MARKS_IN_A_ROW + 1:
            continue  # of the marks that are too many, one code is enough
        else:
            pieces.append(f"⟦U+{ord(character):04X}⟧")
    return pieces


def one_line(value: object, limit: int = 120) -> str:
    """The value as one visible line, for names and headings.

    Args:
        value: Anything; None gives an empty text. Line ends and repeated blanks become one blank.
        limit: The most characters that are kept of a longer text.
    """
    return visible(" ".join(str("" if value is None else value).split()), limit)


def short_path(name: object) -> str:
    """A file's path for readers: a relative one as it is, of an absolute one its last two parts.

    Pages are passed on. The full path would tell on which machine and by whom they were made.
    """
    text = str("" if name is None else name)
    if _ABSOLUTE_PATH.match(text):
        text = "/".join(re.split(r"[\\/]+", text.rstrip("\\/"))[-2:])
    return one_line(text, 200)


def interval_of(metric: Metric, *, signed: bool = False) -> str:
    """A metric's 95 % interval in percent, such as "64.1 to 71.8"; empty if it has none.

    Args:
        metric: A share, or a difference of shares.
        signed: Whether positive bounds get a "+".
    """
    return interval_text(metric.ci95, signed)


def count_text(value: object) -> str:
    """A number of items with commas, such as "1,200"; a dash if it is no whole number."""
    return f"{value:,}" if isinstance(value, int) else "-"
