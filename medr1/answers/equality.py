"""Whether an answer without options equals the ground truth: as number, as text or as formula."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from medr1.answers.symbolic import is_equivalent
from medr1.text.normalization import fold, normalize
from medr1.text.quantities import parse_number, parse_quantity, unwrap_latex

MIN_ROUNDED_DIGITS = 3
"""Fewest decimals with which a number may stand for a fraction: 0.333 for 1/3, not 0.33."""
_MAX_CHARACTERS = 10_000
"""Longer texts are never equal."""
_FRACTION = re.compile(r"\\[dt]?frac ?\{ ?(-?\d{1,30}) ?\} ?\{ ?(\d{1,30}) ?\}")
_DECIMAL = re.compile(r"-?\d{1,30}\.(\d{1,12})")
_LATEX = re.compile(r"\\[a-zA-Z{]|\$[^$]+\$")
_LEVELS = re.compile(r"\b([ctls])(\d{1,2}) ?[-/] ?(?:\1)?(\d{1,2})\b")
_RATIO = re.compile(r"(?:\\[dt]?frac ?\{ ?)?(\d+)(?: ?[:/] ?| ?\} ?\{ ?)(\d+) ?\}?")
_ROOT = re.compile(r"(?:\\?sqrt|√) ?(?:\{(\w+)\}|\((\w+)\)|(\w+))")
_PI = re.compile(r"\\pi\b|π|(?<![a-z-])pi(?![\w-])")
_NUMBER_OR_SIGN = re.compile(r"[<>≤≥%√^°π±]|(?<![\w.])[-+]?\d+(?:[.,:/]\d+)*|\d+(?:[.,:/]\d+)*")


def same_number(answer: str, ground_truth: str) -> bool:
    """Whether both texts state the same number.

    Args:
        answer: The extracted answer.
        ground_truth: The right answer. A text that states no number or several equals nothing.
    """
    truth_number = parse_number(ground_truth)
    return truth_number is not None and parse_number(answer) == truth_number


def same_text(answer: str, ground_truth: str) -> bool | None:
    """Whether the texts are equal after SQuAD's normalisation, with the same numbers in them.

    Numbers are compared before the normalisation, which drops punctuation: 1:4 would equal 14, and
    0.5 would equal 5. Different spellings of spine levels (L4-L5, L4/L5), ratios, roots and units
    are equal. A ground truth in LaTeX is compared as a formula.

    Args:
        answer: The extracted answer.
        ground_truth: The right answer.

    Returns:
        None for formulas that are too large to compare.
    """
    if len(answer) > _MAX_CHARACTERS or len(ground_truth) > _MAX_CHARACTERS:
        return False
    answer_text, truth_text = _uniform_spelling(answer), _uniform_spelling(ground_truth)
    normal_truth = normalize(truth_text)
    if answer_text == truth_text or (
        normal_truth
        and normalize(answer_text) == normal_truth
        and _numbers_and_signs(answer_text) == _numbers_and_signs(truth_text)
    ):
        return True
    if (truth_quantity := parse_quantity(ground_truth)) and (
        answer_quantity := parse_quantity(answer)
    ):
        units = {truth_quantity.unit, answer_quantity.unit}
        return truth_quantity.value == answer_quantity.value and (
            len(units) == 1 or units == {"", "degree"}
        )
    if not has_latex(ground_truth):
        return False
    return _is_rounded(answer, ground_truth) or is_equivalent(ground_truth, answer)


def _is_rounded(answer: str, ground_truth: str) -> bool:
    """Whether a decimal number is the fraction of the ground truth, rounded to as many decimals."""
    fraction = _FRACTION.fullmatch(ground_truth.strip(" $"))
    decimal = _DECIMAL.fullmatch(unwrap_latex(fold(answer)).strip(" ."))
    if not fraction or not decimal or len(decimal[1]) < MIN_ROUNDED_DIGITS or not int(fraction[2]):
        return False
    value = Decimal(fraction[1]) / Decimal(fraction[2])
    return Decimal(decimal[0]) == round(value, len(decimal[1]))


def has_latex(text: str) -> bool:
    """Whether a ground truth contains LaTeX; only such ones are compared by math-verify."""
    return bool(_LATEX.search(text))


def _uniform_spelling(text: str) -> str:
    """The text in one lower-case line, with one spelling for levels, ratios, roots and pi."""
    text = unicodedata.normalize("NFC", " ".join(unwrap_latex(fold(text)).lower().split()))
    text = _LEVELS.sub(r"\1\2/\1\3", text)
    if ratio := _RATIO.fullmatch(text):
        return f"{ratio[1]}:{ratio[2]}"
    text = re.sub(r"(?<=\d) ?: ?(?=\d)", ":", text)
    text = _ROOT.sub(lambda root: "√" + (root[1] or root[2] or root[3]), text)
    text = _PI.sub("π", text)
    return re.sub(r"(?<=\d) ?[*·]? ?(?=[√π])", "", text).strip(" .")


def _numbers_and_signs(text: str) -> list[str]:
    """The numbers in a text and the signs beside them, which normalisation would change or drop."""
    if not any(map(str.isdigit, text)):
        return []
    return _NUMBER_OR_SIGN.findall(text)
