"""Sanitise untrusted text for HTML: control characters visible, long texts cut, no home folders.

Nothing here makes markup: what comes out is text, and the template escapes it like any other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from medr1.report.tables import interval_text

_JOINERS = "\u200c\u200d"
"""Written between letters of Persian, Hindi and others; they hide nothing and reorder nothing."""
_MARKS_IN_A_ROW = 4
"""More combining marks on one letter than any script writes only paint over the neighbours."""
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]|^[\\/~]")


def visible(value: Any, limit: int = 4000) -> str:
    """The value as text in which control and direction characters stand as ⟦U+202E⟧.

    Line ends and tabs stay. What is longer than `limit` is cut and says by how much.
    """
    text = "" if value is None else str(value)
    more = len(text) - limit
    if more > 0:
        text = text[:limit]
    text = text.replace("\r\n", "\n")
    if not text.isascii() or not text.isprintable():
        text = "".join(_shown(text))
    return f"{text} … ({more:,} more characters)" if more > 0 else text


def _shown(text: str) -> list[str]:
    pieces, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        kept = category not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        if (kept and marks <= _MARKS_IN_A_ROW) or character in "\n\t" or character in _JOINERS:
            pieces.append(character)
        elif kept and marks > _MARKS_IN_A_ROW + 1:
            continue
        else:
            pieces.append(f"⟦U+{ord(character):04X}⟧")
    return pieces


def line(value: Any, limit: int = 120) -> str:
    """The value as one visible line, for names and headings."""
    return visible(" ".join(str("" if value is None else value)[: limit + 1].split()), limit)


def short_path(name: Any) -> str:
    """A file's name for people: relative as given, of an absolute path the last two parts only.

    A report is sent around; where it was made, and by whom, is nobody's business.
    """
    text = str("" if name is None else name)
    if _DRIVE.match(text):
        text = "/".join(re.split(r"[\\/]+", text.rstrip("\\/"))[-2:])
    return line(text, 200)


def interval(metric: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """A metric's 95 % interval as "64.1 to 71.8"; empty where there is none."""
    return interval_text((metric or {}).get("ci95"), signed)


def count(value: Any) -> str:
    """A number of items with commas; a dash where it is not known."""
    return f"{value:,}" if isinstance(value, int) else "-"
