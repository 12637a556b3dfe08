"""Whether two answers without options are the same: as numbers, as texts, as formulas."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from medr1.answers.symbolic import equivalent
from medr1.normalization import fold, normalize
from medr1.quantities import parse_number, parse_quantity, unwrap_latex

ROUNDED = 3
"""Digits behind the point from which on a decimal may stand for a fraction: 0.333, not 0.33."""
_LONGEST = 10_000
_FRACTION = re.compile(r"\\[dt]?frac ?\{ ?(-?\d{1,30}) ?\} ?\{ ?(\d{1,30}) ?\}")
_DECIMAL = re.compile(r"-?\d{1,30}\.(\d{1,12})")
_LATEX = re.compile(r"\\[a-zA-Z{]|\$[^$]+\$")
_LEVELS = re.compile(r"\b([ctls])(\d{1,2}) ?[-/] ?(?:\1)?(\d{1,2})\b")
_RATIO = re.compile(r"(?:\\[dt]?frac ?\{ ?)?(\d+)(?: ?[:/] ?| ?\} ?\{ ?)(\d+) ?\}?")
_ROOT = re.compile(r"(?:\\?sqrt|√) ?(?:\{(\w+)\}|\((\w+)\)|(\w+))")
_PI = re.compile(r"\\pi\b|π|(?<![a-z-])pi(?![\w-])")
_SIGNIFICANT = re.compile(r"[<>≤≥%√^°π±]|(?<![\w.])[-+]?\d+(?:[.,:/]\d+)*|\d+(?:[.,:/]\d+)*")


def same_number(answer: str, gold: str) -> bool:
    """Whether both state one number, and the same."""
    expected = parse_number(gold)
    return expected is not None and parse_number(answer) == expected


def same_text(answer: str, gold: str) -> bool | None:
    """Whether the texts are equal after SQuAD's normalisation, with the same numbers in them; None
    where they are formulas too large to compare.

    Numbers are looked at apart, since dropping punctuation would make 1:4 of 14 and 0.5 of 5.
    Spine levels (L4-L5, L4/L5), ratios, roots and units have several spellings of one value; a gold
    in LaTeX is a formula.
    """
    if len(answer) > _LONGEST or len(gold) > _LONGEST:
        return False
    a, g = _canonical(answer), _canonical(gold)
    normal = normalize(g)
    if a == g or (normal and normalize(a) == normal and _significant(a) == _significant(g)):
        return True
    if (expected := parse_quantity(gold)) and (stated := parse_quantity(answer)):
        units = {expected.unit, stated.unit}
        return expected.value == stated.value and (len(units) == 1 or units == {"", "degree"})
    if not is_latex(gold):
        return False
    return _is_rounded(answer, gold) or equivalent(gold, answer)


def _is_rounded(answer: str, gold: str) -> bool:
    """Whether a decimal of ROUNDED digits or more is the gold's fraction, rounded to its digits."""
    fraction = _FRACTION.fullmatch(gold.strip(" $"))
    decimal = _DECIMAL.fullmatch(unwrap_latex(fold(answer)).strip(" ."))
    if not fraction or not decimal or len(decimal[1]) < ROUNDED or not int(fraction[2]):
        return False
    value = Decimal(fraction[1]) / Decimal(fraction[2])
    return Decimal(decimal[0]) == round(value, len(decimal[1]))


def is_latex(gold: str) -> bool:
    """Whether a gold is written as a formula: those alone are given to math-verify."""
    return bool(_LATEX.search(gold))


def _canonical(text: str) -> str:
    """One spelling of what has several, in one lower-case line."""
    text = unicodedata.normalize("NFC", " ".join(unwrap_latex(fold(text)).lower().split()))
    text = _LEVELS.sub(r"\1\2/\1\3", text)
    if ratio := _RATIO.fullmatch(text):
        return f"{ratio[1]}:{ratio[2]}"
    text = re.sub(r"(?<=\d) ?: ?(?=\d)", ":", text)
    text = _ROOT.sub(lambda root: "√" + (root[1] or root[2] or root[3]), text)
    text = _PI.sub("π", text)
    return re.sub(r"(?<=\d) ?[*·]? ?(?=[√π])", "", text).strip(" .")


def _significant(text: str) -> list[str]:
    """The numbers, and the signs beside numbers, that normalisation would drop."""
    if not any(map(str.isdigit, text)):
        return []
    return _SIGNIFICANT.findall(text)
